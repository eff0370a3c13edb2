package agentauth_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// revoke sends a request of the person server to the revocation endpoint.
func (w *resourceWorld) revoke(body string) answer {
	w.t.Helper()
	return w.do(w.revocation(body, agentauth.SignOptions{}))
}

// revocation makes one. What is zero in o is as it should be.
func (w *resourceWorld) revocation(body string, o agentauth.SignOptions) *http.Request {
	w.t.Helper()
	if o.Server == "" {
		o.Server = w.ps.id
	}
	if o.Role == "" {
		o.Role = agentauth.RolePersonServer
	}
	if o.KeyID == "" {
		o.KeyID = personKeyID
	}
	return w.sign(w.request("POST", "/resource/revoke", body), w.ps.key, o)
}

// until is the body of a revocation of a token that expires after some time.
func (w *resourceWorld) until(jti string, life time.Duration) string {
	return fmt.Sprintf(`{"jti":%q,"exp":%d}`, jti, w.clock.Now().Add(life).Unix())
}

// revoked lists what is remembered, with the time until it is.
func (w *resourceWorld) revoked() map[string]time.Duration {
	w.t.Helper()
	found := make(map[string]time.Duration)
	for r, err := range w.store.List(w.t.Context(), store.Query{Kind: agentauth.KindRevoked}) {
		must(w.t, err)
		found[r.ID[strings.LastIndexByte(r.ID, '/')+1:]] = r.Expires.Sub(w.clock.Now())
	}
	return found
}

func (a answer) wantRevoked(t *testing.T, name string) {
	t.Helper()
	if a.status != 200 || strings.TrimSpace(a.body) != "{}" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: %d %s %v", name, a.status, a.body, a.header)
	}
}

func TestTokensThatTheirIssuerHasRevokedAreRefused(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	person, auth := w.person(map[string]any{"jti": "pt-1"}), w.auth("data.read", map[string]any{"jti": "at-1"})
	w.get("/person", person).requires(t, "person token", 200, "", "")
	w.get("/read", auth).requires(t, "auth token", 200, "", "")

	w.revoke(w.until("pt-1", time.Hour)).wantRevoked(t, "person token")
	w.get("/person", person).requires(t, "revoked person token", 401, "", "revoked_jwt")
	w.get("/read", person).requires(t, "revoked person token where it would get a resource token", 401, "", "revoked_jwt")
	w.get("/read", auth).requires(t, "auth token of the same person", 200, "", "")

	w.revoke(w.until("at-1", time.Hour)).wantRevoked(t, "auth token")
	w.get("/read", auth).requires(t, "revoked auth token", 401, "person-token", "revoked_jwt")
	w.get("/write", auth).requires(t, "revoked auth token with too little scope", 401, "person-token", "revoked_jwt")
	w.get("/person", w.person(nil)).requires(t, "another person token", 200, "", "")

	w.clock.advance(time.Hour)
	w.get("/read", auth).requires(t, "when it has expired too", 401, "", "expired_jwt")
}

func TestRevocationIsOfTheCallersTokensAlone(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	other := newPersonServer(t)
	other.clock = w.clock
	c := agentauth.VerifierConfig{Host: w.host, Trust: func(string, agentauth.Role) bool { return true }}
	c.Profile.Network = agentauth.Network{RootCAs: other.roots, Development: true}
	v, err := agentauth.NewVerifier(c)
	must(t, err)
	rc := w.resourceConfig()
	rc.Verifier = v
	s, err := agentauth.NewResource(rc)
	must(t, err)
	keywright.Register(w.mux, "/other", s.Routes()...)

	person := w.person(map[string]any{"jti": "pt-1"})
	r := w.request("POST", "/other/resource/revoke", w.until("pt-1", time.Hour))
	w.do(w.sign(r, other.key, agentauth.SignOptions{Server: other.id, Role: agentauth.RolePersonServer, KeyID: personKeyID})).wantRevoked(t, "by another")
	w.get("/person", person).requires(t, "of an id that another has revoked", 200, "", "")
	w.revoke(w.until("pt-1", time.Hour)).wantRevoked(t, "by its issuer")
	w.get("/person", person).requires(t, "revoked", 401, "", "revoked_jwt")
}

