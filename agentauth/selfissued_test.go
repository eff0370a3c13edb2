package agentauth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// newSelf makes a service that is its own agent provider.
func newSelf(t *testing.T, change func(*agentauth.SelfIssuerConfig)) (*agentauth.SelfIssuer, *site, *agentauth.SigningKeys) {
	t.Helper()
	s := newSite(t, newWorld(t, worldConfig{}).clock)
	keys, err := agentauth.NewSigningKeys(s.host, new(keystore.Memory), "")
	must(t, err)
	c := agentauth.SelfIssuerConfig{Host: s.host, Agent: "Mailer", Keys: keys, Development: true}
	if change != nil {
		change(&c)
	}
	self, err := agentauth.NewSelfIssuer(c)
	must(t, err)
	must(t, keys.Sync(t.Context()))
	self.Register(s.mux)
	return self, s, keys
}

// TestServiceIssuesItsOwnTokens is section 8: others find the keys by themselves.
func TestServiceIssuesItsOwnTokens(t *testing.T) {
	self, s, keys := newSelf(t, func(c *agentauth.SelfIssuerConfig) {
		c.PersonServer, c.TokenLife, c.About.Name = "https://ps.example", 10*time.Minute, "Mailer"
	})
	w := &world{t: t, clock: s.clock, mux: s.mux}
	var metadata map[string]any
	a := w.do(w.at(s, "GET", agentauth.MetadataPath, ""))
	must(t, json.Unmarshal([]byte(a.body), &metadata))
	if diff := cmp.Diff(map[string]any{"issuer": s.url, "jwks_uri": s.url + "/.well-known/jwks.json", "name": "Mailer"}, metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if a.header.Get("Cache-Control") != "max-age=300" {
		t.Errorf("header: %v", a.header)
	}
	const id = "aauth:Mailer@127.0.0.1"
	if self.AgentID() != id {
		t.Errorf("AgentID: %s", self.AgentID())
	}
	e := newFarWorld(t, s, agentauth.Policy{}, nil)
	for name, key := range map[string]crypto.Signer{"Ed25519": newEd25519(t), "P-256": newP256(t)} {
		text, expires, err := self.Token(t.Context(), key.Public())
		must(t, err)
		header, claims := claimsOf(t, text)
		list, err := keys.List(t.Context())
		must(t, err)
		if diff := cmp.Diff(map[string]any{"typ": "aa-agent+jwt", "alg": "Ed25519", "kid": list[0].ID}, header); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", name, diff)
		}
		now := s.clock.Now()
		want := map[string]any{
			"iss": s.url, "dwk": "aauth-agent.json", "sub": id, "ps": "https://ps.example",
			"iat": float64(now.Unix()), "exp": float64(now.Unix() + 600), "jti": claims["jti"], "cnf": claims["cnf"],
		}
		if diff := cmp.Diff(want, claims); diff != "" || !expires.Equal(now.Add(10*time.Minute)) {
			t.Errorf("%s: claims until %v (-want +got):\n%s", name, expires, diff)
		}
		if a := e.whoami(key, agentauth.SignOptions{Token: text}); a.status != 200 || a.json(t)["Subject"] != id {
			t.Errorf("%s: %d %s %v", name, a.status, a.body, a.header)
		}
		(&world{t: t}).wantError(e.whoami(newEd25519(t), agentauth.SignOptions{Token: text}), 401, "invalid_signature")
	}
	if n := s.hits.Load(); n != 2 { // the two documents, once
		t.Errorf("%d fetches", n)
	}
}

