package agentauth_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A via is a way to servers.
type via func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (v via) RoundTrip(r *http.Request) (*http.Response, error) { return v(r) }

// A foreignProvider is one of somebody else's at https://ap.example, at t0. Its
// answers are good but for the changes.
type foreignProvider struct {
	t                      *testing.T
	metadata               any                // nil: there are none
	header, claims, answer claims             // changes
	instead                http.HandlerFunc   // of the answer; nil: none
	refused                []http.HandlerFunc // the answers before that, one each

	mu       sync.Mutex
	requests []foreignRequest // guarded by mu; to enrol
}

// A foreignRequest is what was sent.
type foreignRequest struct {
	url    string
	header http.Header
	body   map[string]any
}

func (p *foreignProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == "GET" {
		if p.metadata == nil {
			http.NotFound(w, r)
			return
		}
		text, ok := p.metadata.(string)
		if !ok {
			data, _ := json.Marshal(p.metadata)
			text = string(data)
		}
		io.WriteString(w, text)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	got := foreignRequest{r.URL.String(), r.Header, nil}
	json.NewDecoder(r.Body).Decode(&got.body)
	p.requests = append(p.requests, got)
	switch {
	case len(p.refused) > 0:
		p.refused[0](w, r)
		p.refused = p.refused[1:]
	case p.instead != nil:
		p.instead(w, r)
	default:
		p.enroll(w, got.body)
	}
}

func (p *foreignProvider) enroll(w http.ResponseWriter, body map[string]any) {
	said := claims{
		"iss": issuer, "dwk": "aauth-agent.json", "sub": "aauth:chosen@ap.example", "cnf": claims{"jwk": body["jwk"]}, "jti": "1",
		"iat": t0.Unix(), "exp": t0.Add(time.Hour).Unix(), "ps": body["ps"],
	}
	if id, ok := body["agent_id"]; ok {
		said["sub"] = id
	}
	token := compact(p.t, seedKey("issuer"), claims{"alg": "Ed25519", "typ": "aa-agent+jwt", "kid": "ap-1"}.with(p.header), said.with(claims{"ps": said["ps"]}).with(p.claims))
	json.NewEncoder(w).Encode(claims{"agent_token": token, "jwks_uri": issuer + "/a.json", "expires_in": 3600}.with(p.answer))
}

// config is that of an agent of p.
func (p *foreignProvider) config() agentauth.EnrollConfig {
	return agentauth.EnrollConfig{
		Endpoint: issuer + "/ap/token", AgentID: "aauth:a@ap.example", Keys: new(keystore.Memory),
		HTTP: &http.Client{Transport: local{"ap.example": p}}, Now: func() time.Time { return t0 },
	}
}

// fails is a handler that answers with a status, fields and a text.
func fails(status int, text string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// sameKey compares keys by what they are.
var sameKey = cmp.Comparer(func(a, b keystore.Key) bool { return a == b })

// TestEnrollmentOverTLS enrols at our own provider, with an enrolment secret, and
// again without one.
func TestEnrollmentOverTLS(t *testing.T) {
	var secrets *agentauth.EnrollmentSecrets
	w, s := newRemoteWorld(t, func(c *agentauth.ProviderConfig) {
		var err error
		secrets, err = agentauth.NewEnrollmentSecrets(c.Host)
		must(t, err)
		c.Admission = secrets.Admit
	})
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(makeSecret(t, secrets, agentauth.SecretSettings{Uses: 2}).Text+"\n"), 0o600))
	for _, algorithm := range []keystore.Algorithm{keystore.Ed25519, keystore.ES256} {
		keys := new(keystore.Memory)
		c := agentauth.EnrollConfig{
			Provider: s.url, AgentID: fmt.Sprintf("aauth:%v@127.0.0.1", algorithm), PersonServer: "https://ps.example", Keys: keys,
			Secret: agentauth.SecretFile(secret), Options: agentauth.EnrollOptions{Key: keystore.KeyOptions{Algorithm: algorithm}},
			HTTP: s.client(), Now: w.clock.Now, Development: true,
		}
		got, err := agentauth.Enroll(t.Context(), c)
		must(t, err)
		jkt := thumbprint(t, got.Key)
		want := agentauth.Enrollment{
			Provider: s.url, AgentID: c.AgentID, AgentToken: got.AgentToken, Issued: w.clock.Now(), Expires: w.clock.Now().Add(time.Hour),
			Key: got.Key, LocalKeyHandle: got.Key.Handle(), AgentTokenKid: jkt, JWKSURL: s.url + "/agents/" + c.AgentID + "/jwks.json",
		}
		if diff := cmp.Diff(want, got, sameKey); diff != "" || handlesOf(t, keys)[0] != got.LocalKeyHandle {
			t.Errorf("%v (-want +got):\n%s", algorithm, diff)
		}
		w.clock.advance(time.Minute)
		c.Secret = nil
		again, err := agentauth.Enroll(t.Context(), c)
		must(t, err)
		if again.AgentToken == got.AgentToken || again.LocalKeyHandle != got.LocalKeyHandle || len(handlesOf(t, keys)) != 1 {
			t.Errorf("%v again: %v", algorithm, again)
		}
		c.Keys, c.Now = new(keystore.Memory), w.clock.Now
		if _, err := agentauth.Enroll(t.Context(), c); statusOf(err) != 403 {
			t.Errorf("%v: another key without a secret: %v", algorithm, err)
		}
	}
}

