package agentauth_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// TestTokensAreRevoked is section 7.7.
func TestTokensAreRevoked(t *testing.T) {
	w, s, ps := newRevocation(t)
	v, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: w.host, Providers: []*agentauth.Provider{w.provider}, Profile: agentauth.Profile{Network: s.network()}})
	must(t, err)
	w.mux.Handle("/whoami", v.Require(agentauth.Policy{})(whoami))
	key, sub, other := newEd25519(t), newP256(t), newEd25519(t)
	body := `{"agent_id":"aauth:%s@127.0.0.1","ps":"` + ps.url + `"}`
	token, _ := w.enrollAt(s, key, fmt.Sprintf(body, "bad"))
	keep, _ := w.enrollAt(s, other, fmt.Sprintf(body, "good"))
	w.clock.advance(time.Minute)
	second := w.wantToken(w.do(w.sign(w.at(s, "POST", "/refresh", "{}"), key, agentauth.SignOptions{})))
	of := w.wantToken(w.do(w.sign(w.at(s, "POST", "/subagent", subAgentBody(t, sub, "ES256", "a")), key, agentauth.SignOptions{Token: token})))
	want := make(map[string]int64)
	for _, text := range []string{token, second, of} {
		_, claims := claimsOf(t, text)
		want[claims["jti"].(string)] = int64(claims["exp"].(float64))
	}
	_, keptClaims := claimsOf(t, keep)
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:bad@127.0.0.1"))
	if diff := cmp.Diff(want, ps.revoked); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{keptClaims["jti"].(string): int64(keptClaims["exp"].(float64))}, w.live()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	for _, r := range ps.calls {
		who, _ := keywright.FromContext(r.Context())
		covered := strings.Fields(who.Attrs[agentauth.AttrComponents])
		if who.Issuer != s.url || who.Attrs[agentauth.AttrScheme] != "jwks_uri" || who.Attrs[agentauth.AttrRole] != string(agentauth.RoleAgentProvider) ||
			!slices.Contains(covered, "content-type") || !slices.Contains(covered, "content-digest") || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("caller: %+v", who)
		}
	}
	for text, k := range map[string]crypto.Signer{token: key, second: key, of: sub} {
		w.wantError(w.do(w.sign(w.at(s, "GET", "/whoami", ""), k, agentauth.SignOptions{Token: text})), 401, "revoked_jwt")
	}
	if a := w.do(w.sign(w.at(s, "GET", "/whoami", ""), other, agentauth.SignOptions{Token: keep})); a.status != 200 {
		t.Errorf("another agent: %d %s", a.status, a.body)
	}
	w.wantError(w.do(w.sign(w.at(s, "POST", "/subagent", subAgentBody(t, newEd25519(t), "Ed25519", "b")), key, agentauth.SignOptions{Token: second})), 401, "revoked_jwt")
	var events []keywright.Event
	for e, err := range w.host.Events(t.Context(), "") {
		must(t, err)
		if e.Name == "agent.tokens_revoked" {
			events = append(events, e)
		}
	}
	if len(events) != 1 || events[0].Actor != "admin" || events[0].Target != "aauth:bad@127.0.0.1" || events[0].Attrs["tokens"] != "3" {
		t.Errorf("events: %+v", events)
	}

	// There is nothing left to do, and a token of later is another matter.
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:bad@127.0.0.1"))
	w.clock.advance(time.Second)
	w.wantToken(w.do(w.sign(w.at(s, "POST", "/refresh", "{}"), key, agentauth.SignOptions{})))
	must(t, w.provider.DeleteAgent(t.Context(), principal("admin"), "aauth:bad@127.0.0.1"))
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:bad@127.0.0.1"))
	if len(ps.revoked) != 4 {
		t.Errorf("%d tokens are revoked, want 4", len(ps.revoked))
	}
	wantCode(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:nobody@127.0.0.1"), keywright.CodeNotFound, "")
}

// TestTokensWithoutPersonServer are those that nobody can be told of.
func TestTokensWithoutPersonServer(t *testing.T) {
	w, s, _ := newRevocation(t)
	w.enrollAt(s, newEd25519(t), `{"agent_id":"aauth:a@127.0.0.1"}`)
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1"))
	if n := len(w.live()); n != 0 {
		t.Errorf("%d records", n)
	}
}

