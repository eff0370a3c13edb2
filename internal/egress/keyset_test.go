package egress_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/jose"
)

var errDown = errors.New("down")

// A world is a KeySet and its issuer, in the time of a synctest bubble.
type world struct {
	t *testing.T
	*egress.KeySet
	*issuer
}

func inBubble(t *testing.T, test func(w world)) {
	synctest.Test(t, func(t *testing.T) {
		far := new(issuer)
		test(world{t, egress.NewKeySet(time.Now, far.fetch), far})
		synctest.Wait()
	})
}

// known fails unless kid has n keys and the answer takes no time.
func (w world) known(kid string, n int) {
	w.t.Helper()
	start := time.Now()
	keys, err := w.Keys(w.t.Context(), kid)
	if err != nil || len(keys) != n || time.Since(start) != 0 {
		w.t.Errorf("kid %q: got %d keys, %v after %v", kid, len(keys), err, time.Since(start))
	}
	synctest.Wait() // for what runs in the background
}

func (w world) unknown(kid string) {
	w.t.Helper()
	if keys, err := w.Keys(w.t.Context(), kid); keys != nil || !errors.Is(err, egress.ErrUnknownKey) {
		w.t.Errorf("kid %q: got %d keys, %v, want ErrUnknownKey", kid, len(keys), err)
	}
}

func (w world) unavailable(kid string, retry time.Duration, cause error) {
	w.t.Helper()
	_, err := w.Keys(w.t.Context(), kid)
	var u *egress.UnavailableError
	if !errors.As(err, &u) || u.RetryAfter != retry || !errors.Is(err, cause) || errors.Is(err, egress.ErrUnknownKey) {
		w.t.Errorf("kid %q: got %#v, want unavailable for %v because of %v", kid, err, retry, cause)
	}
}

func (w world) asked(n int, when string) {
	w.t.Helper()
	if got := w.fetched(); got != n {
		w.t.Errorf("%s: %d fetches, want %d", when, got, n)
	}
}

func TestKeysAge(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a", "b", "a")
		w.known("a", 2)
		w.known("b", 1)
		w.asked(1, "first")
		time.Sleep(egress.FreshFor - time.Nanosecond)
		w.known("a", 2)
		w.asked(0, "fresh")
		time.Sleep(time.Nanosecond)
		w.publishes("a", "c")
		w.known("b", 1) // at once, from before
		w.asked(1, "stale")
		w.known("c", 1)
		w.unknown("b") // withdrawn
		w.asked(0, "refreshed")
		w.fails(errDown)
		time.Sleep(egress.UsableFor - time.Nanosecond)
		w.known("a", 1)
		w.asked(1, "after a day, almost")
		w.known("a", 1)
		time.Sleep(time.Nanosecond)
		w.unavailable("a", egress.FetchFloor-time.Nanosecond, errDown)
		w.asked(0, "after a day, too soon")
		time.Sleep(egress.FetchFloor)
		w.unavailable("a", egress.FetchFloor, errDown)
		w.asked(1, "after a day")
		w.publishes("a")
		w.unavailable("a", egress.FetchFloor, errDown)
		time.Sleep(egress.FetchFloor)
		w.known("a", 1)
		w.asked(1, "back again")
	})
}

// A refresh that keeps failing costs one fetch a minute, and nobody waits for it.
func TestStaleKeysServeWhileTheIssuerIsAway(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a")
		w.known("a", 1)
		w.asked(1, "first")
		w.does(func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		time.Sleep(egress.FreshFor)
		for range 600 { // ten minutes
			w.known("a", 1)
			time.Sleep(time.Second)
		}
		w.asked(10, "away")
	})
}

// EXC-35, AGT-55: invented key ids.
func TestUnknownKeyFlood(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("a")
		w.known("a", 1)
		w.asked(1, "first")
		for n := range 10_000 { // 1,000 a second
			w.unknown(fmt.Sprint("invented ", n))
			time.Sleep(time.Millisecond)
		}
		w.asked(0, "in the first minute")
		time.Sleep(50*time.Second - time.Nanosecond)
		w.unknown("invented")
		w.asked(0, "just before its end")
		time.Sleep(time.Nanosecond)
		for n := range 1000 {
			w.unknown(fmt.Sprint("invented ", n))
		}
		w.asked(1, "in the second minute")
		w.publishes("a", "b")
		time.Sleep(egress.FetchFloor)
		w.known("b", 1) // a new key of a rotation
		w.asked(1, "in the third")
		w.fails(errDown)
		time.Sleep(egress.FetchFloor)
		for n := range 1000 {
			w.unknown(fmt.Sprint("invented ", n))
		}
		w.known("a", 1)
		w.asked(1, "failing")
		if _, err := w.Keys(w.t.Context(), "c"); !errors.Is(err, errDown) {
			w.t.Errorf("got %v, want the cause too", err)
		}
	})
}

