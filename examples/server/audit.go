package main

import (
	"net/http"

	"github.com/keywright/keywright"
)

const maxEvents = 1000 // on one page

type auditResponse struct {
	Events []keywright.Event `json:"events"`         // the newest first
	Next   string            `json:"next,omitempty"` // for the parameter before; absent: that was all
}

// audit shows the stored events of all replicas. Refusals are in the log alone.
func audit(host keywright.Host) http.HandlerFunc {
	return answering(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		limit, err := readLimit(r, 100, maxEvents)
		if err != nil {
			return nil, err
		}
		resp := auditResponse{Events: []keywright.Event{}}
		last := ""
		for e, err := range host.Events(r.Context(), r.URL.Query().Get("before")) {
			if err != nil {
				return nil, err
			}
			if len(resp.Events) == limit {
				resp.Next = last
				break
			}
			resp.Events, last = append(resp.Events, e), e.ID
		}
		return resp, nil
	})
}
