package agentauth_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
)

func TestWayFromAgentTokenToAuthToken(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	a := w.get("/read", w.token)
	a.requires(t, "agent token", 401, "person-token", "")
	person := w.person(map[string]any{"mission_s256": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "tenant": "acme"})
	a = w.get("/read", person)
	a.requires(t, "person token", 401, "auth-token", "")
	auth := w.ps.grant(w.published(), a.resourceToken(t), person, w.agent)
	a = w.get("/read", auth)
	a.requires(t, "auth token", 200, "", "")
	p := a.json(t)
	if p["Subject"] != "person-1" || p["Issuer"] != w.ps.id || p["Method"] != "agent" || !cmp.Equal(p["Scopes"], []any{"data.read"}) {
		t.Errorf("principal: %v", p)
	}
	if attrs := p["Attrs"].(map[string]any); attrs["ps"] != w.ps.id || attrs["typ"] != "aa-auth+jwt" || attrs["jkt"] != jktText(t, w.agent) {
		t.Errorf("principal: %v", attrs)
	}

	a = w.get("/write", auth)
	a.requires(t, "step-up", 401, "auth-token", "")
	more := w.ps.grant(w.published(), a.resourceToken(t), auth, w.agent)
	w.get("/write", more).requires(t, "after the step-up", 200, "", "")
	w.get("/read", more).requires(t, "what was granted before", 200, "", "")
}

// Each try has another token, so it is no replay of the one before.
func TestWayOfAPostWithinASecond(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	w.mux.Handle("/post", w.resource.RequireAuth(agentauth.Policy{CoverBody: true}, "data.write")(whoami))
	post := func(token string) answer {
		return w.do(w.sign(w.request("POST", "/post", `{"a":1}`), w.agent, agentauth.SignOptions{Token: token}))
	}
	auth := w.auth("data.write", nil)
	post(w.token).requires(t, "agent token", 401, "person-token", "")
	post(w.person(nil)).requires(t, "person token", 401, "auth-token", "")
	post(auth).requires(t, "auth token", 200, "", "")
	post(auth).requires(t, "replay", 401, "", "invalid_signature")
}

func TestPersonIsThePrincipal(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	a := w.get("/person", w.person(map[string]any{"jti": "pt-1"}))
	a.requires(t, "person token", 200, "", "")
	p := a.json(t)
	attrs := p["Attrs"].(map[string]any)
	if p["Subject"] != "person-1" || p["Issuer"] != w.ps.id || p["Scopes"] != nil || attrs["ps"] != w.ps.id || attrs["jti"] != "pt-1" || attrs["agent"] != nil {
		t.Errorf("principal: %v", p)
	}
}

func TestWhatAResourceTokenSays(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		w := newResourceWorld(t, nil, func(c *agentauth.VerifierConfig) { c.Profile.Compat.EmitPersonTokenJTI = legacy })
		now := float64(w.clock.Now().Unix())
		common := map[string]any{
			"iss": issuer, "dwk": "aauth-resource.json", "aud": w.ps.id, "ps": w.ps.id, "sub": "person-1",
			"agent_jkt": jktText(t, w.agent), "iat": now, "exp": now + 300,
		}
		ids := make(map[string]bool)
		for _, tt := range []struct {
			name, path, token string
			want              map[string]any
		}{
			{"person token", "/read", w.person(map[string]any{"jti": "pt-1"}), map[string]any{"presented_jti": "pt-1", "scope": "data.read"}},
			{
				"with a mission", "/write", w.person(map[string]any{"jti": "pt-2", "mission_s256": "m", "tenant": `a<"c`}),
				map[string]any{"presented_jti": "pt-2", "scope": "data.write email", "mission_s256": "m", "tenant": `a<"c`},
			},
			{
				"step-up", "/write", w.auth("other data.read email", map[string]any{"jti": "at-1", "mission_s256": "m", "tenant": "t"}),
				map[string]any{"presented_jti": "at-1", "scope": "data.write email data.read", "mission_s256": "m", "tenant": "t"},
			},
		} {
			a := w.get(tt.path, tt.token)
			a.requires(t, tt.name, 401, "auth-token", "")
			got := w.ps.readResourceToken(w.published(), a.resourceToken(t))
			id, _ := got["jti"].(string)
			if len(id) < 22 || ids[id] {
				t.Errorf("%s: jti %q", tt.name, id)
			}
			ids[id] = true
			delete(got, "jti")
			for name, value := range common {
				tt.want[name] = value
			}
			if legacy {
				tt.want["person_token_jti"] = tt.want["presented_jti"]
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
		}
	}
}

