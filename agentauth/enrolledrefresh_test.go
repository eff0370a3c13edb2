package agentauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

func TestARefusedTokenServesOthersUntilThereIsAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		old := credential(t, a)
		time.Sleep(2 * time.Minute)
		g.status.Store(500)
		for range 2 { // the second while the provider is left alone
			if _, err := a.Renew(t.Context(), old); err == nil {
				t.Error("renewed by a provider that is away")
			}
			if credential(t, a).As.Token != old.As.Token {
				t.Error("a token that one server refuses is lost to all")
			}
		}
		if g.calls.Load() != 2 {
			t.Errorf("%d refreshes, want 2: one in vain", g.calls.Load())
		}
	})
}

func TestANewTokenIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		first := credential(t, a)
		time.Sleep(59 * time.Second)
		for range 5 {
			if _, err := a.Renew(t.Context(), first); err == nil || !strings.Contains(err.Error(), "it is new") {
				t.Errorf("got %v, want that the token is new", err)
			}
		}
		if g.calls.Load() != 1 {
			t.Errorf("%d refreshes within a minute, want 1", g.calls.Load())
		}
		time.Sleep(time.Second)
		if next, err := a.Renew(t.Context(), first); err != nil || next.As.Token == first.As.Token {
			t.Errorf("after a minute: %v", err)
		}
	})
}

func TestATokenToBeginWithIsRenewedAtOnce(t *testing.T) {
	w := newWorld(t, worldConfig{})
	client := &http.Client{Transport: local{"ap.example": w.mux}}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, Keys: new(keystore.Memory), HTTP: client, Now: w.clock.Now})
	must(t, err)
	a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: e.Key, Provider: issuer, Token: e.AgentToken, HTTP: client, Now: w.clock.Now})
	must(t, err)
	w.clock.advance(time.Second) // an equal request in the same second is refused
	if next, err := a.Renew(t.Context(), credential(t, a)); err != nil || next.As.Token == e.AgentToken {
		t.Errorf("not renewed: %v", err)
	}
}

// TestATokenToBeginWithIsReplacedAsOthersAre has the margin depend on the life of a
// token, and not on what was left of it.
func TestATokenToBeginWithIsReplacedAsOthersAre(t *testing.T) {
	w := newWorld(t, worldConfig{})
	g := &gated{next: local{"ap.example": w.mux}}
	client := &http.Client{Transport: g}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, Keys: new(keystore.Memory), HTTP: client, Now: w.clock.Now})
	must(t, err)
	w.clock.advance(50 * time.Minute)
	synctest.Test(t, func(t *testing.T) {
		a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: e.Key, Provider: issuer, Token: e.AgentToken, HTTP: client, Now: w.clock.Now})
		must(t, err)
		credential(t, a)
		synctest.Wait()
		if g.calls.Load() != 0 {
			t.Error("replaced ten minutes before its end")
		}
		w.clock.advance(5 * time.Minute)
		credential(t, a)
		synctest.Wait()
		if g.calls.Load() != 1 {
			t.Error("not replaced five minutes before its end")
		}
	})
}

// A sending is a transport that is a function.
type sending func(*http.Request) (*http.Response, error)

func (f sending) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// enrolledBy is an agent that sends with f, at t0.
func enrolledBy(t *testing.T, f sending) *agentauth.Enrolled {
	t.Helper()
	key, err := new(keystore.Memory).Generate(t.Context(), keystore.KeyOptions{})
	must(t, err)
	return enrolledAs(t, key, f)
}

func enrolledAs(t *testing.T, key keystore.Key, f sending) *agentauth.Enrolled {
	t.Helper()
	a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{
		Key: key, Endpoint: issuer + "/refresh", HTTP: &http.Client{Transport: f}, Now: func() time.Time { return t0 },
	})
	must(t, err)
	return a
}

func TestNobodyWaitsForARefreshThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), new(atomic.Int64)
		a := enrolledBy(t, func(*http.Request) (*http.Response, error) {
			calls.Add(1)
			<-release // whatever becomes of the request
			return nil, errors.New("away")
		})
		began := time.Now()
		for range 3 {
			if _, err := a.Credential(context.WithoutCancel(t.Context())); err == nil || !strings.Contains(err.Error(), "within a minute") {
				t.Errorf("got %v, want that the provider has not answered", err)
			}
		}
		if waited := time.Since(began); waited != time.Minute || calls.Load() != 1 {
			t.Errorf("waited %v for %d calls, want a minute for one", waited, calls.Load())
		}
		close(release)
		synctest.Wait()
	})
}

func TestAPanicOfTheHostsTransportIsAnError(t *testing.T) {
	a := enrolledBy(t, func(*http.Request) (*http.Response, error) { panic("a fault of the host's") })
	if _, err := a.Credential(t.Context()); err == nil || !strings.Contains(err.Error(), "a fault of the host's") {
		t.Errorf("got %v, want the panic as an error", err)
	}
}

func TestARefreshKnowsNothingOfWhoHasBegunIt(t *testing.T) {
	type key struct{}
	var value any
	a := enrolledBy(t, func(r *http.Request) (*http.Response, error) {
		value = r.Context().Value(key{})
		return nil, errors.New("away")
	})
	if _, err := a.Credential(context.WithValue(t.Context(), key{}, "a trace")); err == nil {
		t.Fatal("a credential from nowhere")
	}
	if value != nil {
		t.Errorf("the call for all has %v of one request", value)
	}
}