func TestNoKeyID(t *testing.T) {
	inBubble(t, func(w world) {
		w.publishes("", "a")
		w.unknown("")
		w.asked(0, "without a kid")
		w.known("a", 1)
		w.unknown("")
		w.publishes("", "")
		time.Sleep(egress.FetchFloor)
		w.unknown("b")
		w.known("a", 1) // a set in which nothing can be found replaces nothing
	})
}

func TestFirstFetchFails(t *testing.T) {
	inBubble(t, func(w world) {
		w.fails(errDown)
		w.unavailable("a", egress.FetchFloor, errDown)
		w.publishes("a")
		time.Sleep(20 * time.Second)
		w.unavailable("a", 40*time.Second, errDown)
		time.Sleep(40*time.Second - time.Millisecond)
		w.unavailable("a", time.Second, errDown)
		w.asked(1, "in the first minute")
		time.Sleep(time.Millisecond)
		w.known("a", 1)
		w.asked(1, "in the second")
	})
}

// What the documentation promises.
func TestTimes(t *testing.T) {
	got := [...]time.Duration{egress.Budget, egress.FetchFloor, egress.MaxBackOff, egress.FreshFor, egress.UsableFor, egress.IdleFor}
	want := [...]time.Duration{5 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour, 24 * time.Hour}
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestClockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const year = 365 * 24 * time.Hour
		clk, far := &clock{now: time.Now()}, new(issuer)
		w := world{t, egress.NewKeySet(clk.Now, far.fetch), far}
		w.publishes("a")
		w.known("a", 1)
		clk.add(-year)
		w.known("a", 1) // from the future, so not fresh
		w.asked(2, "a year ago")
		clk.add(-year)
		w.publishes("a", "b")
		w.known("b", 1) // no floor behind the last attempt
		w.unknown("c")
		w.asked(1, "two years ago")

		w.does(func(context.Context) ([]byte, error) {
			clk.add(egress.UsableFor)
			return jwks("a"), nil
		})
		clk.add(egress.UsableFor)
		var u *egress.UnavailableError
		if _, err := w.Keys(t.Context(), "a"); !errors.As(err, &u) || u.Err == nil {
			t.Errorf("keys that were old when they came: got %v", err)
		}
		w.does(func(context.Context) ([]byte, error) {
			clk.add(-year)
			return nil, errDown
		})
		clk.add(egress.UsableFor)
		w = world{t, egress.NewKeySet(clk.Now, far.fetch), far}
		w.unavailable("a", egress.FetchFloor, errDown)
	})
}

// EXC-40: what cannot be used spoils nothing, and somebody is told.
func TestRejected(t *testing.T) {
	inBubble(t, func(w world) {
		var got []error
		w.Rejected = func(err error) { got = append(got, err) }
		good := strings.TrimSuffix(strings.TrimPrefix(string(jwks("a")), `{"keys":[`), `]}`)
		private := strings.TrimSuffix(good, "}") + `,"d":"AAAA"}`
		w.does(func(context.Context) ([]byte, error) {
			return []byte(`{"keys":[{"kty":"AKP","kid":"a"},` + good + `,` + private + `]}`), nil
		})
		w.known("a", 1)
		if len(got) != 2 || !errors.Is(got[0], jose.ErrUnsupportedAlgorithm) || !strings.Contains(got[1].Error(), `private member "d"`) {
			w.t.Errorf("told of %v", got)
		}
	})
}

func TestStaticKeySet(t *testing.T) {
	s, err := egress.StaticKeySet(jwks("a", "a", "a", ""))
	if err != nil {
		t.Fatal(err)
	}
	// Whoever appends to the keys must get a copy.
	if keys, err := s.Keys(t.Context(), "a"); err != nil || len(keys) != 3 || cap(keys) != 3 {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
	for _, kid := range []string{"", "b"} {
		if _, err := s.Keys(t.Context(), kid); !errors.Is(err, egress.ErrUnknownKey) {
			t.Errorf("kid %q: got %v, want ErrUnknownKey", kid, err)
		}
	}
	for _, text := range []string{"", "null", `{"keys":[]}`, string(jwks(""))} {
		if _, err := egress.StaticKeySet([]byte(text)); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}