// TestExpiredTokensAreNotRevoked asks nobody.
func TestExpiredTokensAreNotRevoked(t *testing.T) {
	w, s, ps := newRevocation(t)
	w.enrollAt(s, newEd25519(t), `{"agent_id":"aauth:a@127.0.0.1","ps":"`+ps.url+`"}`)
	w.clock.advance(time.Hour)
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1"))
	if n := ps.hits.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestRevocationIsTriedAgain lets a person server fail in its ways. What it was not
// told of stays, and is told later.
func TestRevocationIsTriedAgain(t *testing.T) {
	elsewhere := newSite(t, newWorld(t, worldConfig{}).clock)
	status := func(code int) func(*revokingServer) {
		return func(p *revokingServer) { p.answer = func(string) int { return code } }
	}
	member := func(name string, value any) func(*revokingServer) {
		return func(p *revokingServer) {
			p.metadata = func(m map[string]any) {
				if m[name] = value; value == nil {
					delete(m, name)
				}
			}
		}
	}
	for _, tt := range []struct {
		name    string
		set     func(*revokingServer)
		text    string // "": it succeeds
		reached bool   // the endpoint, or others, were asked
	}{
		{"200", status(200), "", true},
		{"202", status(202), "", true},
		{"201", status(201), "status 201", true},
		{"204", status(204), "status 204", true},
		{"400", status(400), "status 400", true},
		{"429", status(429), "status 429", true},
		{"500", status(500), "status 500", true},
		{"redirect", func(p *revokingServer) {
			p.serve = func(w http.ResponseWriter) bool {
				w.Header().Set("Location", elsewhere.url+"/revoke")
				w.WriteHeader(http.StatusTemporaryRedirect)
				return false
			}
		}, "redirect", true},
		{"too long an answer", func(p *revokingServer) {
			p.serve = func(w http.ResponseWriter) bool {
				w.Write(make([]byte, 64<<10+1))
				return false
			}
		}, "more than 65536 bytes", true},
		{"no endpoint", member("revocation_endpoint", nil), "revocation_endpoint", false},
		{"endpoint is no text", member("revocation_endpoint", 1), "revocation_endpoint", false},
		{"endpoint elsewhere", member("revocation_endpoint", elsewhere.url+"/revoke"), "another origin", false},
		{"endpoint over http", func(p *revokingServer) {
			member("revocation_endpoint", strings.Replace(p.url, "https:", "http:", 1)+"/revoke")(p)
		}, "another origin", false},
		{"endpoint with a user", func(p *revokingServer) {
			member("revocation_endpoint", strings.Replace(p.url, "https://", "https://user@", 1)+"/revoke")(p)
		}, "userinfo", false},
		{"another's metadata", member("issuer", "https://ps.example"), "another issuer", false},
		{"no metadata", func(p *revokingServer) { p.metadata = func(map[string]any) { panic(http.ErrAbortHandler) } }, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, s, ps := newRevocation(t)
			w.enrollAt(s, newEd25519(t), `{"agent_id":"aauth:a@127.0.0.1","ps":"`+ps.url+`"}`)
			want := w.live()
			tt.set(ps)
			hits := elsewhere.hits.Load()
			err := w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1")
			if elsewhere.hits.Load() != hits {
				t.Error("a server elsewhere was asked")
			}
			if tt.name == "200" || tt.name == "202" {
				must(t, err)
				if len(w.live()) != 0 || len(ps.revoked) != 1 {
					t.Errorf("left %v, revoked %v", w.live(), ps.revoked)
				}
				return
			}
			wantCode(t, err, keywright.CodeUnavailable, tt.text)
			if e, _ := errors.AsType[*keywright.Error](err); !strings.Contains(e.Detail, "of 1 tokens, 1 are not revoked") {
				t.Errorf("detail: %s", e.Detail)
			}
			if diff := cmp.Diff(want, w.live()); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			ps.mu.Lock()
			ps.answer, ps.metadata, ps.serve = nil, nil, nil
			clear(ps.revoked)
			ps.mu.Unlock()
			w.clock.advance(time.Second) // or it would be a replay
			must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1"))
			if diff := cmp.Diff(want, ps.revoked); diff != "" {
				t.Errorf("revoked later (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOneTokenHoldsUpNoOther is for a person server that refuses some.
func TestOneTokenHoldsUpNoOther(t *testing.T) {
	w, s, ps := newRevocation(t)
	key := newEd25519(t)
	w.enrollAt(s, key, `{"agent_id":"aauth:a@127.0.0.1","ps":"`+ps.url+`"}`)
	for range 4 {
		w.clock.advance(time.Second)
		w.wantToken(w.do(w.sign(w.at(s, "POST", "/refresh", "{}"), key, agentauth.SignOptions{})))
	}
	n := 0
	ps.answer = func(string) int {
		if n++; n == 2 {
			return 400
		}
		return 200
	}
	err := w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1")
	wantCode(t, err, keywright.CodeUnavailable, "of 5 tokens, 1")
	if len(ps.revoked) != 4 || len(w.live()) != 1 {
		t.Errorf("%d revoked, %d left", len(ps.revoked), len(w.live()))
	}
	if got := ps.hits.Load(); got != 6 { // the metadata once
		t.Errorf("%d requests", got)
	}
}

// TestManyTokensAreRevoked is of more than one Commit has room for, and of more than
// one call takes on.
func TestManyTokensAreRevoked(t *testing.T) {
	w, s, ps := newRevocation(t)
	key := newEd25519(t)
	w.enrollAt(s, key, `{"agent_id":"aauth:a@127.0.0.1","ps":"`+ps.url+`"}`)
	more := func(n int) {
		for i := range n {
			jti := fmt.Sprintf("%d-%d", n, i)
			must(t, w.store.Commit(t.Context(), store.Insert(store.Record{
				Kind: agentauth.KindAgentToken, ID: store.ID(s.url, "aauth:a@127.0.0.1", jti), Expires: w.clock.Now().Add(time.Hour),
				Data: []byte(`{"jti":"` + jti + `","ps":"` + ps.url + `"}`),
			})))
		}
	}
	more(149)
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1"))
	if len(ps.revoked) != 150 || len(w.live()) != 0 {
		t.Errorf("%d revoked, %d left", len(ps.revoked), len(w.live()))
	}
	more(1001)
	ps.metadata = func(m map[string]any) { delete(m, "revocation_endpoint") }
	err := w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@127.0.0.1")
	wantCode(t, err, keywright.CodeUnavailable, "of 1000 tokens, 1000 are")
	if n := len(err.Error()); n > 500 {
		t.Errorf("an error of %d bytes", n)
	}
}

// TestPersonServerIsNotWaitedForLong gives a caller's time and no more.
func TestPersonServerIsNotWaitedForLong(t *testing.T) {
	w, s, ps := newRevocation(t)
	w.enrollAt(s, newEd25519(t), `{"agent_id":"aauth:a@127.0.0.1","ps":"`+ps.url+`"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	ps.serve = func(http.ResponseWriter) bool {
		<-ctx.Done()
		return false
	}
	began := time.Now()
	wantCode(t, w.provider.RevokeTokens(ctx, principal("admin"), "aauth:a@127.0.0.1"), keywright.CodeUnavailable, "deadline")
	if waited := time.Since(began); waited > 3*time.Second {
		t.Errorf("waited for %v", waited)
	}
	if len(w.live()) != 1 {
		t.Error("the record has gone")
	}
}

// TestPersonServerIsReachedByTheRules has one on an address that is not public: it
// gets no connection.
func TestPersonServerIsReachedByTheRules(t *testing.T) {
	clock := newWorld(t, worldConfig{}).clock
	ps := newSite(t, clock)
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	// Development admits no such name as ps, so the record is what tells.
	w.enroll(key, `{"agent_id":"aauth:a@ap.example","ps":"https://ps.example"}`)
	for r, err := range w.store.List(t.Context(), store.Query{Kind: agentauth.KindAgentToken}) {
		must(t, err)
		r.Data = bytes.Replace(r.Data, []byte("https://ps.example"), []byte(ps.url), 1)
		must(t, w.store.Commit(t.Context(), store.Replace(r)))
	}
	wantCode(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:a@ap.example"), keywright.CodeUnavailable, "not public")
	if n := ps.hits.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}
