package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// subAgent asks for a token of a sub-agent.
func (w *world) subAgent(parent crypto.Signer, token, body string) answer {
	w.t.Helper()
	return w.do(w.sign(w.request("POST", "/subagent", body), parent, agentauth.SignOptions{Token: token}))
}

func subAgentBody(t *testing.T, key crypto.Signer, alg, discriminator string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jwk": json.RawMessage(jwkOf(t, key, alg)), "discriminator": discriminator})
	must(t, err)
	return string(body)
}

// TestSubAgentActsForItsParent is section 7.8.
func TestSubAgentActsForItsParent(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits.TokenLife = 2 * time.Hour
	}})
	if m := w.do(w.request("GET", agentauth.MetadataPath, "")).json(t); m["subagent_endpoint"] != issuer+"/subagent" {
		t.Errorf("metadata: %v", m)
	}
	parent, key := newEd25519(t), newP256(t)
	token := w.enroll(parent, `{"agent_id":"aauth:planner@ap.example","ps":"https://ps.example"}`)
	w.clock.advance(30 * time.Minute)
	a := w.subAgent(parent, token, subAgentBody(t, key, "ES256", "search.1-A_b"))
	if a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %d %s %v", a.status, a.body, a.header)
	}
	const id = "aauth:planner+search.1-A_b@ap.example"
	sub := a.json(t)["agent_token"].(string)
	header, claims := claimsOf(t, sub)
	parentHeader, parentClaims := claimsOf(t, token)
	if diff := cmp.Diff(parentHeader, header); diff != "" {
		t.Errorf("header (-parent's +sub-agent's):\n%s", diff)
	}
	now := w.clock.Now()
	want := map[string]any{
		"iss": issuer, "dwk": "aauth-agent.json", "sub": id, "parent_agent": "aauth:planner@ap.example", "ps": "https://ps.example",
		"iat": float64(now.Unix()), "exp": parentClaims["exp"], "jti": claims["jti"],
	}
	var jwk map[string]any
	must(t, json.Unmarshal([]byte(jwkOf(t, key, "ES256")), &jwk))
	want["cnf"] = map[string]any{"jwk": jwk}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"agent_token": sub, "agent_id": id, "expires_in": 90 * 60.0}, a.json(t)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if claims["jti"] == parentClaims["jti"] || claims["jti"] == "" {
		t.Errorf("jti: %v", claims["jti"])
	}
	a = w.whoami(key, sub)
	w.wantAgent(a, id)
	if attrs := a.json(t)["Attrs"].(map[string]any); attrs["parent_agent"] != "aauth:planner@ap.example" || attrs["ps"] != "https://ps.example" {
		t.Errorf("facts: %v", attrs)
	}
	w.wantError(w.whoami(parent, sub), 401, "invalid_signature")

	must(t, w.provider.DisableAgent(t.Context(), principal("admin"), "aauth:planner@ap.example"))
	w.wantError(w.whoami(key, sub), 403, "denied")
	w.clock.advance(time.Second)
	w.wantError(w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "b")), 403, "denied")
	must(t, w.provider.EnableAgent(t.Context(), principal("admin"), "aauth:planner@ap.example"))
	w.wantAgent(w.whoami(key, sub), id)
	w.clock.advance(90 * time.Minute)
	w.wantError(w.whoami(key, sub), 401, "expired_jwt")
}

// TestSubAgentLivesNoLongerThanAgents is for parents whose tokens live longer.
func TestSubAgentLivesNoLongerThanAgents(t *testing.T) {
	w := newWorld(t, worldConfig{})
	parent := newEd25519(t)
	token := w.enroll(parent, `{}`)
	a := w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "a"))
	if got := a.json(t)["expires_in"]; got != 3600.0 {
		t.Errorf("at once: %v seconds", got)
	}
	w.clock.advance(time.Hour - time.Second)
	a = w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "b"))
	if got := a.json(t)["expires_in"]; got != 1.0 {
		t.Errorf("a second before the end: %v seconds", got)
	}
	w.clock.advance(time.Second)
	w.wantError(w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "c")), 401, "expired_jwt")
}

// TestLateParentHasNoSubAgents is Compat.ExpSkew, with which a token is accepted
// that ends before that of a sub-agent would begin.
func TestLateParentHasNoSubAgents(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Profile.Compat.ExpSkew = time.Minute }})
	parent := newEd25519(t)
	token := w.enroll(parent, `{}`)
	w.clock.advance(time.Hour + 30*time.Second)
	w.wantError(w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "a")), 401, "expired_jwt")
}