// TestAllTokensAreOfOneAgent has a provider say, at the second refresh, that the agent
// is another one.
func TestAllTokensAreOfOneAgent(t *testing.T) {
	for name, tt := range map[string]struct {
		second claims
		says   string // "": it is good
	}{
		"the same":         {claims{"jti": "2"}, ""},
		"another sub":      {claims{"sub": "aauth:b@ap.example"}, "sub: want aauth:a@ap.example"},
		"another provider": {claims{"iss": "https://other.example", "sub": "aauth:a@ap.example"}, "iss: want https://ap.example"},
	} {
		key, err := new(keystore.Memory).Generate(t.Context(), keystore.KeyOptions{})
		must(t, err)
		said := claims{
			"iss": issuer, "dwk": "aauth-agent.json", "sub": "aauth:a@ap.example", "cnf": claims{"jwk": jwk(t, key)}, "jti": "1",
			"iat": t0.Unix(), "exp": t0.Add(time.Hour).Unix(),
		}
		now, calls := t0, 0
		a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{
			Key: key, Endpoint: issuer + "/refresh", Now: func() time.Time { return now },
			HTTP: &http.Client{Transport: sending(func(r *http.Request) (*http.Response, error) {
				if calls++; calls == 2 {
					said = said.with(tt.second)
				}
				token := compact(t, seedKey("issuer"), claims{"alg": "Ed25519", "typ": "aa-agent+jwt"}, said)
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"agent_token":"` + token + `"}`)), Request: r}, nil
			})},
		})
		must(t, err)
		first := credential(t, a)
		now = t0.Add(time.Minute)
		_, err = a.Renew(t.Context(), first)
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: got %v, want %q", name, err, tt.says)
		}
		if tt.says != "" && credential(t, a).As.Token != first.As.Token {
			t.Errorf("%s: the token before it is lost", name)
		}
	}
}

func TestAProviderIsAskedOnceAMinuteHoweverLongItIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.status.Store(500)
		for range 2 * 60 * 60 {
			if _, err := a.Credential(t.Context()); err == nil {
				t.Fatal("a credential of a provider that is away")
			}
			time.Sleep(time.Second)
		}
		if n := g.calls.Load(); n < 90 || n > 130 {
			t.Errorf("%d refreshes in two hours, want one in 60 to 75 seconds", n)
		}
	})
}

func TestAProviderThatIsBackHasItsPausesForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.status.Store(500)
		for range 100 { // up to a pause of 32 seconds
			a.Credential(t.Context())
			time.Sleep(time.Second)
		}
		g.status.Store(0)
		time.Sleep(time.Minute)
		old := credential(t, a)
		time.Sleep(time.Minute)
		g.status.Store(500)
		before := g.calls.Load()
		for range 3 {
			if _, err := a.Renew(t.Context(), old); err == nil {
				t.Error("renewed by a provider that is away")
			}
			time.Sleep(1300 * time.Millisecond) // a second and a quarter, and not yet two
		}
		if n := g.calls.Load() - before; n != 2 {
			t.Errorf("%d refreshes, want the first two, which are a second apart", n)
		}
	})
}

func TestAProviderMayAskForAnHour(t *testing.T) {
	for _, tt := range []struct {
		later string
		rest  time.Duration // at least
	}{{"600", 10 * time.Minute}, {"3600", time.Hour}, {"86400", time.Hour}} {
		synctest.Test(t, func(t *testing.T) {
			a, g := newRefresher(t, false)
			g.status.Store(503)
			g.later = tt.later
			ask := func(want int64) {
				if _, err := a.Credential(t.Context()); err == nil {
					t.Fatal("a credential of a provider that has no time")
				}
				if g.calls.Load() != want {
					t.Errorf("%s: %d refreshes, want %d", tt.later, g.calls.Load(), want)
				}
			}
			ask(1)
			time.Sleep(tt.rest - time.Second)
			ask(1)
			time.Sleep(tt.rest/4 + time.Second)
			ask(2)
		})
	}
}

func TestAFleetDoesNotComeBackAtOneMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := make(map[time.Duration]bool)
		for range 5 {
			a, g := newRefresher(t, false)
			g.status.Store(503)
			g.later = "600"
			began := time.Now()
			for g.calls.Load() < 2 {
				a.Credential(t.Context())
				time.Sleep(100 * time.Millisecond)
			}
			moments[time.Since(began)] = true
		}
		if len(moments) == 1 { // once in 1,500⁴ runs by chance
			t.Error("all come back after one and the same time")
		}
	})
}

// TestMetadataAreReadOnceAnHour and after a refresh that failed.
func TestMetadataAreReadOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reads atomic.Int64
		a, g := newRefresher(t, false)
		world := g.next["ap.example"]
		g.next["ap.example"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				reads.Add(1)
			}
			world.ServeHTTP(rw, r)
		})
		renew := func(after time.Duration, want int64) {
			t.Helper()
			old := credential(t, a)
			time.Sleep(after)
			a.Renew(t.Context(), old)
			if reads.Load() != want {
				t.Errorf("metadata read %d times, want %d", reads.Load(), want)
			}
		}
		renew(2*time.Minute, 1)
		renew(57*time.Minute, 1)
		renew(2*time.Minute, 2)
		g.status.Store(500)
		renew(2*time.Minute, 2)
		g.status.Store(0)
		renew(2*time.Minute, 3)
	})
}