func TestHowLongARevocationIsRemembered(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	const after = 2 * time.Minute // for clocks that differ
	w.revoke(w.until("unknown", 10*time.Minute)).wantRevoked(t, "a token that was never seen")
	w.revoke(w.until("gone", 0)).wantRevoked(t, "a token that has expired")
	w.revoke(`{"jti":"ancient","exp":0}`).wantRevoked(t, "a token of long ago")
	w.revoke(`{"jti":"eternal","exp":9223372036854775807}`).wantRevoked(t, "a token for ever")
	w.revoke(`{"jti":"more","exp":`+strconv.FormatInt(w.clock.Now().Add(time.Minute).Unix(), 10)+`,"iss":"https://evil.example"}`).wantRevoked(t, "more members")
	got := w.revoked()
	if got["unknown"] != 10*time.Minute+after || got["more"] != time.Minute+after || got["eternal"] != 70*time.Minute+after || len(got) != 3 {
		t.Errorf("remembered: %v", got)
	}
	w.revoke(w.until("unknown", 20*time.Minute)).wantRevoked(t, "longer")
	if got := w.revoked()["unknown"]; got != 20*time.Minute+after {
		t.Errorf("longer: %v", got)
	}
	w.revoke(w.until("unknown", time.Second)).wantRevoked(t, "shorter")
	if got := w.revoked()["unknown"]; got != 20*time.Minute+after {
		t.Errorf("a later call has ended a revocation early: %v", got)
	}
	var events []string
	for e, err := range w.host.Events(t.Context(), "") {
		must(t, err)
		if e.Name == "agent.token_revoked" && e.Actor == w.ps.id {
			events = append(events, e.Target)
		}
	}
	if len(events) != 4 {
		t.Errorf("events of %v", events)
	}
}

// uncovered is a revocation whose signature does not name a component.
func (w *resourceWorld) uncovered(body, name string) *http.Request {
	w.t.Helper()
	r := w.revocation(body, agentauth.SignOptions{})
	r.Header.Set("Signature-Input", strings.Replace(r.Header.Get("Signature-Input"), ` "`+name+`"`, "", 1))
	return r
}

func TestWhoMayNotRevoke(t *testing.T) {
	w := newResourceWorld(t, nil, func(c *agentauth.VerifierConfig) {
		trust := c.Trust
		c.Trust = func(iss string, role agentauth.Role) bool {
			return trust(iss, agentauth.RolePersonServer) && role != agentauth.RoleResource
		}
	})
	body := w.until("pt-1", time.Hour)
	forged := w.sign(w.request("POST", "/resource/revoke", body), w.agent, agentauth.SignOptions{Server: w.ps.id, Role: agentauth.RolePersonServer, KeyID: personKeyID})
	swapped := w.revocation(body, agentauth.SignOptions{})
	swapped.Body = w.request("POST", "/", w.until("at-1", time.Hour)).Body
	for _, tt := range []struct {
		name      string
		r         *http.Request
		status    int
		code      string
		signature string
	}{
		{"not signed", w.request("POST", "/resource/revoke", body), 401, "invalid_signature", "invalid_signature"},
		{"an agent", w.sign(w.request("POST", "/resource/revoke", body), w.agent, agentauth.SignOptions{Token: w.token}), 401, "unsupported_scheme", "unsupported_scheme"},
		{"a person's token", w.sign(w.request("POST", "/resource/revoke", body), w.agent, agentauth.SignOptions{Token: w.person(nil)}), 401, "unsupported_scheme", "unsupported_scheme"},
		{"a key alone", w.sign(w.request("POST", "/resource/revoke", body), w.ps.key, agentauth.SignOptions{}), 401, "unsupported_scheme", "unsupported_scheme"},
		{"a stranger", w.revocation(body, agentauth.SignOptions{Server: "https://evil.example"}), 403, "unsupported_iss", ""},
		{"a resource", w.revocation(body, agentauth.SignOptions{Role: agentauth.RoleResource}), 403, "unsupported_iss", ""},
		{"an agent provider that is trusted as one", w.revocation(body, agentauth.SignOptions{Role: agentauth.RoleAgentProvider}), 403, "unsupported_iss", ""},
		{"another key", w.revocation(body, agentauth.SignOptions{KeyID: "ps-2"}), 401, "unknown_key", "unknown_key"},
		{"a forged signature", forged, 401, "invalid_signature", "invalid_signature"},
		{"another body", swapped, 401, "invalid_signature", "invalid_signature"},
		{"the digest not covered", w.uncovered(body, "content-digest"), 401, "invalid_input", "invalid_input"},
		{"the type not covered", w.uncovered(body, "content-type"), 401, "invalid_input", "invalid_input"},
	} {
		a := w.do(tt.r)
		a.requires(t, tt.name, tt.status, "", tt.signature)
		if a.json(t)["error"] != tt.code || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s", tt.name, a.body)
		}
		if tt.status == 403 && (a.header.Get("Accept-Signature") != "" || a.header.Get("Accept-Signature-Scheme") != "") {
			t.Errorf("%s: %v", tt.name, a.header)
		}
	}
	a := w.do(w.request("POST", "/resource/revoke", body))
	if a.header.Get("Accept-Signature-Scheme") != "jwks_uri" || !strings.Contains(a.header.Get("Accept-Signature"), `"content-digest"`) {
		t.Errorf("not signed: %v", a.header)
	}
	if got := w.revoked(); len(got) != 0 {
		t.Errorf("revoked: %v", got)
	}
	w.do(w.revocation(body, agentauth.SignOptions{Role: agentauth.RoleAccessServer})).wantRevoked(t, "an access server")
}

