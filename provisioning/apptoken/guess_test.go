package apptoken

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright"
)

// guess sends wrong passwords until it is told to wait, and returns how many
// were verified.
func (w *suWorld) guess(addr, user string, most int) (verified int) {
	w.t.Helper()
	before := w.passwords.calls.Load()
	for range most {
		_, err := w.Authenticate(suFrom(suRequest(suBasic(user, "wrong")), addr))
		e := keywright.AsError(err)
		if e.Code == keywright.CodeRateLimited {
			if seconds, err := strconv.Atoi(e.Header.Get("Retry-After")); err != nil || seconds < 1 || len(e.Header["Www-Authenticate"]) > 0 {
				w.t.Errorf("told to wait by %v", e.Header)
			}
			break
		}
	}
	return int(w.passwords.calls.Load() - before)
}

func TestGuessLimitOfAnAddress(t *testing.T) {
	w := newSuWorld(t)
	good := suRequest(suBasic("admin", suPassword))
	for range 30 {
		w.wantIn("success costs nothing", good)
	}
	for i := range 12 { // each another's name
		want := keywright.CodeInvalidToken
		if i >= 10 {
			want = keywright.CodeRateLimited
		}
		w.wantOut("guess", suRequest(suBasic("user"+strconv.Itoa(i), "x")), want, "")
	}
	e := w.wantOut("the right password waits too", good, keywright.CodeRateLimited, "too many wrong")
	if e.Header.Get("Retry-After") != "10" {
		t.Errorf("got %v", e.Header)
	}
	w.wantIn("another address", suFrom(suRequest(suBasic("admin", suPassword)), "192.0.2.2"))
	w.advance(10 * time.Second)
	w.wantIn("after Retry-After", good)
	if n := w.guess("192.0.2.1", "admin", 5); n != 1 {
		t.Errorf("%d guesses, want 1 of every ten seconds", n)
	}
	w.advance(time.Hour)
	if n := w.guess("192.0.2.1", "admin", 50); n != 10 {
		t.Errorf("%d guesses after an hour, want 10", n)
	}
}

// Whatever is refused with 401 counts; what is not anybody's fault does not.
func TestWhatCounts(t *testing.T) {
	one := func(c *ZeroTouch) {
		c.Guesses.Burst = 1
		c.ServiceAccounts = []ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}
	}
	insecure := suRequest(suBasic("admin", "x"))
	insecure.TLS = nil
	for _, tt := range []struct {
		name, authorization string
		counts              bool
	}{
		{"a wrong password", suBasic("admin", "x"), true},
		{"malformed", "Basic x", true},
		{"an identity token", "Bearer eyJhIjoxfQ.e30.x", true},
		{"two credentials", "Basic x, Basic y", false},
		{"trouble", suBasic("trouble", "x"), false},
		{"somebody else's", "Bearer x", false},
	} {
		w := newSuWorld(t, one)
		w.passwords.do = func(_ context.Context, user, password string) (string, error) {
			switch {
			case user == "trouble":
				return "", errors.New("trouble")
			case password == suPassword:
				return user, nil
			}
			return "", keywright.Wrap(keywright.CodeInvalidToken, errWrongPassword)
		}
		w.Authenticate(insecure)
		w.Authenticate(suRequest(tt.authorization))
		_, err := w.Authenticate(suRequest(suBasic("admin", suPassword)))
		if counted := err != nil && keywright.AsError(err).Code == keywright.CodeRateLimited; counted != tt.counts {
			t.Errorf("%s: counted %v: %v", tt.name, counted, err)
		}
		_, err = w.Authenticate(suRequest("Bearer eyJhIjoxfQ.e30.x"))
		if waits := keywright.AsError(err).Code == keywright.CodeRateLimited; waits != tt.counts {
			t.Errorf("%s: an identity token waits %v: %v", tt.name, waits, err)
		}
	}
}

// Many addresses of one network have one budget for a name, and its owner is
// not locked out anywhere else.
func TestGuessLimitOfAName(t *testing.T) {
	w := newSuWorld(t)
	for _, net := range []struct{ one, elsewhere string }{
		{"203.0.113.%d", "203.0.114.1"}, {"2001:db8:1:%d::1", "2001:db8:2::1"}, {"::ffff:198.51.100.%d", "::ffff:198.51.101.1"},
	} {
		sum := 0
		for i := range 20 {
			sum += w.guess(fmt.Sprintf(net.one, i+1), []string{"admin", "ADMIN", "Admin"}[i%3], 2)
		}
		if sum != 10 {
			t.Errorf("%s: %d guesses, want 10", net.one, sum)
		}
		near := fmt.Sprintf(net.one, 99)
		w.wantOut("the name from near", suFrom(suRequest(suBasic("admin", suPassword)), near), keywright.CodeRateLimited, "")
		if got := w.last().Attrs["user"]; got != "admin" {
			t.Errorf("%s: heard of %q", net.one, got)
		}
		w.wantOut("another name from near", suFrom(suRequest(suBasic("ordinary", suPassword)), near), keywright.CodeInvalidToken, "not a super user")
		w.wantIn("the name from elsewhere", suFrom(suRequest(suBasic("admin", suPassword)), net.elsewhere))
	}
}

