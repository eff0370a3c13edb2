package limit

import (
	"errors"
	"time"

	"golang.org/x/time/rate"
)

// A Rate slows down addresses that call too often, and all of them together. For
// an address, any other name of a caller will do. A nil Rate slows down nobody. It is safe for concurrent use, and counts what this
// process has seen.
type Rate struct {
	now func() time.Time
	one *Failures     // nil: no limit of one address
	all *rate.Limiter // nil: no limit of all together
}

// NewRate makes a Rate of one address and of all addresses, in calls a minute:
// above 0, or negative for no limit. So many may come at once.
func NewRate(now func() time.Time, one, all int) (*Rate, error) {
	if one == 0 || all == 0 {
		return nil, errors.New("a rate of zero admits nobody")
	}
	r := &Rate{now: now}
	if one > 0 {
		r.one = NewFailures(now, one, float64(one)/60)
	}
	if all > 0 {
		r.all = rate.NewLimiter(rate.Limit(all)/60, all)
	}
	return r, nil
}

// Take counts a call of addr, unless it must wait: then it returns how long.
func (r *Rate) Take(addr string) time.Duration {
	if r == nil {
		return 0
	}
	if wait := r.one.take(addr, 1); wait > 0 {
		return wait
	}
	if r.all != nil && !r.all.AllowN(r.now(), 1) {
		r.one.take(addr, -1)
		return max(time.Millisecond, time.Duration((1-r.all.TokensAt(r.now()))/float64(r.all.Limit())*float64(time.Second)))
	}
	return 0
}

// Return gives back what Take has counted.
func (r *Rate) Return(addr string) {
	if r == nil {
		return
	}
	r.one.take(addr, -1)
	if r.all != nil {
		r.all.AllowN(r.now(), -1)
	}
}
