package egress_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/jose"
)

// tried returns the keys that kid has.
func (w world) tried(kid string) []jose.Key {
	w.t.Helper()
	keys, err := w.Keys(w.t.Context(), kid)
	if err != nil {
		w.t.Fatal(err)
	}
	return keys
}

// newer fails unless there are n keys of kid a, and fetches fetches were made
// for them.
func (w world) newer(when string, tried []jose.Key, n, fetches int) {
	w.t.Helper()
	if keys := w.Newer(w.t.Context(), "a", tried); len(keys) != n {
		w.t.Errorf("%s: %d keys, want %d", when, len(keys), n)
	}
	w.asked(fetches, when)
}

// A key id that means another key now: one refresh, within the floor.
func TestNewerKeyOfAKnownID(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a")
		old := w.tried("a")
		w.asked(1, "first")
		w.publishes("x", "a") // the second key is another
		w.newer("too soon", old, 0, 0)
		time.Sleep(egress.FetchFloor - time.Nanosecond)
		w.newer("still too soon", old, 0, 0)
		time.Sleep(time.Nanosecond)
		w.newer("replaced", old, 1, 1)
		w.newer("found by somebody else", old, 1, 0)
		w.newer("tried again", w.tried("a"), 0, 0)
		time.Sleep(egress.FetchFloor)
		w.newer("found before", old, 1, 0)
		w.publishes("a", "a")
		w.newer("the first beside the second", w.tried("a"), 1, 1)
		w.newer("both", old, 1, 0)
		time.Sleep(egress.FetchFloor)
		both := w.tried("a")
		w.newer("the same as before", both, 0, 1)
		w.fails(errDown)
		time.Sleep(egress.FetchFloor)
		w.newer("away", both, 0, 1)
		w.publishes("b")
		time.Sleep(egress.FetchFloor)
		w.newer("withdrawn", both, 0, 1)
	})
}

// Bad signatures under a good key id cost one fetch a minute, however many.
func TestFloodOfBadSignatures(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a")
		old := w.tried("a")
		w.asked(1, "first")
		w.does(func(context.Context) ([]byte, error) {
			time.Sleep(time.Second)
			return jwks("x", "a"), nil
		})
		time.Sleep(egress.FetchFloor)
		for range 1000 {
			go func() {
				start := time.Now()
				if keys := w.Newer(w.t.Context(), "a", old); len(keys) != 1 || time.Since(start) != time.Second {
					w.t.Errorf("got %d keys after %v", len(keys), time.Since(start))
				}
			}()
		}
		time.Sleep(time.Second)
		synctest.Wait()
		w.asked(1, "for all")
		forged := w.tried("a")
		for range 1000 {
			w.newer("in the same minute", forged, 0, 0)
		}
	})
}

func TestNewerEndsWithItsCaller(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a")
		old := w.tried("a")
		w.does(func(context.Context) ([]byte, error) {
			time.Sleep(2 * time.Second)
			return jwks("x", "a"), nil
		})
		time.Sleep(egress.FetchFloor)
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if keys := w.Newer(ctx, "a", old); keys != nil || time.Since(start) != time.Second {
			w.t.Errorf("got %d keys after %v", len(keys), time.Since(start))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		w.newer("what was fetched is kept", old, 1, 2)
	})
}

func TestNewerWithoutKeys(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a")
		old := w.tried("a")
		w.asked(1, "first")
		w.fails(errDown)
		time.Sleep(egress.UsableFor)
		w.newer("too old", nil, 0, 1)
		s, err := egress.StaticKeySet(jwks("x", "a"))
		if err != nil {
			w.t.Fatal(err)
		}
		if keys := s.Newer(w.t.Context(), "a", old); len(keys) != 1 {
			w.t.Errorf("static: %d keys", len(keys))
		}
		if keys := s.Newer(w.t.Context(), "b", old); len(keys) != 0 {
			w.t.Errorf("static, unknown: %d keys", len(keys))
		}
	})
}