func TestGuessLimitSettings(t *testing.T) {
	for _, tt := range []struct {
		limit GuessLimit
		burst int
		next  time.Duration
	}{
		{GuessLimit{}, 10, 10 * time.Second}, {GuessLimit{Burst: 3}, 3, 10 * time.Second}, {GuessLimit{PerMinute: 60}, 10, time.Second}, {GuessLimit{Burst: -1, PerMinute: -1}, 50, 0},
	} {
		w := newSuWorld(t, func(c *ZeroTouch) { c.Guesses = tt.limit })
		if n := w.guess("192.0.2.1", "admin", 50); n != tt.burst {
			t.Errorf("%+v: %d guesses, want %d", tt.limit, n, tt.burst)
		}
		w.advance(tt.next - time.Millisecond)
		if n := w.guess("192.0.2.1", "admin", 1); n != 0 && tt.next > 0 {
			t.Errorf("%+v: a guess before %v", tt.limit, tt.next)
		}
		w.advance(time.Millisecond)
		if n := w.guess("192.0.2.1", "admin", 1); n != 1 {
			t.Errorf("%+v: no guess after %v", tt.limit, tt.next)
		}
	}
}

// Guesses sent at once would all pass before the first has failed, if they were
// not taken one by one.
func TestGuessesAtOnce(t *testing.T) {
	for name, format := range map[string]string{"one address": "192.0.2.1", "one network": "192.0.2.%d"} {
		synctest.Test(t, func(t *testing.T) {
			w := newSuWorld(t)
			var most, now atomic.Int64
			w.passwords.do = func(context.Context, string, string) (string, error) {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Second) // of the bubble: all that can come has come
				now.Add(-1)
				return "", keywright.Wrap(keywright.CodeInvalidToken, errWrongPassword)
			}
			var all sync.WaitGroup
			for i := range 100 {
				all.Go(func() {
					addr := "192.0.2.1"
					if format != addr {
						addr = fmt.Sprintf(format, i+1)
					}
					w.Authenticate(suFrom(suRequest(suBasic("admin", "wrong")), addr))
				})
			}
			all.Wait()
			if n := w.passwords.calls.Load(); n != 10 || most.Load() != 1 {
				t.Errorf("%s: %d passwords verified, %d at once, want 10 one by one", name, n, most.Load())
			}
			if len(w.guesses.lanes) != 0 {
				t.Errorf("%s: %d lanes left", name, len(w.guesses.lanes))
			}
		})
	}
}

// One who comes when the first of a lane has gone, and the second is in it, waits.
func TestLaneOutlivesItsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuWorld(t)
		var now atomic.Int64
		w.passwords.do = func(_ context.Context, user, _ string) (string, error) {
			if now.Add(1) > 1 {
				t.Error("two at once")
			}
			time.Sleep(2 * time.Second)
			now.Add(-1)
			return user, nil
		}
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { w.Authenticate(suRequest(suBasic("admin", "x"))) })
			time.Sleep(1500 * time.Millisecond)
		}
		all.Wait()
	})
}

// Waiting for others ends with the request, and networks do not wait for each other.
func TestWaitingForTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSuWorld(t)
		free := make(chan struct{})
		w.passwords.do = func(_ context.Context, user, _ string) (string, error) {
			if user == "slow" {
				<-free
			}
			return user, nil
		}
		var slow sync.WaitGroup
		slow.Go(func() { w.Authenticate(suRequest(suBasic("slow", "x"))) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.wantOut("behind", suRequest(suBasic("admin", "x")).WithContext(ctx), keywright.CodeUnavailable, "deadline")
		w.wantIn("another network", suFrom(suRequest(suBasic("admin", "x")), "198.51.100.1"))
		close(free)
		slow.Wait()
		w.wantIn("afterwards", suRequest(suBasic("admin", "x")))
		if len(w.guesses.lanes) != 0 {
			t.Errorf("%d lanes left", len(w.guesses.lanes))
		}
	})
}
