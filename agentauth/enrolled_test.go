package agentauth_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A gated reaches a world's server through a gate that a test closes, and counts the
// refreshes.
type gated struct {
	next     local
	delay    time.Duration
	status   atomic.Int64 // to answer in place of the server; 0: none
	later    string       // Retry-After of that answer
	calls    atomic.Int64
	together atomic.Int64 // at this moment
	most     atomic.Int64
}

func (g *gated) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/refresh" {
		return g.next.RoundTrip(r)
	}
	g.calls.Add(1)
	n := g.together.Add(1)
	defer g.together.Add(-1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	time.Sleep(g.delay)
	if status := int(g.status.Load()); status != 0 {
		r.Body.Close()
		return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {g.later}}, Body: io.NopCloser(bytes.NewReader([]byte(`{"error":"denied"}`))), Request: r}, nil
	}
	return g.next.RoundTrip(r)
}

// newRefresher enrols an agent in a bubble, whose clock is that of all.
func newRefresher(t *testing.T, two bool) (*agentauth.Enrolled, *gated) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits.KeyPerMinute = -1
	}})
	w.clock.now = time.Now()
	follow := func() time.Time {
		w.clock.mu.Lock()
		defer w.clock.mu.Unlock()
		w.clock.now = time.Now()
		return w.clock.now
	}
	g := &gated{next: local{"ap.example": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		follow()
		w.mux.ServeHTTP(rw, r)
	})}}
	client := &http.Client{Transport: g}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, Keys: new(keystore.Memory), HTTP: client, Now: follow})
	must(t, err)
	a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: e.Key, Provider: issuer, TwoKeys: two, HTTP: client, Now: follow})
	must(t, err)
	return a, g
}

func credential(t *testing.T, a *agentauth.Enrolled) agentauth.Credential {
	t.Helper()
	c, err := a.Credential(t.Context())
	must(t, err)
	return c
}

func TestOneRefreshServesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.delay = time.Second
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { credential(t, a) })
		}
		all.Wait()
		if g.calls.Load() != 1 {
			t.Errorf("%d refreshes for 50 callers, want 1", g.calls.Load())
		}
	})
}

func TestTheOldTokenServesWhileAnotherIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		first := credential(t, a)
		time.Sleep(50 * time.Minute) // an hour less 5 minutes and a quarter of that is later
		if credential(t, a).As.Token != first.As.Token || g.calls.Load() != 1 {
			t.Fatal("a token was replaced before its margin")
		}
		time.Sleep(6 * time.Minute)
		g.delay = 10 * time.Second
		began := time.Now()
		for range 20 {
			if credential(t, a).As.Token != first.As.Token {
				t.Error("not the old token, while another is asked for")
			}
		}
		if time.Since(began) != 0 {
			t.Error("a request waited though its token was good")
		}
		synctest.Wait()
		time.Sleep(11 * time.Second)
		if credential(t, a).As.Token == first.As.Token || g.calls.Load() != 2 {
			t.Errorf("no other token after %d refreshes", g.calls.Load())
		}
	})
}

func TestAProviderThatIsAwayIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		first := credential(t, a)
		g.status.Store(500)
		time.Sleep(56 * time.Minute)
		for range 4 * 60 { // once a second until the end of the token
			if credential(t, a).As.Token != first.As.Token {
				t.Fatal("the old token was given up before its end")
			}
			time.Sleep(time.Second)
		}
		if n := g.calls.Load(); n < 6 || n > 12 {
			t.Errorf("%d refreshes in the last four minutes, want those of pauses of 1, 2, 4 … 60 seconds", n)
		}
		before := g.calls.Load()
		for range 10 {
			if _, err := a.Credential(t.Context()); err == nil {
				t.Fatal("a credential after the end of its token")
			}
		}
		if g.calls.Load() > before+1 {
			t.Error("everybody asks a provider that is away")
		}
		g.status.Store(0)
		time.Sleep(time.Minute)
		if credential(t, a).As.Token == first.As.Token {
			t.Error("no other token when the provider is back")
		}
	})
}

func TestDeniedIsToldAndNotAskedAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.status.Store(403)
		for range 5 {
			_, err := a.Credential(t.Context())
			if e, ok := errors.AsType[*agentauth.StatusError](err); !ok || e.Code != "denied" {
				t.Fatalf("got %v, want the provider's word", err)
			}
			time.Sleep(10 * time.Second)
		}
		if g.calls.Load() != 1 {
			t.Errorf("%d refreshes in a minute, want 1", g.calls.Load())
		}
	})
}

func TestWhoLeavesDoesNotStopTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.delay = 10 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Credential(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want the end of the caller's time", err)
		}
		credential(t, a)
		if g.calls.Load() != 1 {
			t.Errorf("%d refreshes, want 1", g.calls.Load())
		}
	})
}

func TestRenewAsksOnceForAllWhoWereRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.delay = time.Second
		old := credential(t, a)
		time.Sleep(time.Minute)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				c, err := a.Renew(t.Context(), old)
				if err != nil || c.As.Token == old.As.Token {
					t.Errorf("renewed: %v", err)
				}
			})
		}
		all.Wait()
		if c, err := a.Renew(t.Context(), old); err != nil || c.As.Token != credential(t, a).As.Token || g.calls.Load() != 2 {
			t.Errorf("late: %v after %d refreshes, want 2", err, g.calls.Load())
		}
	})
}

func TestTwoKeysSignWithAnotherKeyEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, true)
		first := credential(t, a)
		time.Sleep(time.Minute)
		second, err := a.Renew(t.Context(), first)
		must(t, err)
		if public, ok := first.Key.Public().(ed25519.PublicKey); !ok || public.Equal(second.Key.Public()) {
			t.Error("two tokens are bound to one key")
		}
		for _, c := range []agentauth.Credential{first, second} {
			transport, err := agentauth.NewTransport(agentauth.TransportConfig{Identity: justOne{c}, Origins: []string{issuer}, Next: g, Now: time.Now})
			must(t, err)
			resp, err := (&http.Client{Transport: transport}).Get(issuer + "/whoami")
			must(t, err)
			var who struct{ Credential string }
			must(t, json.NewDecoder(resp.Body).Decode(&who))
			if resp.StatusCode != 200 || who.Credential == "" {
				t.Errorf("%d %+v", resp.StatusCode, who)
			}
		}
	})
}

// A justOne is one credential, for a test.
type justOne struct{ c agentauth.Credential }

func (o justOne) Credential(context.Context) (agentauth.Credential, error) { return o.c, nil }
func (o justOne) Renew(context.Context, agentauth.Credential) (agentauth.Credential, error) {
	return o.c, errors.New("there is no other")
}

func TestAnEnrolmentsTokenServesFirst(t *testing.T) {
	w := newWorld(t, worldConfig{})
	client := &http.Client{Transport: local{"ap.example": w.mux}}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, Keys: new(keystore.Memory), HTTP: client, Now: w.clock.Now})
	must(t, err)
	for _, tt := range []struct {
		name, token string
		later       time.Duration
		kept        bool
	}{
		{"good", e.AgentToken, 0, true},
		{"ended", e.AgentToken, 2 * time.Hour, false},
	} {
		w.clock.advance(tt.later)
		a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: e.Key, Provider: issuer, Token: tt.token, HTTP: client, Now: w.clock.Now})
		must(t, err)
		if got := credential(t, a).As.Token; (got == tt.token) != tt.kept {
			t.Errorf("%s: kept %v, want %v", tt.name, got == tt.token, tt.kept)
		}
	}
}

func TestAProviderSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, g := newRefresher(t, false)
		g.status.Store(503)
		g.later = "40"
		for range 39 {
			if _, err := a.Credential(t.Context()); err == nil {
				t.Fatal("a credential of a provider that has no time")
			}
			time.Sleep(time.Second)
		}
		if g.calls.Load() != 1 {
			t.Errorf("%d refreshes before the provider wanted another, want 1", g.calls.Load())
		}
	})
}

func TestAFleetDoesNotRefreshAtOneMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := make(map[time.Duration]bool)
		for range 5 {
			a, g := newRefresher(t, false)
			began := time.Now()
			credential(t, a)
			for g.calls.Load() == 1 {
				time.Sleep(time.Second)
				credential(t, a)
				synctest.Wait()
			}
			at := time.Since(began)
			if moments[at] = true; at < 53*time.Minute || at > 55*time.Minute {
				t.Errorf("another token after %v, want one 5 to 6.25 minutes before the end of an hour", at)
			}
		}
		if len(moments) == 1 {
			t.Error("all tokens are replaced at one age")
		}
	})
}

func TestAClockThatWasSetBackLocksNobodyOut(t *testing.T) {
	w := newWorld(t, worldConfig{})
	g := &gated{next: local{"ap.example": w.mux}}
	client := &http.Client{Transport: g}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, Keys: new(keystore.Memory), HTTP: client, Now: w.clock.Now})
	must(t, err)
	a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: e.Key, Provider: issuer, HTTP: client, Now: w.clock.Now})
	must(t, err)
	w.clock.advance(time.Hour)
	g.status.Store(500)
	if _, err := a.Credential(t.Context()); err == nil {
		t.Fatal("a credential of a provider that is away")
	}
	w.clock.advance(-time.Hour)
	g.status.Store(0)
	if _, err := a.Credential(t.Context()); err != nil {
		t.Errorf("after the clock was set back nobody asks: %v", err)
	}
}

// An rsaKey is a key of an algorithm that agents do not have.
type rsaKey struct{ *rsa.PrivateKey }

func (rsaKey) Handle() string { return "rsa" }

func TestAnEnrolledIsConfiguredWhole(t *testing.T) {
	key, err := new(keystore.Memory).Generate(t.Context(), keystore.KeyOptions{})
	must(t, err)
	unfit, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	another := newRemote(t, agentauth.RoleAgentProvider).token(seedKey("another"), nil, nil)
	for name, c := range map[string]agentauth.EnrolledConfig{
		"no key":                {Provider: issuer},
		"no provider":           {Key: key},
		"a provider by http":    {Key: key, Provider: "http://ap.example"},
		"a provider with path":  {Key: key, Provider: issuer + "/"},
		"an endpoint by http":   {Key: key, Endpoint: "http://ap.example/refresh"},
		"an endpoint, relative": {Key: key, Endpoint: "/refresh"},
		"a key of RSA":          {Key: rsaKey{unfit}, Provider: issuer},
		"no such algorithm":     {Key: key, Provider: issuer, Ephemeral: 7},
		"no token":              {Key: key, Provider: issuer, Token: "no token"},
		"a token of another":    {Key: key, Provider: issuer, Token: another},
	} {
		if _, err := agentauth.NewEnrolled(c); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}

func TestWithTwoKeysTheEnrolledOneSignsNoRequest(t *testing.T) {
	w := newWorld(t, worldConfig{})
	client := &http.Client{Transport: local{"ap.example": w.mux}}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, Keys: new(keystore.Memory), HTTP: client, Now: w.clock.Now})
	must(t, err)
	a, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: e.Key, Provider: issuer, Token: e.AgentToken, TwoKeys: true, HTTP: client, Now: w.clock.Now})
	must(t, err)
	if c := credential(t, a); e.Key.Public().(ed25519.PublicKey).Equal(c.Key.Public()) {
		t.Error("the enrolled key signs requests")
	}
}