// statusOf is that of a StatusError; 0: it is none.
func statusOf(err error) int {
	e, ok := errors.AsType[*agentauth.StatusError](err)
	if !ok {
		return 0
	}
	return e.Status
}

// client reaches s.
func (s *site) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.roots}}}
}

// TestWhatEnrollSends: the request has the public key alone, and what is asked for
// when it is needed is asked for once the key is there.
func TestWhatEnrollSends(t *testing.T) {
	p := &foreignProvider{t: t}
	keys := new(keystore.Memory)
	var order []string
	note := func(what string) {
		order = append(order, fmt.Sprint(what, " with ", len(handlesOf(t, keys)), " keys after ", len(p.requests), " requests"))
	}
	c := p.config()
	c.Keys, c.PersonServer, c.Options.Key.Algorithm = keys, "https://ps.example", keystore.ES256
	c.Secret = func(context.Context) (string, error) { note("secret"); return "averysecret", nil }
	var attested crypto.PublicKey
	c.Options.Attest = func(_ context.Context, key keystore.Key) (string, error) {
		note("attestation")
		attested = key.Public()
		return "attested", nil
	}
	e, err := agentauth.Enroll(t.Context(), c)
	must(t, err)
	want := foreignRequest{url: issuer + "/ap/token", body: map[string]any{
		"agent_id": "aauth:a@ap.example", "jwk": jwk(t, e.Key), "ps": "https://ps.example", "attestation": "attested",
	}}
	got := p.requests[0]
	if diff := cmp.Diff(want.body, got.body); diff != "" || got.url != want.url || len(p.requests) != 1 {
		t.Errorf("%s (-want +got):\n%s", got.url, diff)
	}
	if diff := cmp.Diff([]string{"attestation with 1 keys after 0 requests", "secret with 1 keys after 0 requests"}, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if attested != e.Key.Public() || got.header.Get("Authorization") != "Bearer averysecret" {
		t.Errorf("Authorization %q", got.header["Authorization"])
	}
	for _, component := range []string{"@method", "@authority", "@path", "content-type", "content-digest", "authorization", "signature-key"} {
		if !strings.Contains(got.header.Get("Signature-Input"), `"`+component+`"`) {
			t.Errorf("%s is not covered: %s", component, got.header.Get("Signature-Input"))
		}
	}
	if !strings.HasPrefix(got.header.Get("Signature-Key"), "sig=hwk;") {
		t.Errorf("Signature-Key: %s", got.header.Get("Signature-Key"))
	}
}

// TestEnrollRefusesWhatCannotBeMeant before it asks anybody, or makes a key.
func TestEnrollRefusesWhatCannotBeMeant(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*agentauth.EnrollConfig)
		says   string
	}{
		"no provider":                 {func(c *agentauth.EnrollConfig) { c.Provider = "" }, "Provider or Endpoint is required"},
		"no key store":                {func(c *agentauth.EnrollConfig) { c.Keys = nil }, "Keys is required"},
		"a provider over http":        {func(c *agentauth.EnrollConfig) { c.Provider = "http://ap.example" }, "EnrollConfig.Provider: server identifier: want https;"},
		"a provider at home":          {func(c *agentauth.EnrollConfig) { c.Provider = "http://localhost" }, "EnrollConfig.Provider"},
		"a provider with a slash":     {func(c *agentauth.EnrollConfig) { c.Provider += "/" }, "EnrollConfig.Provider"},
		"a provider with a port":      {func(c *agentauth.EnrollConfig) { c.Provider += ":8443" }, "EnrollConfig.Provider"},
		"an endpoint over http":       {func(c *agentauth.EnrollConfig) { c.Endpoint = "http://ap.example/enrol" }, "EnrollConfig.Endpoint: want https"},
		"an endpoint at home":         {func(c *agentauth.EnrollConfig) { c.Endpoint = "http://127.0.0.1/enrol" }, "EnrollConfig.Endpoint: want https"},
		"an endpoint without a host":  {func(c *agentauth.EnrollConfig) { c.Endpoint = "/enrol" }, "EnrollConfig.Endpoint: want a URL"},
		"an endpoint with a password": {func(c *agentauth.EnrollConfig) { c.Endpoint = "https://a:pass@ap.example/enrol" }, "EnrollConfig.Endpoint: want a URL"},
		"an endpoint with a fragment": {func(c *agentauth.EnrollConfig) { c.Endpoint = "https://ap.example/enrol#a" }, "EnrollConfig.Endpoint: want a URL"},
		"a name that is none":         {func(c *agentauth.EnrollConfig) { c.AgentID = "a@ap.example" }, "EnrollConfig.AgentID: agent identifier: want aauth:name@domain"},
		"a name of a sub-agent":       {func(c *agentauth.EnrollConfig) { c.AgentID = "aauth:a+b@ap.example" }, `EnrollConfig.AgentID: a "+"`},
		"a name elsewhere":            {func(c *agentauth.EnrollConfig) { c.AgentID = "aauth:a@other.example" }, "EnrollConfig.AgentID: its domain"},
		"a person server over http":   {func(c *agentauth.EnrollConfig) { c.PersonServer = "http://ps.example" }, "EnrollConfig.PersonServer"},
		"a person server with a path": {func(c *agentauth.EnrollConfig) { c.PersonServer = "https://ps.example/p" }, "EnrollConfig.PersonServer"},
		"a handle that is a path":     {func(c *agentauth.EnrollConfig) { c.Options.Key.Handle = "../a" }, "EnrollConfig.Options.Key.Handle: keystore: invalid handle"},
		"a secret that fails":         {func(c *agentauth.EnrollConfig) { c.Secret = agentauth.SecretEnv("NO_SUCH_VARIABLE") }, "enrolment secret: the variable NO_SUCH_VARIABLE is not set"},
		"no secret":                   {func(c *agentauth.EnrollConfig) { c.Secret = secretOf("") }, "enrolment secret: want one word"},
		"a secret of two words":       {func(c *agentauth.EnrollConfig) { c.Secret = secretOf("very secret") }, "enrolment secret: want one word"},
		"a secret with a line break":  {func(c *agentauth.EnrollConfig) { c.Secret = secretOf("very\nsecret") }, "enrolment secret: want one word"},
		"an attestation that is not had": {func(c *agentauth.EnrollConfig) {
			c.Options.Attest = func(context.Context, keystore.Key) (string, error) { return "", io.ErrUnexpectedEOF }
		}, "attestation: unexpected EOF"},
	} {
		keys := new(keystore.Memory)
		c := agentauth.EnrollConfig{Provider: issuer, AgentID: "aauth:a@ap.example", Keys: keys, HTTP: &http.Client{Transport: via(func(r *http.Request) (*http.Response, error) {
			if r.Method == "POST" {
				t.Errorf("%s: a request to %s", name, r.URL)
			}
			return local{"ap.example": fails(200, `{"issuer":"https://ap.example"}`)}.RoundTrip(r)
		})}}
		tt.change(&c)
		_, err := agentauth.Enroll(t.Context(), c)
		if err == nil || !strings.HasPrefix(err.Error(), "agentauth: "+tt.says) && !strings.HasPrefix(err.Error(), "agentauth: EnrollConfig."+tt.says) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "pass") || strings.Contains(err.Error(), "very") || strings.Count(err.Error(), "agentauth: ") != 1 {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(err.Error(), "EnrollConfig") && len(handlesOf(t, keys)) > 0 {
			t.Errorf("%s: a key was made", name)
		}
	}
}

func secretOf(text string) agentauth.SecretSource {
	return func(context.Context) (string, error) { return text, nil }
}
