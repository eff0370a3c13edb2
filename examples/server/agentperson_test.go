package main_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// A personServer is one on this machine, whose one person says yes to everything.
type personServer struct {
	url string
	key ed25519.PrivateKey
}

func newPersonServer(t *testing.T) *personServer {
	t.Helper()
	s := &personServer{key: newKeyPair(t)}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/aauth-person.json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.url, s.url+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[%s]}`, strings.Replace(publicJWK(s.key), "{", `{"kid":"ps",`, 1))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// issue makes a token of a type, bound to an agent's key, for a resource.
func (s *personServer) issue(t *testing.T, typ agentauth.TokenType, agent ed25519.PrivateKey, resource string, more map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": s.url, "dwk": "aauth-person.json", "aud": resource, "sub": "person-1", "ps": s.url,
		"jti": fmt.Sprint(typ, now), "iat": now, "exp": now + 600, "cnf": map[string]any{"jwk": json.RawMessage(publicJWK(agent))},
	}
	for name, value := range more {
		claims[name] = value
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"Ed25519","typ":"`+string(typ)+`","kid":"ps"}`)) + "." + encode(payload)
	return text + "." + encode(ed25519.Sign(s.key, []byte(text)))
}

// TestAgentOfPerson has an agent go from its own token to what a person allows
// it, in development: all servers are on this machine.
func TestAgentOfPerson(t *testing.T) {
	t.Parallel()
	ps, stranger := newPersonServer(t), newPersonServer(t)
	in := newInstallation(t)
	in.configure(`{"agents":{"admission":"open","development":true,"trust":["` + ps.url + `"]}}`)
	p := in.start()
	key := newKeyPair(t)
	visit := func(path, token string) answer {
		t.Helper()
		return p.call(signedCall{server: p.url, method: "GET", path: path, key: key, options: agentauth.SignOptions{Token: token}})
	}
	want := func(what string, a answer, requirement string) {
		t.Helper()
		if got := a.header.Get("Aauth-Requirement"); a.status != 401 || !regexp.MustCompile(requirement).MatchString(got) {
			t.Errorf("%s: got %d %q %s, want 401 and %s", what, a.status, got, a.body, requirement)
		}
	}
	enrol := enrolment(key, "", "")
	enrol.server = p.url
	token := p.token("enrol", p.call(enrol))
	person := ps.issue(t, agentauth.PersonToken, key, p.url, nil)
	auth := ps.issue(t, agentauth.AuthToken, key, p.url, map[string]any{"scope": "example"})
	for _, path := range []string{"/person", "/auth"} {
		want(path+" by agent token", visit(path, token), "^requirement=person-token$")
	}
	p.wantCaller("/person by person token", visit("/person", person), "agent", "person-1")
	want("/auth by person token", visit("/auth", person), `^requirement=auth-token; ?resource-token="[^"]+"$`)
	if got := p.wantCaller("/auth by auth token", visit("/auth", auth), "agent", "person-1"); len(got.Scopes) != 1 || got.Scopes[0] != "example" {
		t.Errorf("scopes: got %q, want what the token grants", got.Scopes)
	}
	for what, token := range map[string]string{
		"a person server that is not trusted": stranger.issue(t, agentauth.PersonToken, key, p.url, nil),
		"another resource":                    ps.issue(t, agentauth.PersonToken, key, "https://elsewhere.example", nil),
	} {
		if a := visit("/person", token); a.status != 401 || a.header.Get("Signature-Error") == "" {
			t.Errorf("a person token of %s: got %d %s, want 401", what, a.status, a.body)
		}
	}
	if a := visit("/whoami", person); a.status != 401 {
		t.Errorf("/whoami by person token: got %d %s, want 401: that is for agents", a.status, a.body)
	}
}
