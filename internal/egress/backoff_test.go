package egress_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

func TestBackOff(t *testing.T) {
	for name, fail := range map[string]func(w world){
		"it fails": func(w world) { w.fails(errDown) },
		"it hangs": func(w world) {
			w.does(func(ctx context.Context) ([]byte, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
		},
		"it serves no keys": func(w world) {
			w.does(func(context.Context) ([]byte, error) { return []byte(`{"keys":[]}`), nil })
		},
	} {
		inBubble(t, func(w world) {
			w.BackOff = true
			backsOff := func() {
				fail(w)
				for _, minutes := range []time.Duration{1, 2, 4, 5, 5, 5} {
					began := time.Now()
					w.Keys(w.t.Context(), "a")
					w.waits(minutes*time.Minute - time.Since(began))
					w.asked(1, name)
					time.Sleep(time.Until(began.Add(minutes*time.Minute - 30*time.Second)))
					w.waits(30 * time.Second)
					time.Sleep(30*time.Second - time.Nanosecond)
					w.waits(time.Second)
					w.asked(0, name+", too soon")
					time.Sleep(time.Nanosecond)
				}
			}
			backsOff()
			w.publishes("a")
			w.known("a", 1)
			w.asked(1, "back again")
			w.unknown("b")
			time.Sleep(egress.FetchFloor)
			w.unknown("b")
			w.asked(1, "a success ends it")
			time.Sleep(egress.UsableFor)
			backsOff() // from the beginning
		})
	}
}

// waits fails unless it is said, without a fetch, when to come again.
func (w world) waits(want time.Duration) {
	w.t.Helper()
	start := time.Now()
	_, err := w.Keys(w.t.Context(), "a")
	u, ok := errors.AsType[*egress.UnavailableError](err)
	if !ok || u.RetryAfter != want || time.Since(start) != 0 {
		w.t.Errorf("got %v after %v, want unavailable for %v", err, time.Since(start), want)
	}
}

func TestNoBackOffUnlessAskedFor(t *testing.T) {
	inBubble(t, func(w world) {
		w.fails(errDown)
		for range 10 {
			w.unavailable("a", egress.FetchFloor, errDown)
			w.asked(1, "every minute")
			time.Sleep(egress.FetchFloor)
		}
	})
}

// Where there are keys, it is the refresh that backs off.
func TestBackOffOfRefreshes(t *testing.T) {
	inBubble(t, func(w world) {
		w.BackOff = true
		w.publishes("a")
		w.known("a", 1)
		w.asked(1, "first")
		w.fails(errDown)
		time.Sleep(egress.FreshFor)
		for range 3600 { // at 0, 1, 3, 7, 12, 17, ... 57 minutes
			w.known("a", 1)
			time.Sleep(time.Second)
		}
		w.asked(14, "away for an hour")
	})
}

// A clock that was set back keeps nobody from the next fetch.
func TestBackOffAndTheClock(t *testing.T) {
	clk, far := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}, new(issuer)
	w := world{t, egress.NewKeySet(clk.Now, far.fetch), far}
	w.BackOff = true
	w.fails(errDown)
	w.unavailable("a", time.Minute, errDown)
	clk.add(time.Minute)
	w.unavailable("a", 2*time.Minute, errDown)
	clk.add(-24 * time.Hour)
	w.unavailable("a", 4*time.Minute, errDown)
	w.asked(3, "before the last attempt")
}
