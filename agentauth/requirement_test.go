package agentauth_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
)

func TestWhatEachRouteAnswersToEachToken(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	tokens := map[string]string{
		"agent": w.token, "person": w.person(nil), "read": w.auth("data.read", nil), "write": w.auth("data.write email", nil),
		"all": w.auth("data.read email data.write other", nil), "none": w.auth("", map[string]any{"scope": nil}),
		"resource": w.ps.token(agentauth.ResourceToken, w.agent, nil), "JWT": w.ps.token("JWT", w.agent, nil),
	}
	for _, tt := range []struct {
		path, token string
		status      int
		requirement string
		signature   string
	}{
		{"/agent", "agent", 200, "", ""},
		{"/agent", "person", 401, "agent-token", "invalid_jwt"},
		{"/agent", "all", 401, "agent-token", "invalid_jwt"},
		{"/agent", "resource", 401, "agent-token", "invalid_jwt"},
		{"/agent", "JWT", 401, "agent-token", "invalid_jwt"},
		{"/person", "agent", 401, "person-token", ""},
		{"/person", "person", 200, "", ""},
		{"/person", "all", 401, "person-token", "invalid_jwt"},
		{"/person", "resource", 401, "person-token", "invalid_jwt"},
		{"/person", "JWT", 401, "person-token", "invalid_jwt"},
		{"/read", "agent", 401, "person-token", ""},
		{"/read", "person", 401, "auth-token", ""},
		{"/read", "read", 200, "", ""},
		{"/read", "write", 401, "auth-token", ""},
		{"/read", "all", 200, "", ""},
		{"/read", "none", 401, "auth-token", ""},
		{"/read", "resource", 401, "person-token", "invalid_jwt"},
		{"/read", "JWT", 401, "person-token", "invalid_jwt"},
		{"/write", "read", 401, "auth-token", ""},
		{"/write", "write", 200, "", ""},
		{"/write", "all", 200, "", ""},
	} {
		// The second time the token is known.
		for range 2 {
			a := w.get(tt.path, tokens[tt.token])
			a.requires(t, tt.path+" "+tt.token, tt.status, tt.requirement, tt.signature)
			if tt.status != 200 && a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: may be kept", tt.path, tt.token)
			}
		}
	}
}

func TestRequestsWithoutATokenAreToldWhatToGet(t *testing.T) {
	w := newResourceWorld(t, func(c *agentauth.ResourceConfig) { c.Metadata.Components = []string{"@query"} }, nil)
	for path, requirement := range map[string]string{"/agent": "agent-token", "/person": "person-token", "/read": "person-token"} {
		a := w.do(w.request("GET", path, ""))
		a.requires(t, path+" unsigned", 401, requirement, "invalid_signature")
		if a.header.Get("Accept-Signature-Scheme") != "jwt" || a.header.Get("Accept-Signature-Alg") == "" || !strings.Contains(a.header.Get("Accept-Signature"), `"@query"`) {
			t.Errorf("%s: %v", path, a.header)
		}
		a = w.do(w.sign(w.request("GET", path, ""), w.agent, agentauth.SignOptions{Components: []string{"@query"}}))
		a.requires(t, path+" hwk", 401, requirement, "unsupported_scheme")
		// What another token does not mend is told alone.
		w.get(path, w.token).requires(t, path+" without @query", 401, "", "invalid_input")
		old := agentauth.SignOptions{Token: w.token, Components: []string{"@query"}, Created: w.clock.Now().Add(-2 * time.Minute)}
		w.do(w.sign(w.request("GET", path, ""), w.agent, old)).requires(t, path+" old", 401, "", "invalid_signature")
	}
}