// TestOneKeyPlaysBothParts signs with the key that has signed the token, through a
// rotation, as the resource elsewhere sees it.
func TestOneKeyPlaysBothParts(t *testing.T) {
	self, s, keys := newSelf(t, nil)
	e := newFarWorld(t, s, agentauth.Policy{}, nil)
	sign := func() (token string) {
		t.Helper()
		var r *http.Request
		var a answer
		// The clock leaps here, so a fetch of before may end after it, with old
		// keys. Then the new ones are seen a minute later.
		for tries := 0; tries == 0 || tries < 3 && a.json(t)["error"] == "unknown_key"; tries++ {
			s.clock.advance(time.Duration(tries) * time.Minute)
			r = e.request()
			must(t, self.Sign(t.Context(), r))
			a = e.do(r)
		}
		if a.status != 200 || a.json(t)["Subject"] != self.AgentID() {
			t.Errorf("%d %s %v", a.status, a.body, a.header)
		}
		return strings.TrimPrefix(r.Header.Get("Signature-Key"), "sig=jwt;jwt=")
	}
	first := sign()
	s.clock.advance(55*time.Minute - time.Second)
	if sign() != first {
		t.Error("the token was not kept")
	}
	s.clock.advance(time.Second)
	second := sign()
	if second == first {
		t.Error("the token was kept until its last minutes")
	}
	next, err := keys.Add(t.Context(), principal("admin"), "")
	must(t, err)
	s.clock.advance(agentauth.PublishedFor)
	if sign() != second {
		t.Error("the token was not kept")
	}
	must(t, keys.Activate(t.Context(), principal("admin"), next))
	third := sign()
	header, _ := claimsOf(t, strings.Trim(third, `"`))
	if third == second || header["kid"] != next {
		t.Errorf("the token after the rotation is of key %v, want %s", header["kid"], next)
	}

	text, _, err := self.Token(t.Context(), nil)
	must(t, err)
	_, claims := claimsOf(t, text)
	jwk, err := json.Marshal(claims["cnf"].(map[string]any)["jwk"])
	must(t, err)
	if published := (&world{mux: s.mux}).do((&world{}).at(s, "GET", "/.well-known/jwks.json", "")); !strings.Contains(published.body, claims["cnf"].(map[string]any)["jwk"].(map[string]any)["x"].(string)) {
		t.Errorf("the token's key is %s, not one of %s", jwk, published.body)
	}
	if other, _, err := self.Token(t.Context(), nil); err != nil || other == text {
		t.Errorf("Token made the same again: %v", err)
	}
}

// TestServiceTokensOfOthers refuses keys that no agent can have.
func TestServiceTokensOfOthers(t *testing.T) {
	self, _, _ := newSelf(t, nil)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	for name, key := range map[string]crypto.PublicKey{"RSA": weak.Public(), "private": newEd25519(t), "text": "key"} {
		if text, _, err := self.Token(t.Context(), key); err == nil || text != "" {
			t.Errorf("%s: a token", name)
		}
	}
}

func TestSelfIssuerConfig(t *testing.T) {
	w := newWorld(t, worldConfig{})
	for _, tt := range []struct {
		field  string
		change func(*agentauth.SelfIssuerConfig)
	}{
		{"", func(*agentauth.SelfIssuerConfig) {}},
		{"", func(c *agentauth.SelfIssuerConfig) { c.TokenLife = 24 * time.Hour }},
		{"", func(c *agentauth.SelfIssuerConfig) { c.Issuer, c.Development = "http://localhost:8080", true }},
		{"Host", func(c *agentauth.SelfIssuerConfig) { c.Host = keywright.Host{} }},
		{"Keys", func(c *agentauth.SelfIssuerConfig) { c.Keys = nil }},
		{"Issuer", func(c *agentauth.SelfIssuerConfig) { c.Host.URL = nil }},
		{"Issuer", func(c *agentauth.SelfIssuerConfig) { c.Issuer = "http://localhost:8080" }},
		{"Issuer", func(c *agentauth.SelfIssuerConfig) { c.Issuer = "https://ap.example/" }},
		{"Agent", func(c *agentauth.SelfIssuerConfig) { c.Agent = "" }},
		{"Agent", func(c *agentauth.SelfIssuerConfig) { c.Agent = "a@b" }},
		{"Agent", func(c *agentauth.SelfIssuerConfig) { c.Agent = "a+b" }},
		{"PersonServer", func(c *agentauth.SelfIssuerConfig) { c.PersonServer = "https://ps.example/x" }},
		{"PersonServer", func(c *agentauth.SelfIssuerConfig) { c.PersonServer = "http://localhost:8080" }},
		{"TokenLife", func(c *agentauth.SelfIssuerConfig) { c.TokenLife = 5 * time.Minute }},
		{"TokenLife", func(c *agentauth.SelfIssuerConfig) { c.TokenLife = 24*time.Hour + 1 }},
		{"TokenLife", func(c *agentauth.SelfIssuerConfig) { c.TokenLife = -1 }},
	} {
		c := agentauth.SelfIssuerConfig{Host: w.host, Agent: "a", Keys: w.keys}
		tt.change(&c)
		_, err := agentauth.NewSelfIssuer(c)
		if tt.field == "" && err != nil || tt.field != "" && (err == nil || !strings.Contains(err.Error(), "SelfIssuerConfig."+tt.field)) {
			t.Errorf("%q: %v", tt.field, err)
		}
	}
}