func TestSubAgentIsRefused(t *testing.T) {
	w := newWorld(t, worldConfig{})
	parent, sub, ephemeral := newEd25519(t), newEd25519(t), newEd25519(t)
	long := strings.Repeat("p", 250)
	token := w.enroll(parent, `{"agent_id":"aauth:`+long+`@ap.example"}`)
	a := w.subAgent(parent, token, subAgentBody(t, sub, "Ed25519", "1234"))
	if a.status != 200 { // 255 characters
		t.Fatalf("got %d %s %v", a.status, a.body, a.header)
	}
	subToken := a.json(t)["agent_token"].(string)
	w.clock.advance(time.Second)
	two := w.wantToken(w.refresh(ephemeral, agentauth.SignOptions{Durable: parent}))
	good := func(discriminator string) string { return subAgentBody(t, newEd25519(t), "Ed25519", discriminator) }
	own := w.do(w.request("GET", "/jwks.json", "")).json(t)["keys"].([]any)[0].(map[string]any)
	delete(own, "kid")
	provider, err := json.Marshal(map[string]any{"jwk": own, "discriminator": "a"})
	must(t, err)
	before := w.dump()
	for _, tt := range []struct {
		name   string
		key    crypto.Signer
		token  string
		body   string
		status int
		code   string
	}{
		{"of a sub-agent", sub, subToken, good("a"), 403, "denied"},
		{"signed by another key", sub, token, good("a"), 401, "invalid_signature"},
		{"no discriminator", parent, token, good(""), 400, "invalid_request"},
		{"256 characters", parent, token, good("12345"), 400, "invalid_request"},
		{"of agents of agents", parent, token, good("a+b"), 400, "invalid_request"},
		{"ends with a plus", parent, token, good("a+"), 400, "invalid_request"},
		{"other characters", parent, token, good("a@b"), 400, "invalid_request"},
		{"a line break", parent, token, good("a\n"), 400, "invalid_request"},
		{"no letters of ASCII", parent, token, good("é"), 400, "invalid_request"},
		{"no key", parent, token, `{"discriminator":"a"}`, 400, "invalid_request"},
		{"key is null", parent, token, `{"jwk":null,"discriminator":"a"}`, 400, "invalid_request"},
		{"key is text", parent, token, `{"jwk":"a","discriminator":"a"}`, 400, "invalid_request"},
		{"key without alg", parent, token, subAgentBody(t, newEd25519(t), "", "a"), 400, "invalid_request"},
		{"key for EdDSA", parent, token, subAgentBody(t, newEd25519(t), "EdDSA", "a"), 400, "invalid_request"},
		{"private key", parent, token, strings.Replace(good("a"), `"kty"`, `"d":"AAAA","kty"`, 1), 400, "invalid_request"},
		{"symmetric key", parent, token, `{"jwk":{"kty":"oct","k":"AAAA","alg":"HS256"},"discriminator":"a"}`, 400, "invalid_request"},
		{"the parent's key", parent, token, subAgentBody(t, parent, "Ed25519", "a"), 400, "invalid_request"},
		{"the parent's key of the token", ephemeral, two, subAgentBody(t, ephemeral, "Ed25519", "a"), 400, "invalid_request"},
		{"the parent's durable key", ephemeral, two, subAgentBody(t, parent, "Ed25519", "a"), 400, "invalid_request"},
		{"the provider's key", parent, token, string(provider), 400, "invalid_request"},
		{"no body", parent, token, "", 400, "invalid_request"},
		{"no object", parent, token, "[]", 400, "invalid_request"},
		{"discriminator twice", parent, token, strings.Replace(good("a"), `{`, `{"discriminator":"b",`, 1), 400, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.wantError(w.subAgent(tt.key, tt.token, tt.body), tt.status, tt.code)
		})
	}
	w.t = t
	for name, change := range map[string]func(*http.Request) *http.Request{
		"not signed": func(r *http.Request) *http.Request { return r },
		"by its key": func(r *http.Request) *http.Request { return w.sign(r, parent, agentauth.SignOptions{}) },
		"without its body": func(r *http.Request) *http.Request {
			body := r.Body
			r.Body = http.NoBody
			w.sign(r, parent, agentauth.SignOptions{Token: token})
			r.Body, r.ContentLength = body, -1
			return r
		},
	} {
		a := w.do(change(w.request("POST", "/subagent", good("a"))))
		if a.status != 401 || !strings.Contains(a.header.Get("Accept-Signature-Scheme")+a.header.Get("Signature-Error"), "jwt") && name != "without its body" {
			t.Errorf("%s: %d %s %v", name, a.status, a.body, a.header)
		}
	}
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
}