func TestResourceDescribesItself(t *testing.T) {
	w := newResourceWorld(t, func(c *agentauth.ResourceConfig) {
		c.Metadata = agentauth.ResourceMetadata{
			About: agentauth.About{Name: "Data", PolicyURI: "https://ap.example/policy"}, AccessMode: agentauth.AccessAuthToken,
			Components: []string{"@query"},
		}
		c.Endpoints.Prefix = "/api/"
	}, func(c *agentauth.VerifierConfig) { c.Profile.Window = 90 * time.Second })
	a := w.do(w.request("GET", agentauth.ResourceMetadataPath, ""))
	want := map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/api/resource/jwks.json", "access_mode": "auth-token",
		"scope_descriptions": map[string]any{"data.read": "Read your data", "data.write": "Change your data"},
		"signature_window":   90.0, "additional_signature_components": []any{"@query"},
		"revocation_endpoint": issuer + "/api/resource/revoke", "accept_signature_algs": []any{"Ed25519", "ES256"},
		"name": "Data", "policy_uri": "https://ap.example/policy",
	}
	if diff := cmp.Diff(want, a.json(t)); a.status != 200 || diff != "" {
		t.Errorf("%d (-want +got):\n%s", a.status, diff)
	}

	w = newResourceWorld(t, func(c *agentauth.ResourceConfig) { c.Keys, c.Scopes = nil, nil }, nil)
	a = w.do(w.request("GET", agentauth.ResourceMetadataPath, ""))
	want = map[string]any{
		"issuer": issuer, "access_mode": "agent-token", "signature_window": 60.0,
		"revocation_endpoint": issuer + "/resource/revoke", "accept_signature_algs": []any{"Ed25519", "ES256"},
	}
	if diff := cmp.Diff(want, a.json(t)); diff != "" {
		t.Errorf("without keys (-want +got):\n%s", diff)
	}
	if a := w.do(w.request("GET", "/resource/jwks.json", "")); a.status != 404 {
		t.Errorf("JWKS without keys: %d", a.status)
	}
}

func TestResourceMetadataIsAtTheRootOfAnyPrefix(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	w.mux = http.NewServeMux()
	w.resource.Register(w.mux, "/deep/in")
	for path, status := range map[string]int{
		agentauth.ResourceMetadataPath: 200, "/deep/in" + agentauth.ResourceMetadataPath: 404,
		"/deep/in/resource/jwks.json": 200, "/deep/in/resource/revoke": 405, "/resource/revoke": 404,
	} {
		if a := w.do(w.request("GET", path, "")); a.status != status {
			t.Errorf("%s: %d, want %d", path, a.status, status)
		}
	}
}

func TestResourceConfigIsChecked(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	other := newWorld(t, worldConfig{})
	for name, edit := range map[string]func(*agentauth.ResourceConfig){
		"no host":                func(c *agentauth.ResourceConfig) { c.Host = keywright.Host{} },
		"no URL":                 func(c *agentauth.ResourceConfig) { c.Host.URL = nil },
		"no verifier":            func(c *agentauth.ResourceConfig) { c.Verifier = nil },
		"a verifier elsewhere":   func(c *agentauth.ResourceConfig) { c.Verifier = other.verifier },
		"a path in Issuer":       func(c *agentauth.ResourceConfig) { c.Issuer = "https://ap.example/x" },
		"http in Issuer":         func(c *agentauth.ResourceConfig) { c.Issuer = "http://ap.example" },
		"a URL that is no id":    func(c *agentauth.ResourceConfig) { c.Host.URL, _ = url.Parse("https://AP.example") },
		"a path in AccessServer": func(c *agentauth.ResourceConfig) { c.AccessServer = "https://as.example/" },
		"a space in a scope":     func(c *agentauth.ResourceConfig) { c.Scopes = map[string]string{"a b": ""} },
		"an empty scope":         func(c *agentauth.ResourceConfig) { c.Scopes = map[string]string{"": ""} },
		"a quoted scope":         func(c *agentauth.ResourceConfig) { c.IdentityScopes = []string{`a"`} },
		"an unknown component":   func(c *agentauth.ResourceConfig) { c.Metadata.Components = []string{"@who"} },
		"a path without a slash": func(c *agentauth.ResourceConfig) { c.Endpoints.Revoke = "revoke" },
	} {
		c := w.resourceConfig()
		edit(&c)
		if _, err := agentauth.NewResource(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	c := w.resourceConfig()
	s, err := agentauth.NewResource(c)
	must(t, err)
	c.Scopes["later"] = "" // which it has copied
	defer func() {
		if recover() == nil {
			t.Error("a scope that was added later is known")
		}
	}()
	if s.Issuer() != issuer {
		t.Errorf("issuer %q", s.Issuer())
	}
	s.RequireAuth(agentauth.Policy{}, "later")
}
