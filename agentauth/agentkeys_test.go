package agentauth_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

func TestKeysOfAgentsAreServed(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, gone := newP256(t), newEd25519(t)
	w.enroll(key, `{"agent_id":"aauth:App_1.x@ap.example"}`)
	w.enroll(gone, `{"agent_id":"aauth:gone@ap.example"}`)
	must(t, w.provider.DeleteAgent(t.Context(), principal("admin"), "aauth:gone@ap.example"))
	for _, state := range []string{"disabled", "banned"} {
		id := "aauth:" + state + "@ap.example"
		w.enroll(newEd25519(t), `{"agent_id":"`+id+`"}`)
		do := w.provider.DisableAgent
		if state == "banned" {
			do = w.provider.BanAgent
		}
		must(t, do(t.Context(), principal("admin"), id))
	}
	var want map[string]any
	must(t, json.Unmarshal([]byte(jwkOf(t, key, "ES256")), &want))
	want["kid"], want["use"] = thumbprint(t, key), "sig"
	for _, tt := range []struct {
		name, method, path string
		status             int
	}{
		{"raw", "GET", "/agents/aauth:App_1.x@ap.example/jwks.json", 200},
		{"escaped", "GET", "/agents/aauth%3AApp_1.x%40ap.example/jwks.json", 200},
		{"escaped whole", "GET", "/agents/%61auth%3a%41pp_1%2ex%40ap%2Eexample/jwks.json", 200},
		{"another case", "GET", "/agents/aauth:app_1.x@ap.example/jwks.json", 404},
		{"unknown", "GET", "/agents/aauth:nobody@ap.example/jwks.json", 404},
		{"of another domain", "GET", "/agents/aauth:App_1.x@other.example/jwks.json", 404},
		{"no identifier", "GET", "/agents/App_1.x/jwks.json", 404},
		{"escaped twice", "GET", "/agents/aauth%253AApp_1.x%2540ap.example/jwks.json", 404},
		{"deleted", "GET", "/agents/aauth:gone@ap.example/jwks.json", 404},
		{"disabled", "GET", "/agents/aauth:disabled@ap.example/jwks.json", 404},
		{"banned", "GET", "/agents/aauth:banned@ap.example/jwks.json", 404},
		{"POST", "POST", "/agents/aauth:App_1.x@ap.example/jwks.json", 405},
	} {
		a := w.do(w.request(tt.method, tt.path, ""))
		if a.status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
		if tt.status != 200 {
			if strings.Contains(a.body, "kid") || strings.HasPrefix(a.header.Get("Cache-Control"), "max-age") {
				t.Errorf("%s: %s %v", tt.name, a.body, a.header)
			}
			continue
		}
		if diff := cmp.Diff(map[string]any{"keys": []any{want}}, a.json(t)); diff != "" {
			t.Errorf("%s: keys (-want +got):\n%s", tt.name, diff)
		}
		if a.header.Get("Cache-Control") != "max-age=300" || a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", tt.name, a.header)
		}
	}
}

func TestKeysOfAgentsAreHidden(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Limits.HideAgentKeys = true }})
	key := newEd25519(t)
	a := w.tryEnroll(key, `{"agent_id":"aauth:app@ap.example"}`)
	w.wantToken(a)
	if a.json(t)["jwks_uri"] != nil {
		t.Errorf("enrolment: %s", a.body)
	}
	if a := w.do(w.request("GET", "/agents/aauth:app@ap.example/jwks.json", "")); a.status != 404 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	w.mux.Handle("/jwks", w.verifier.Require(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeJWKS}})(whoami))
	a = w.do(w.sign(w.request("GET", "/jwks", ""), key, agentauth.SignOptions{URL: issuer + "/agents/aauth:app@ap.example/jwks.json", KeyID: thumbprint(t, key)}))
	w.wantError(a, 401, "invalid_key")
}

