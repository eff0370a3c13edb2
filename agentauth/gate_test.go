package agentauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// t0 is the time of the vectors of attacks, 2026-01-01T00:00:00Z.
var t0 = time.Unix(1_767_225_600, 0)

// A gate is a verifier at https://ap.example, without the agent provider that a
// world has, and what its audit was told last.
type gate struct {
	tb       testing.TB
	clock    *clock
	store    store.Store
	host     keywright.Host
	verifier *agentauth.Verifier

	mu   sync.Mutex
	last keywright.Event // guarded by mu
}

// newGate makes a gate. edit may change its configuration, and nil does not.
func newGate(tb testing.TB, edit func(*agentauth.VerifierConfig)) *gate {
	tb.Helper()
	g := &gate{tb: tb, clock: &clock{now: t0}}
	g.store = &store.Memory{Now: g.clock.Now}
	return g.build(edit)
}

// build makes the verifier, of g's store and clock.
func (g *gate) build(edit func(*agentauth.VerifierConfig)) *gate {
	g.tb.Helper()
	u, err := url.Parse(issuer)
	must(g.tb, err)
	g.host, err = keywright.NewHost(keywright.HostConfig{
		Store: g.store, URL: u, Kinds: map[string]string{"admin": "kw_admin"},
		Hooks: keywright.Hooks{Now: g.clock.Now, Logger: slog.New(slog.DiscardHandler), Audit: func(_ context.Context, e keywright.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.last = e
		}},
	})
	must(g.tb, err)
	c := agentauth.VerifierConfig{Host: g.host}
	if edit != nil {
		edit(&c)
	}
	g.verifier, err = agentauth.NewVerifier(c)
	must(g.tb, err)
	return g
}

// cause is the reason of the last refusal.
func (g *gate) cause() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last.Detail
}

// everything is a policy that accepts all schemes.
var everything = agentauth.Policy{Schemes: []agentauth.Scheme{
	agentauth.SchemeHWK, agentauth.SchemeJKTJWT, agentauth.SchemeJWT, agentauth.SchemeJWKSURI, agentauth.SchemeJWKS,
}, Pseudonyms: true}

// pass sends r to a route of policy p. A request that gets through is answered
// with its Principal.
func (g *gate) pass(p agentauth.Policy, r *http.Request) answer {
	g.tb.Helper()
	rec := httptest.NewRecorder()
	g.verifier.Require(p)(whoami).ServeHTTP(rec, r)
	body, err := io.ReadAll(rec.Result().Body)
	must(g.tb, err)
	return answer{rec.Code, rec.Result().Header, string(body)}
}

// code is the code of a refusal, which must be the same in the field
// Signature-Error and in the body; "" if r got through.
func (a answer) code(tb testing.TB) string {
	tb.Helper()
	if a.status == http.StatusOK {
		return ""
	}
	var body struct {
		Error string `json:"error"`
		Type  string `json:"type"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		tb.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	field, _, _ := strings.Cut(a.header.Get("Signature-Error"), ", ")
	switch {
	case a.status == http.StatusUnauthorized && (field != "error="+body.Error || body.Type != "urn:ietf:params:sig-error:"+body.Error):
		tb.Errorf("Signature-Error %q and type %q with error %q", field, body.Type, body.Error)
	case a.status != http.StatusUnauthorized && (field != "" || body.Type != "" || a.header.Get("Accept-Signature") != ""):
		tb.Errorf("%d with Signature-Error %q, type %q", a.status, field, body.Type)
	}
	return body.Error
}

// principal is the one that r got through with.
func (a answer) principal(tb testing.TB) keywright.Principal {
	tb.Helper()
	var p keywright.Principal
	if a.status != http.StatusOK {
		tb.Fatalf("%d %s", a.status, a.body)
	}
	must(tb, json.Unmarshal([]byte(a.body), &p))
	return p
}

// wants fails unless r is refused with code, or accepted where that is "".
func (g *gate) wants(code string, p agentauth.Policy, r *http.Request) {
	g.tb.Helper()
	status := http.StatusOK
	if code != "" {
		status = keywright.Code(code).Status()
	}
	a := g.pass(p, r)
	if got := a.code(g.tb); got != code || a.status != status {
		g.tb.Errorf("got %d %q (%s), want %d %q", a.status, got, g.cause(), status, code)
	}
}

// A failing store is in trouble whenever a call is one that it fails at.
type failing struct {
	store.Store
	get    func(store.Key) bool
	commit error
}

var errStore = errors.New("disk on fire")

func (f *failing) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if f.get != nil && slices.ContainsFunc(keys, f.get) {
		return nil, errStore
	}
	return f.Store.Get(ctx, keys...)
}

func (f *failing) Commit(ctx context.Context, ops ...store.Op) error {
	if f.commit != nil {
		return f.commit
	}
	return f.Store.Commit(ctx, ops...)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}