// TestSubAgentsRequestIsSeenOnce looks at what one Commit writes.
func TestSubAgentsRequestIsSeenOnce(t *testing.T) {
	w := newWorld(t, worldConfig{})
	parent := newEd25519(t)
	token := w.enroll(parent, `{"agent_id":"aauth:p@ap.example","ps":"https://ps.example"}`)
	body := subAgentBody(t, newEd25519(t), "Ed25519", "a")
	before := w.dump()
	a := w.subAgent(parent, token, body)
	_, claims := claimsOf(t, w.wantToken(a))
	after := w.dump()
	kinds := make(map[string]int)
	for id, data := range after {
		if _, ok := before[id]; ok {
			continue
		}
		kind, _, _ := strings.Cut(id, " ")
		kinds[kind]++
		if kind == "event" && (!strings.Contains(data, "agent.subagent_issued") || !strings.Contains(data, "aauth:p+a@ap.example") || !strings.Contains(data, claims["jti"].(string))) {
			t.Errorf("event: %s", data)
		}
		if strings.Contains(data, a.json(t)["agent_token"].(string)) {
			t.Errorf("the token was kept: %s", data)
		}
	}
	if diff := cmp.Diff(map[string]int{agentauth.KindSeen: 1, agentauth.KindAgentToken: 1, "event": 1}, kinds); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	replay := w.subAgent(parent, token, body)
	w.wantError(replay, 401, "invalid_signature")
	if got := replay.header.Get("Accept-Signature-Scheme"); got != "jwt" {
		t.Errorf("Accept-Signature-Scheme: %q", got)
	}
	if diff := cmp.Diff(after, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
}

// A trap is a store whose commits can be made to fail, or to come late.
type trap struct {
	store.Memory
	before func(ops []store.Op) error // nil: nothing
}

func (s *trap) Commit(ctx context.Context, ops ...store.Op) error {
	if s.before != nil {
		if err := s.before(ops); err != nil {
			return err
		}
	}
	return s.Memory.Commit(ctx, ops...)
}

// TestParentIsDisabledMeanwhile disables it between the look at it and the Commit.
func TestParentIsDisabledMeanwhile(t *testing.T) {
	s := new(trap)
	w := newWorld(t, worldConfig{store: s})
	s.Now = w.clock.Now
	parent := newEd25519(t)
	token := w.enroll(parent, `{"agent_id":"aauth:p@ap.example"}`)
	s.before = func([]store.Op) error {
		s.before = nil
		return w.provider.DisableAgent(t.Context(), principal("admin"), "aauth:p@ap.example")
	}
	w.wantError(w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "a")), 403, "denied")
	must(t, w.provider.EnableAgent(t.Context(), principal("admin"), "aauth:p@ap.example"))
	s.before = func([]store.Op) error { return errors.New("the disk is full") }
	w.clock.advance(time.Second)
	w.wantError(w.subAgent(parent, token, subAgentBody(t, newEd25519(t), "Ed25519", "a")), 503, "unavailable")
}

// TestTokenOfADeletedAgent is of a key that was another agent before.
func TestTokenOfADeletedAgent(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, sub := newEd25519(t), newEd25519(t)
	old := w.enroll(key, `{"agent_id":"aauth:old@ap.example"}`)
	oldSub := w.wantToken(w.subAgent(key, old, subAgentBody(t, sub, "Ed25519", "a")))
	w.wantAgent(w.whoami(sub, oldSub), "aauth:old+a@ap.example")
	must(t, w.provider.DeleteAgent(t.Context(), principal("admin"), "aauth:old@ap.example"))
	w.wantError(w.whoami(key, old), 403, "denied")
	w.clock.advance(time.Second)
	young := w.enroll(key, `{"agent_id":"aauth:new@ap.example"}`)
	w.wantAgent(w.whoami(key, young), "aauth:new@ap.example")
	w.wantError(w.whoami(key, old), 403, "denied")
	w.wantError(w.whoami(sub, oldSub), 403, "denied")
	w.wantError(w.subAgent(key, old, subAgentBody(t, sub, "Ed25519", "b")), 403, "denied")
}