// TestAgentSignsByItsURL is the row "Agent Identity (jwks_uri)" of the first page of
// AAuth's SDK, which is scheme jwks today: at the server that has enrolled the agent
// nothing is fetched.
func TestAgentSignsByItsURL(t *testing.T) {
	w := newWorld(t, worldConfig{})
	jwks := []agentauth.Scheme{agentauth.SchemeJWKS}
	w.mux.Handle("/agent", w.verifier.Require(agentauth.Policy{Schemes: jwks})(whoami))
	key, other := newEd25519(t), newEd25519(t)
	const id = "aauth:app@ap.example"
	w.enroll(key, `{"agent_id":"`+id+`"}`)
	w.enroll(other, `{"agent_id":"aauth:other@ap.example"}`)
	uri := issuer + "/agents/" + id + "/jwks.json"
	escaped := issuer + "/agents/aauth%3aapp%40ap.example/jwks.json"
	kid := thumbprint(t, key)
	try := func(path string, key crypto.Signer, url, kid string) answer {
		t.Helper()
		return w.do(w.sign(w.request("GET", path, ""), key, agentauth.SignOptions{URL: url, KeyID: kid}))
	}
	for _, u := range []string{uri, escaped} {
		a := try("/agent", key, u, kid)
		if p := a.json(t); a.status != 200 || p["Subject"] != id || p["Credential"] != kid || p["Attrs"].(map[string]any)["agent"] != id {
			t.Errorf("%s: %d %s", u, a.status, a.body)
		}
	}
	for _, tt := range []struct {
		name     string
		key      crypto.Signer
		url, kid string
		code     string
	}{
		{"another key", other, uri, kid, "invalid_signature"},
		{"the id of another's key", other, uri, thumbprint(t, other), "unknown_key"},
		{"another id", key, uri, "x", "unknown_key"},
		{"unknown", key, issuer + "/agents/aauth:nobody@ap.example/jwks.json", kid, "unknown_key"},
		{"of another domain", key, issuer + "/agents/aauth:app@other.example/jwks.json", kid, "unknown_key"},
		{"no identifier", key, issuer + "/agents/" + strings.Repeat("x", 3000) + "/jwks.json", kid, "unknown_key"},
		{"with a query", key, uri + "?x=/jwks.json", kid, "unknown_key"},
		{"of another server", key, "https://other.example/agents/" + id + "/jwks.json", kid, "invalid_key"},
		{"over http", key, strings.Replace(uri, "https:", "http:", 1), kid, "invalid_key"},
		{"the provider's keys", key, issuer + "/jwks.json", kid, "invalid_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.wantError(try("/agent", tt.key, tt.url, tt.kid), 401, tt.code)
		})
	}
	must(t, w.provider.DisableAgent(t.Context(), principal("admin"), id))
	w.t = t
	w.wantError(try("/agent", key, uri, kid), 401, "unknown_key")
}

