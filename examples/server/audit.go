package main

import (
	"net/http"
	"time"

	"github.com/keywright/keywright"
)

const maxEvents = 1000 // on one page

type auditResponse struct {
	Events []keywright.Event `json:"events"`         // the newest first
	Next   *time.Time        `json:"next,omitempty"` // for the parameter before; absent: that was all
}

// audit shows the stored events of all replicas. Refusals are in the log alone.
func audit(host keywright.Host) http.HandlerFunc {
	return answering(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		limit, err := readLimit(r, 100, maxEvents)
		if err != nil {
			return nil, err
		}
		var before time.Time
		if text := r.URL.Query().Get("before"); text != "" {
			if before, err = time.Parse(time.RFC3339Nano, text); err != nil {
				return nil, keywright.Errorf(keywright.CodeInvalidRequest, "before: want a time such as 2006-01-02T15:04:05Z")
			}
		}
		resp := auditResponse{Events: []keywright.Event{}}
		for e, err := range host.Events(r.Context()) {
			switch {
			case err != nil:
				return nil, err
			case !before.IsZero() && !e.Time.Before(before):
				continue
			}
			// A page ends where the time changes, or the next would miss some.
			if n := len(resp.Events); n >= limit && !e.Time.Equal(resp.Events[n-1].Time) {
				resp.Next = &resp.Events[n-1].Time
				break
			}
			resp.Events = append(resp.Events, e)
		}
		return resp, nil
	})
}
