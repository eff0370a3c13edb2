package egress_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

func TestFetchHasABudget(t *testing.T) {
	inBubble(t, func(w world) {
		w.does(func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		start := time.Now()
		w.unavailable("a", egress.FetchFloor-egress.Budget, context.DeadlineExceeded)
		if took := time.Since(start); took != egress.Budget {
			w.t.Errorf("failed after %v", took)
		}
	})
}

// A fetch that does not heed its context holds up nobody, and what it brings
// when it is overtaken counts for nothing.
func TestFetchThatHangs(t *testing.T) {
	inBubble(t, func(w world) {
		release := make(chan struct{})
		w.does(func(context.Context) ([]byte, error) {
			<-release
			return jwks("old"), nil
		})
		w.unavailable("a", egress.FetchFloor-egress.Budget, context.DeadlineExceeded)
		w.unavailable("a", egress.FetchFloor-egress.Budget, context.DeadlineExceeded)
		w.asked(1, "in the first minute")
		w.publishes("a")
		time.Sleep(egress.FetchFloor)
		w.known("a", 1)
		close(release)
		synctest.Wait()
		w.known("a", 1)
		w.unknown("old")
	})
}

func TestOneFetchForAll(t *testing.T) {
	inBubble(t, func(w world) {
		w.does(func(ctx context.Context) ([]byte, error) {
			time.Sleep(time.Second)
			return jwks("a"), ctx.Err()
		})
		ctx, hangUp := context.WithCancel(w.t.Context())
		go func() { // the caller for whom it is fetched
			_, err := w.Keys(ctx, "a")
			var u *egress.UnavailableError
			if !errors.As(err, &u) || u.RetryAfter != time.Second || !errors.Is(err, context.Canceled) {
				w.t.Errorf("who hung up got %v", err)
			}
		}()
		synctest.Wait()
		for range 1000 {
			go func() {
				if keys, err := w.Keys(w.t.Context(), "a"); err != nil || len(keys) != 1 {
					w.t.Errorf("got %d keys, %v", len(keys), err)
				}
			}()
		}
		synctest.Wait()
		hangUp()
		time.Sleep(time.Second)
		synctest.Wait()
		w.asked(1, "for all")
	})
}

func TestFetchThatPanics(t *testing.T) {
	inBubble(t, func(w world) {
		for name, end := range map[string]func(){"panic": func() { panic("oops") }, "exit": runtime.Goexit} {
			w.does(func(context.Context) ([]byte, error) {
				end()
				return nil, nil
			})
			start := time.Now()
			_, err := w.Keys(w.t.Context(), "a")
			var u *egress.UnavailableError
			if !errors.As(err, &u) || time.Since(start) != 0 || name == "panic" && !strings.Contains(err.Error(), "oops") {
				w.t.Errorf("%s: got %v", name, err)
			}
			time.Sleep(egress.FetchFloor)
		}
		w.publishes("a")
		w.known("a", 1)
	})
}
