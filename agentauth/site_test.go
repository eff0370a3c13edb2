package agentauth_test

import (
	"crypto"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// A site is a server that others reach over TLS, at https://127.0.0.1 and a port.
type site struct {
	clock *clock
	url   string
	host  keywright.Host
	mux   *http.ServeMux
	hits  atomic.Int64 // requests over the network
	roots *x509.CertPool
}

func newSite(t *testing.T, c *clock) *site {
	t.Helper()
	s := &site{clock: c, mux: http.NewServeMux(), roots: x509.NewCertPool()}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.hits.Add(1)
		s.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	s.roots.AddCert(server.Certificate())
	s.host = newHostAt(t, c, s.url)
	return s
}

func newHostAt(t *testing.T, c *clock, origin string) keywright.Host {
	t.Helper()
	u, err := url.Parse(origin)
	must(t, err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{Now: c.Now}, URL: u, Hooks: keywright.Hooks{Now: c.Now}})
	must(t, err)
	return host
}

// network is that of others who reach s.
func (s *site) network() agentauth.Network {
	return agentauth.Network{RootCAs: s.roots, Development: true}
}

// newRemoteWorld makes a provider at a site. Its world's requests do not go over
// the network.
func newRemoteWorld(t *testing.T, change func(*agentauth.ProviderConfig)) (*world, *site) {
	t.Helper()
	w := &world{t: t, clock: newWorld(t, worldConfig{}).clock}
	s := newSite(t, w.clock)
	w.host, w.store, w.mux = s.host, s.host.Store, s.mux
	var err error
	w.keys, err = agentauth.NewSigningKeys(w.host, new(keystore.Memory), "")
	must(t, err)
	must(t, w.keys.Sync(t.Context()))
	c := agentauth.ProviderConfig{
		Host: w.host, Keys: w.keys, Admission: agentauth.AdmitAnybody, Profile: agentauth.Profile{Network: s.network()},
	}
	if change != nil {
		change(&c)
	}
	w.provider, err = agentauth.NewProvider(c)
	must(t, err)
	w.provider.Register(w.mux, "")
	return w, s
}

// enrollAt is enroll for a world that is a site.
func (w *world) enrollAt(s *site, key crypto.Signer, body string) (token string, answered map[string]any) {
	w.t.Helper()
	r := httptest.NewRequest("POST", s.url+"/enrol", strings.NewReader(body))
	r.RequestURI = r.URL.RequestURI()
	r.Header.Set("Content-Type", "application/json")
	a := w.do(w.sign(r, key, agentauth.SignOptions{}))
	if a.status != 200 {
		w.t.Fatalf("enrol: %d %s %v", a.status, a.body, a.header)
	}
	answered = a.json(w.t)
	return answered["agent_token"].(string), answered
}

const farURL = "https://resource.example"

// A farWorld is a resource elsewhere, which knows providers by what they publish.
type farWorld struct {
	t     *testing.T
	clock *clock
	mux   *http.ServeMux
}

func newFarWorld(t *testing.T, s *site, p agentauth.Policy, change func(*agentauth.VerifierConfig)) *farWorld {
	t.Helper()
	e := &farWorld{t: t, clock: s.clock, mux: http.NewServeMux()}
	c := agentauth.VerifierConfig{Host: newHostAt(t, s.clock, farURL), Profile: agentauth.Profile{Network: s.network()}, Trust: func(issuer string, role agentauth.Role) bool {
		return issuer == s.url && role == agentauth.RoleAgentProvider
	}}
	if change != nil {
		change(&c)
	}
	v, err := agentauth.NewVerifier(c)
	must(t, err)
	e.mux.Handle("/whoami", v.Require(p)(whoami))
	return e
}

func (e *farWorld) request() *http.Request {
	r := httptest.NewRequest("GET", farURL+"/whoami", nil)
	r.RequestURI = "/whoami"
	return r
}

func (e *farWorld) do(r *http.Request) answer { return (&world{mux: e.mux}).do(r) }

func (e *farWorld) whoami(key crypto.Signer, o agentauth.SignOptions) answer {
	e.t.Helper()
	o.Created = e.clock.Now()
	r := e.request()
	must(e.t, agentauth.SignRequest(r, key, o))
	return e.do(r)
}