func TestTokensOfPersonsMustBeForThisResourceAndKey(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	other := newEd25519(t)
	for _, tt := range []struct {
		name    string
		changes map[string]any
		code    string
	}{
		{"another audience", map[string]any{"aud": "https://other.example"}, "invalid_jwt"},
		{"the audience with a slash", map[string]any{"aud": issuer + "/"}, "invalid_jwt"},
		{"two audiences", map[string]any{"aud": []string{issuer, "https://other.example"}}, "invalid_jwt"},
		{"no audience", map[string]any{"aud": nil}, "invalid_jwt"},
		{"no subject", map[string]any{"sub": nil}, "invalid_jwt"},
		{"no id", map[string]any{"jti": nil}, "invalid_jwt"},
		{"a life of more than an hour", map[string]any{"exp": w.clock.Now().Add(61 * time.Minute).Unix()}, "invalid_jwt"},
		{"the document of an agent provider", map[string]any{"dwk": agentauth.RoleAgentProvider}, "invalid_jwt"},
		{"the key of another", map[string]any{"cnf": map[string]any{"jwk": map[string]string{"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}}, "invalid_signature"},
		{"an issuer that is not trusted", map[string]any{"iss": "https://evil.example", "ps": "https://evil.example"}, "invalid_key"},
	} {
		before := w.ps.fetches.Load()
		w.get("/person", w.person(tt.changes)).requires(t, "person token: "+tt.name, 401, "", tt.code)
		w.get("/read", w.auth("data.read", tt.changes)).requires(t, "auth token: "+tt.name, 401, "", tt.code)
		if tt.code != "invalid_signature" && w.ps.fetches.Load() != before {
			t.Errorf("%s: keys were fetched for a token that is refused by its claims", tt.name)
		}
	}
	w.get("/person", w.person(map[string]any{"aud": []string{issuer}})).requires(t, "a list of one audience", 200, "", "")
	w.get("/person", w.person(map[string]any{"scope": "data.read"})).requires(t, "a person token with a scope", 401, "", "invalid_jwt")
	w.get("/read", w.auth("data.read", map[string]any{"ps": nil})).requires(t, "an auth token without a person server", 401, "", "invalid_jwt")
	w.get("/read", w.auth("data.read", map[string]any{"ps": "https://other.example"})).requires(t, "of another person server", 401, "", "invalid_jwt")
	token := w.ps.token(agentauth.AuthToken, other, map[string]any{"scope": "data.read"})
	w.get("/read", token).requires(t, "stolen", 401, "", "invalid_signature")
}

// The Verifier remembers tokens for all routes, so each must look for itself.
func TestTokenThatIsKnownElsewhereIsNoBetter(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	c := w.resourceConfig()
	c.Issuer = "https://other.example"
	other, err := agentauth.NewResource(c)
	must(t, err)
	w.mux.Handle("/other/person", other.RequirePerson(agentauth.Policy{})(whoami))
	w.mux.Handle("/other/read", other.RequireAuth(agentauth.Policy{}, "data.read")(whoami))

	person, auth := w.person(nil), w.auth("data.read data.write email", nil)
	w.get("/person", person).requires(t, "person token", 200, "", "")
	w.get("/read", auth).requires(t, "auth token", 200, "", "")
	w.get("/agent", w.token).requires(t, "agent token", 200, "", "")
	for _, tt := range []struct{ path, token, requirement, code string }{
		{"/other/person", person, "", "invalid_jwt"},
		{"/other/read", auth, "", "invalid_jwt"},
		{"/other/read", person, "", "invalid_jwt"}, // nor is there a resource token for it
		{"/agent", person, "agent-token", "invalid_jwt"},
		{"/agent", auth, "agent-token", "invalid_jwt"},
		{"/person", auth, "person-token", "invalid_jwt"},
		{"/read", person, "auth-token", ""},
		{"/person", w.token, "person-token", ""},
		{"/whoami", person, "", "invalid_jwt"},
		{"/whoami", auth, "", "invalid_jwt"},
	} {
		w.get(tt.path, tt.token).requires(t, tt.path, 401, tt.requirement, tt.code)
	}
	foreign := w.person(map[string]any{"aud": "https://other.example"})
	w.get("/other/person", foreign).requires(t, "at its resource", 200, "", "")
	w.get("/person", foreign).requires(t, "known to the other resource", 401, "", "invalid_jwt")
}

func TestWhoMayIssueAuthTokens(t *testing.T) {
	byPersonServer := map[string]any{"scope": "data.read"}
	byAccessServer := map[string]any{"scope": "data.read", "dwk": agentauth.RoleAccessServer, "ps": "https://ps.example"}

	w := newResourceWorld(t, nil, nil)
	w.get("/read", w.auth("", byPersonServer)).requires(t, "person server", 200, "", "")
	w.get("/read", w.auth("", byAccessServer)).requires(t, "somebody's access server", 401, "", "invalid_key")

	w = newResourceWorld(t, func(c *agentauth.ResourceConfig) { c.AccessServer = "https://127.0.0.1:1" }, nil)
	w.get("/read", w.auth("", byAccessServer)).requires(t, "another access server", 401, "", "invalid_key")
	a := w.get("/read", w.person(nil))
	a.requires(t, "person token where there is an access server", 401, "auth-token", "")
	if rt := w.ps.readResourceToken(w.published(), a.resourceToken(t)); rt["aud"] != "https://127.0.0.1:1" || rt["ps"] != w.ps.id {
		t.Errorf("resource token: %v", rt)
	}

	c := w.resourceConfig()
	c.AccessServer = w.ps.id
	s, err := agentauth.NewResource(c)
	must(t, err)
	w.mux.Handle("/federated", s.RequireAuth(agentauth.Policy{}, "data.read")(whoami))
	w.get("/federated", w.auth("", byAccessServer)).requires(t, "the access server", 200, "", "")
	w.get("/federated", w.auth("", byPersonServer)).requires(t, "person server where there is an access server", 401, "", "invalid_key")
}

func TestAgentOfAStrangerIsToldToBringAPerson(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	domain := strings.TrimPrefix(w.ps.id, "https://")
	domain, _, _ = strings.Cut(domain, ":")
	stranger := w.ps.token(agentauth.AgentToken, w.agent, map[string]any{"dwk": agentauth.RoleAgentProvider, "sub": "aauth:x@" + domain, "aud": nil})
	w.get("/agent", stranger).requires(t, "at /agent", 401, "", "invalid_key")
	w.get("/person", stranger).requires(t, "at /person", 401, "person-token", "invalid_key")
	w.get("/read", stranger).requires(t, "at /read", 401, "person-token", "invalid_key")
	if n := w.ps.fetches.Load(); n != 0 {
		t.Errorf("%d documents were fetched of who is not trusted", n)
	}
}

func TestForbiddenCarriesNoFieldOfSignatures(t *testing.T) {
	check := func(name string, a answer) {
		t.Helper()
		if a.requires(t, name, 403, "", ""); a.json(t)["error"] != "insufficient_scope" {
			t.Errorf("%s: %s", name, a.body)
		}
		for field := range a.header {
			if strings.HasPrefix(field, "Accept-Signature") || strings.HasPrefix(field, "Signature") {
				t.Errorf("%s: field %s", name, field)
			}
		}
	}
	w := newResourceWorld(t, func(c *agentauth.ResourceConfig) { c.NoStepUp = true }, nil)
	check("an auth token with too little", w.get("/write", w.auth("data.read", nil)))
	w.get("/write", w.person(nil)).requires(t, "a person token", 401, "auth-token", "")

	w = newResourceWorld(t, nil, func(c *agentauth.VerifierConfig) {
		c.Scopes = func(context.Context, keywright.Principal) ([]string, error) { return []string{"data.write"}, nil }
	})
	check("a host that allows less than the token", w.get("/read", w.auth("data.read data.write email", nil)))
	// And what it adds is nothing that the person has agreed to.
	w.get("/write", w.auth("email", nil)).requires(t, "a host that allows more", 401, "auth-token", "")
}

func TestWhatIsAudited(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	var events []keywright.Event
	host, err := keywright.NewHost(keywright.HostConfig{Store: w.store, URL: w.host.URL, Hooks: keywright.Hooks{
		Now: w.clock.Now, Audit: func(_ context.Context, e keywright.Event) { events = append(events, e) },
	}})
	must(t, err)
	c := w.resourceConfig()
	c.Host = host
	c.Verifier, err = agentauth.NewVerifier(agentauth.VerifierConfig{
		Host: host, Providers: []*agentauth.Provider{w.provider}, Profile: agentauth.Profile{Network: agentauth.Network{RootCAs: w.ps.roots, Development: true}},
		Trust: func(iss string, _ agentauth.Role) bool { return iss == w.ps.id },
	})
	must(t, err)
	s, err := agentauth.NewResource(c)
	must(t, err)
	w.mux.Handle("/audited", s.RequireAuth(agentauth.Policy{}, "data.read")(whoami))

	w.do(w.request("GET", "/audited", "")).requires(t, "not signed", 401, "person-token", "invalid_signature")
	w.get("/audited", w.token).requires(t, "agent token", 401, "person-token", "")
	w.get("/audited", w.auth("data.read", nil)).requires(t, "auth token", 200, "", "")
	if len(events) != 0 {
		t.Errorf("events of a way that is as it should be: %v", events)
	}
	a := w.get("/audited", w.person(map[string]any{"jti": "pt-1"}))
	rt := w.ps.readResourceToken(w.published(), a.resourceToken(t))
	if len(events) != 1 || events[0].Name != "agent.resource_token_issued" || events[0].Target != rt["jti"] || events[0].Attrs["presented_jti"] != "pt-1" {
		t.Errorf("events of a resource token: %v", events)
	}
	w.get("/audited", w.ps.token("JWT", w.agent, nil)).requires(t, "another token", 401, "person-token", "invalid_jwt")
	if len(events) != 2 || events[1].Name != "agent.refused" {
		t.Errorf("events of a refusal: %v", events)
	}
}

func TestMistakesOfAProgramPanic(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	c := w.resourceConfig()
	c.Keys = nil
	keyless, err := agentauth.NewResource(c)
	must(t, err)
	for name, mistake := range map[string]func() func(http.Handler) http.Handler{
		"no keys":          func() func(http.Handler) http.Handler { return keyless.RequireAuth(agentauth.Policy{}, "data.read") },
		"no scope":         func() func(http.Handler) http.Handler { return w.resource.RequireAuth(agentauth.Policy{}) },
		"an unknown scope": func() func(http.Handler) http.Handler { return w.resource.RequireAuth(agentauth.Policy{}, "data") },
		"a scheme of hwk": func() func(http.Handler) http.Handler {
			return w.resource.RequireAgent(agentauth.Policy{Schemes: []agentauth.Scheme{"hwk"}})
		},
		"a bad component": func() func(http.Handler) http.Handler {
			return w.resource.RequirePerson(agentauth.Policy{Components: []string{"@nothing"}})
		},
		"a negative length": func() func(http.Handler) http.Handler { return w.resource.RequirePerson(agentauth.Policy{MaxBody: -1}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			mistake()
		}()
	}
	keyless.RequireAgent(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeJWT}})
}
