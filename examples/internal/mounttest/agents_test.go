package mounttest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// An agent enrols, refreshes and is known on every router, at the root and below
// a prefix: what is signed is the path as it was sent.
func TestAgents(t *testing.T) {
	for _, r := range routers {
		for _, prefix := range []string{"", "/connect"} {
			t.Run(r.name+prefix, func(t *testing.T) {
				srv := httptest.NewUnstartedServer(nil)
				m := mounted{t: t, base: "http://" + srv.Listener.Addr().String() + prefix}
				srv.Config.Handler = keywright.NoRedirect(r.new(prefix, m.newAgents()))
				srv.Start()
				defer srv.Close()
				m.checkAgents()
			})
		}
	}
}

func (m *mounted) newAgents() *app {
	m.t.Helper()
	external, err := url.Parse(m.base)
	m.check(err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, URL: external, Kinds: map[string]string{"admin": "kw_admin"}})
	m.check(err)
	keys, err := agentauth.NewSigningKeys(host, &keystore.Memory{}, "")
	m.check(err)
	m.check(keys.Sync(m.t.Context()))
	profile := agentauth.Profile{Network: agentauth.Network{Development: true}}
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{
		Host: host, Keys: keys, Admission: agentauth.AdmitAnybody, Admin: host.Keys.Of("admin"), Profile: profile,
	})
	m.check(err)
	verifier, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: host, Providers: []*agentauth.Provider{provider}, Profile: profile})
	m.check(err)
	resource, err := agentauth.NewResource(agentauth.ResourceConfig{Host: host, Verifier: verifier, Keys: keys})
	m.check(err)
	signed, err := verifier.Authenticator(agentauth.Policy{})
	m.check(err)
	return &app{routes: append(provider.Routes(), resource.Routes()...), keys: signed}
}

func (m *mounted) checkAgents() {
	m.t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	m.check(err)
	for _, path := range []string{agentauth.MetadataPath, agentauth.ResourceMetadataPath, "/jwks.json"} {
		m.signed(http.MethodGet, m.base+path, "", nil, agentauth.SignOptions{})
	}
	enrolled := m.signed(http.MethodPost, m.base+"/enrol", "{}", key, agentauth.SignOptions{})
	m.signed(http.MethodGet, enrolled["jwks_uri"], "", nil, agentauth.SignOptions{})
	m.signed(http.MethodGet, m.base+"/whoami", "", key, agentauth.SignOptions{Token: enrolled["agent_token"]})
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	m.check(err)
	refreshed := m.signed(http.MethodPost, m.base+"/refresh", "{}", fresh, agentauth.SignOptions{Durable: key})
	m.signed(http.MethodGet, m.base+"/whoami", "", fresh, agentauth.SignOptions{Token: refreshed["agent_token"]})
}

// signed sends a request, signed unless key is nil, that must succeed, and returns
// the texts in the answer.
func (m *mounted) signed(method, url, body string, key crypto.Signer, o agentauth.SignOptions) map[string]string {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, url, bytes.NewReader([]byte(body)))
	m.check(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != nil {
		m.check(agentauth.SignRequest(req, key, o))
	}
	res, err := client.Do(req)
	m.check(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	m.check(err)
	if res.StatusCode != http.StatusOK {
		m.t.Fatalf("%s %s: %d %s %v", method, url, res.StatusCode, answer, res.Header)
	}
	var members map[string]any
	texts := make(map[string]string)
	if json.Unmarshal(answer, &members) == nil {
		for name, v := range members {
			texts[name], _ = v.(string)
		}
	}
	return texts
}