// TestLegacyJWKSURI is the form of before June 2026, jwks_uri with uri and kid.
func TestLegacyJWKSURI(t *testing.T) {
	w, s := newRemoteWorld(t, nil)
	key := newEd25519(t)
	_, enrolled := w.enrollAt(s, key, `{}`)
	uri, kid := enrolled["jwks_uri"].(string), enrolled["key_id"].(string)
	legacy := fmt.Sprintf("jwks_uri;uri=%q;kid=%q", uri, kid)
	both := []agentauth.Scheme{agentauth.SchemeJWKS, agentauth.SchemeJWKSURI}
	compat := func(c *agentauth.VerifierConfig) { c.Profile.Compat.LegacyJWKSURI = true }
	local := func(c *agentauth.VerifierConfig) {
		compat(c)
		c.Host, c.Profile.Authorities, c.Providers = w.host, []string{"resource.example"}, []*agentauth.Provider{w.provider}
	}
	for _, tt := range []struct {
		name    string
		schemes []agentauth.Scheme
		config  func(*agentauth.VerifierConfig)
		member  string
		code    string // "": admitted
	}{
		{"elsewhere", both[:1], compat, legacy, ""},
		{"where the agent is enrolled", both[:1], local, legacy, ""},
		{"without the flag", both, nil, legacy, "invalid_key"},
		{"without the flag, as another scheme", both[:1], nil, legacy, "unsupported_scheme"},
		{"where only servers sign", both[1:], compat, legacy, "unsupported_scheme"},
		{"with url", both, compat, fmt.Sprintf("jwks_uri;url=%q;kid=%q", uri, kid), "invalid_key"},
		{"jwks with uri", both, compat, fmt.Sprintf("jwks;uri=%q;kid=%q", uri, kid), "invalid_key"},
		{"with both forms, which is the new one", both, compat, fmt.Sprintf("jwks_uri;id=%q;dwk=%q;uri=%q;kid=%q", s.url, agentauth.RoleAgentProvider, "https://other.example/", kid), "unknown_key"},
		{"of another server", both, compat, fmt.Sprintf("jwks_uri;uri=%q;kid=%q", "https://other.example/jwks.json", kid), "invalid_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newFarWorld(t, s, agentauth.Policy{Schemes: tt.schemes}, tt.config)
			r := e.request()
			a := e.do(signMember(t, r, key, tt.member, w.clock.Now()))
			if tt.code != "" {
				(&world{t: t}).wantError(a, 401, tt.code)
				return
			}
			subject := uri
			if tt.name == "where the agent is enrolled" {
				subject = enrolled["agent_id"].(string)
			}
			if a.status != 200 || a.json(t)["Subject"] != subject || a.json(t)["Attrs"].(map[string]any)["jkt"] != kid {
				t.Errorf("got %d %s %v", a.status, a.body, a.header)
			}
		})
	}
}

// TestServersElsewhereFetchTheKeysOfAgents is scheme jwks over a network.
func TestServersElsewhereFetchTheKeysOfAgents(t *testing.T) {
	w, s := newRemoteWorld(t, nil)
	key, disabled := newEd25519(t), newEd25519(t)
	_, enrolled := w.enrollAt(s, key, `{}`)
	_, out := w.enrollAt(s, disabled, `{"agent_id":"aauth:disabled@127.0.0.1"}`)
	must(t, w.provider.DisableAgent(t.Context(), principal("admin"), out["agent_id"].(string)))
	jwks := agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeJWKS}}
	e := newFarWorld(t, s, jwks, nil)
	at := func(m map[string]any) agentauth.SignOptions {
		return agentauth.SignOptions{URL: m["jwks_uri"].(string), KeyID: m["key_id"].(string)}
	}
	before := s.hits.Load()
	for range 3 {
		a := e.whoami(key, at(enrolled))
		if p := a.json(t); a.status != 200 || p["Subject"] != enrolled["jwks_uri"] || p["Issuer"] != "" {
			t.Fatalf("got %d %s %v", a.status, a.body, a.header)
		}
	}
	if n := s.hits.Load() - before; n != 1 {
		t.Errorf("%d fetches for three requests", n)
	}
	lie := at(enrolled)
	lie.KeyID = "another"
	in := &world{t: t}
	in.wantError(e.whoami(key, lie), 401, "unknown_key")
	in.wantError(e.whoami(newEd25519(t), at(enrolled)), 401, "invalid_signature")
	in.wantError(e.whoami(disabled, at(out)), 401, "unknown_key")

	// Who is not trusted is not asked.
	before = s.hits.Load()
	distrustful := newFarWorld(t, s, jwks, func(c *agentauth.VerifierConfig) {
		c.Trust = func(string, agentauth.Role) bool { return false }
	})
	in.wantError(distrustful.whoami(key, at(enrolled)), 401, "invalid_key")
	if n := s.hits.Load() - before; n != 0 {
		t.Errorf("%d fetches for an issuer that is not trusted", n)
	}
}
