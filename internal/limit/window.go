package limit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/store"
)

// A Window allows Max calls in the time of Length, counted in the store: all
// replicas count together, and a restart forgets nothing. It opens with the
// first call and not with the hour of a clock, so that its name's budget cannot
// be had twice around one.
type Window struct {
	Store  store.Store
	Kind   string // of the records that say when a window ends
	Max    int64  // above 0
	Length time.Duration
}

// A Quota is what one call has left of its window.
type Quota struct {
	Max       int64
	Remaining int64
	Length    time.Duration
	Reset     time.Duration // until the window ends, at least a second
	Exceeded  bool
}

// Take counts one call of name, at the time now. An error is trouble of the
// store: then nothing is known, and the call must be refused.
func (w Window) Take(ctx context.Context, name string, now time.Time) (Quota, error) {
	end, err := w.end(ctx, name, now)
	if err != nil {
		return Quota{}, err
	}
	// A counter of its own for each window. It outlasts the window a little, for
	// replicas whose clocks are behind.
	n, err := w.Store.Add(ctx, store.ID("window", w.Kind, name, strconv.FormatInt(end.UnixNano(), 36)), 1, end.Add(w.Length))
	if err != nil {
		return Quota{}, err
	}
	return Quota{
		Max: w.Max, Remaining: max(0, w.Max-n), Length: w.Length, Exceeded: n > w.Max,
		Reset: max(time.Second, end.Sub(now)),
	}, nil
}

// end finds the end of name's window, or opens one.
func (w Window) end(ctx context.Context, name string, now time.Time) (time.Time, error) {
	key := store.Key{Kind: w.Kind, ID: store.ID(name)}
	for range 3 {
		records, err := w.Store.Get(ctx, key)
		if err != nil {
			return time.Time{}, err
		}
		if records[0].Exists() {
			return records[0].Expires, nil
		}
		end := now.Add(w.Length)
		err = w.Store.Commit(ctx, store.Insert(store.Record{Kind: key.Kind, ID: key.ID, Expires: end}))
		if !errors.Is(err, store.ErrExists) {
			return end, err
		}
	}
	return time.Time{}, fmt.Errorf("limit: window of %s came and went", w.Kind)
}

// Header tells the caller of its quota, in the fields of
// draft-ietf-httpapi-ratelimit-headers-10 and, when it is exceeded, Retry-After.
func (q Quota) Header() http.Header {
	reset := seconds(q.Reset)
	h := http.Header{
		"Ratelimit-Policy": {fmt.Sprintf(`"default";q=%d;w=%d`, q.Max, seconds(q.Length))},
		"Ratelimit":        {fmt.Sprintf(`"default";r=%d;t=%d`, q.Remaining, reset)},
	}
	if q.Exceeded {
		maps.Copy(h, RetryAfter(q.Reset))
	}
	return h
}

// RetryAfter tells a caller to wait for d (RFC 9110, section 10.2.3), and for a
// second at least.
func RetryAfter(d time.Duration) http.Header {
	return http.Header{"Retry-After": {strconv.FormatInt(max(1, seconds(d)), 10)}}
}

// seconds rounds up, so that whoever waits so long has waited enough.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
