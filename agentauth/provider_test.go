package agentauth_test

import (
	"crypto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

func TestAgentEnrolsRefreshesAndIsKnown(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"Ed25519": newEd25519(t), "ES256": newP256(t)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldConfig{})
			token := w.enroll(key, `{"agent_id":"aauth:myapp@ap.example","ps":"https://ps.example"}`)
			w.wantAgent(w.whoami(key, token), "aauth:myapp@ap.example")

			w.clock.advance(time.Second)
			token = w.wantToken(w.refresh(key, agentauth.SignOptions{}))
			w.wantAgent(w.whoami(key, token), "aauth:myapp@ap.example")

			fresh := newP256(t)
			token = w.wantToken(w.refresh(fresh, agentauth.SignOptions{Durable: key}))
			w.wantAgent(w.whoami(fresh, token), "aauth:myapp@ap.example")
			w.wantError(w.whoami(key, token), 401, "invalid_signature")
		})
	}
}

// TestOneOfManyEnrols: of many keys that ask for one identifier at once, one gets
// it; and one key that asks many times is one agent.
func TestOneOfManyEnrols(t *testing.T) {
	w := newWorld(t, worldConfig{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := make(map[int]int)
	for range 16 {
		r := w.sign(w.request("POST", "/enrol", `{"agent_id":"aauth:one@ap.example"}`), newEd25519(t), agentauth.SignOptions{})
		wg.Go(func() {
			a := w.do(r)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{200: 1, 409: 15}, statuses); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	key := newEd25519(t)
	for i := range 8 {
		r := w.sign(w.request("POST", "/enrol", `{"agent_id":"aauth:two@ap.example"}`), key, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Duration(i+1) * time.Second)})
		wg.Go(func() {
			if a := w.do(r); a.status != 200 && a.status != 503 {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
	if n := len(w.agents()); n != 2 {
		t.Errorf("%d agents, want 2", n)
	}
}

// TestReplaysAtTheProvider: no request to an endpoint counts twice (AGT-30).
func TestReplaysAtTheProvider(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	r := w.sign(w.request("POST", "/enrol", `{}`), key, agentauth.SignOptions{})
	send := func() answer {
		again := w.request("POST", r.URL.Path, "{}")
		again.Header = r.Header.Clone()
		return w.do(again)
	}
	w.wantToken(send())
	w.wantError(send(), 401, "invalid_signature")
	r = w.sign(w.request("POST", "/refresh", `{}`), key, agentauth.SignOptions{})
	w.wantToken(send())
	before := w.dump()
	w.wantError(send(), 401, "invalid_signature")
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
}

// TestTokenIsNotBoundToTheProvider is section 7.6: cnf is no key of the provider.
func TestTokenIsNotBoundToTheProvider(t *testing.T) {
	keys := new(keystore.Memory)
	own, err := keys.Generate(t.Context(), keystore.KeyOptions{})
	must(t, err)
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Keys, err = agentauth.NewSigningKeys(c.Host, keys, "another")
		must(t, err)
		_, err = c.Keys.Add(t.Context(), principal("admin"), own.Handle())
		must(t, err)
	}})
	w.wantError(w.tryEnroll(own, `{}`), 400, "invalid_request")
	key := newEd25519(t)
	w.enroll(key, `{}`)
	w.wantError(w.refresh(own, agentauth.SignOptions{Durable: key}), 400, "invalid_request")
}

// TestProviderConfig gives each field what it must not be.
func TestProviderConfig(t *testing.T) {
	w := newWorld(t, worldConfig{})
	tests := map[string]func(*agentauth.ProviderConfig){
		"Host":             func(c *agentauth.ProviderConfig) { c.Host.URL = nil },
		"Keys":             func(c *agentauth.ProviderConfig) { c.Keys = nil },
		"Issuer":           func(c *agentauth.ProviderConfig) { c.Issuer = "http://ap.example" },
		"Limits.TokenLife": func(c *agentauth.ProviderConfig) { c.Limits.TokenLife = 5 * time.Minute },
		"Compat":           func(c *agentauth.ProviderConfig) { c.Profile.Compat.ExpSkew = 2 * time.Minute },
		"Authorities":      func(c *agentauth.ProviderConfig) { c.Profile.Authorities = []string{"https://ap.example"} },
	}
	for field, change := range tests {
		c := agentauth.ProviderConfig{Host: w.host, Keys: w.keys}
		change(&c)
		if _, err := agentauth.NewProvider(c); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// TestProviderSlowsDown is item 6 of section 7.2.
func TestProviderSlowsDown(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Limits.PerMinute = 3 }})
	for range 3 {
		w.wantToken(w.tryEnroll(newEd25519(t), `{}`))
	}
	a := w.tryEnroll(newEd25519(t), `{}`)
	w.wantError(a, 429, "rate_limited")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.clock.advance(time.Minute)
	w.wantToken(w.tryEnroll(newEd25519(t), `{}`))
}

// TestProviderMetadata is section 7.1, with 7.5.
func TestProviderMetadata(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.About = agentauth.About{Name: "Agents", PolicyURI: "https://ap.example/policy"}
		c.Paths = agentauth.ProviderPaths{Enroll: "/v1/enroll", Refresh: "/v1/refresh", Rekey: "/v1/rekey"}
	}})
	a := w.do(w.request("GET", "/.well-known/aauth-agent.json", ""))
	got := a.json(t)
	delete(got, "subagent_endpoint")
	if diff := cmp.Diff(map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/jwks.json", "enrol_endpoint": issuer + "/v1/enroll", "refresh_endpoint": issuer + "/v1/refresh",
		"rekey_endpoint":        issuer + "/v1/rekey",
		"accept_signature_algs": []any{"Ed25519", "ES256"}, "name": "Agents", "policy_uri": "https://ap.example/policy",
	}, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	keys := w.do(w.request("GET", "/jwks.json", "")).json(t)["keys"].([]any)
	if len(keys) != 1 || keys[0].(map[string]any)["alg"] != "Ed25519" || keys[0].(map[string]any)["use"] != "sig" || keys[0].(map[string]any)["d"] != nil {
		t.Errorf("keys: %v", keys)
	}
	w.wantToken(w.do(w.sign(w.request("POST", "/v1/enroll", "{}"), newEd25519(t), agentauth.SignOptions{})))
}