func TestMalformedRevocations(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	for _, body := range []string{
		`{"exp":1800000000}`, `{"jti":"","exp":1800000000}`, `{"jti":7,"exp":1800000000}`, `{"jti":"a"}`, `{"jti":"a","exp":null}`,
		`{"jti":"a","exp":"1800000000"}`, `{"jti":"a","exp":-1}`, `{"jti":"a","exp":1.5}`, `{"jti":"a","exp":1e400}`, `["a"]`, `{`,
		`{"jti":"a","jti":"b","exp":1800000000}`, `{"jti":"` + strings.Repeat("x", 1025) + `","exp":1800000000}`,
	} {
		a := w.revoke(body)
		if a.status != 400 || a.json(t)["error"] != "invalid_request" {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	if a := w.do(w.request("GET", "/resource/revoke", "")); a.status != 405 {
		t.Errorf("GET: %d", a.status)
	}
	if got := w.revoked(); len(got) != 0 {
		t.Errorf("revoked: %v", got)
	}
}

func TestRevocationsAreNotReplayedAndNotTooMany(t *testing.T) {
	w := newResourceWorld(t, func(c *agentauth.ResourceConfig) { c.Endpoints.RevocationsPerMinute = 3 }, nil)
	body := w.until("pt-1", time.Hour)
	w.revoke(body).wantRevoked(t, "first")
	for range 5 { // which counts for nothing
		w.revoke(body).requires(t, "again in the same second", 401, "", "invalid_signature")
	}
	w.clock.advance(time.Second)
	w.revoke(body).wantRevoked(t, "again")
	w.revoke(body).requires(t, "a replay of what has changed nothing", 401, "", "invalid_signature")
	w.revoke(w.until("gone", -time.Hour)).wantRevoked(t, "third")
	a := w.revoke(w.until("pt-4", time.Hour))
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != 429 || a.json(t)["error"] != "rate_limited" || err != nil || wait < 1 {
		t.Errorf("fourth: %d %s %v", a.status, a.body, a.header)
	}
	if _, ok := w.revoked()["pt-4"]; ok {
		t.Error("the fourth was revoked")
	}
	w.clock.advance(time.Duration(wait) * time.Second)
	w.revoke(w.until("pt-4", time.Hour)).wantRevoked(t, "after the wait")
}

func TestNothingPassesWhileTheStoreIsAway(t *testing.T) {
	w := newResourceWorld(t, nil, nil)
	person, auth, body := w.person(nil), w.auth("data.read", nil), w.until("pt-1", time.Hour)
	w.get("/person", person).requires(t, "before", 200, "", "")
	w.outage.Store(true)
	for name, a := range map[string]answer{"person token": w.get("/person", person), "auth token": w.get("/read", auth), "revocation": w.revoke(body)} {
		if a.requires(t, name, 503, "", ""); a.json(t)["error"] != "unavailable" {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	w.outage.Store(false)
	w.revoke(body).wantRevoked(t, "the same request, which was not taken before")
}
