package agentauth_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// A clock is moved by tests.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const issuer = "https://ap.example"

// A world is a server that is an agent provider and a resource at
// https://ap.example, of which tests are the clients.
type world struct {
	t        testing.TB
	clock    *clock
	store    store.Store
	host     keywright.Host
	keys     *agentauth.SigningKeys
	provider *agentauth.Provider
	verifier *agentauth.Verifier
	mux      *http.ServeMux
}

// A worldConfig changes what newWorld makes; nil fields change nothing.
type worldConfig struct {
	store    store.Store
	provider func(*agentauth.ProviderConfig)
	verifier func(*agentauth.VerifierConfig)
}

func newWorld(t testing.TB, c worldConfig) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Unix(1_767_225_600, 0)}, mux: http.NewServeMux()}
	if w.store = c.store; w.store == nil {
		w.store = &store.Memory{Now: w.clock.Now}
	}
	u, _ := url.Parse(issuer)
	var err error
	w.host, err = keywright.NewHost(keywright.HostConfig{
		Store: w.store, URL: u, Kinds: map[string]string{"admin": "kw_admin", "ci": "kw_ci"}, Hooks: keywright.Hooks{Now: w.clock.Now},
	})
	must(t, err)
	w.keys, err = agentauth.NewSigningKeys(w.host, new(keystore.Memory), "")
	must(t, err)
	must(t, w.keys.Sync(t.Context()))
	pc := agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: agentauth.AdmitAnybody}
	if c.provider != nil {
		c.provider(&pc)
	}
	w.provider, err = agentauth.NewProvider(pc)
	must(t, err)
	w.provider.Register(w.mux, "")
	vc := agentauth.VerifierConfig{Host: w.host, Providers: []*agentauth.Provider{w.provider}}
	if c.verifier != nil {
		c.verifier(&vc)
	}
	w.verifier, err = agentauth.NewVerifier(vc)
	must(t, err)
	w.mux.Handle("/whoami", w.verifier.Require(agentauth.Policy{})(whoami))
	return w
}

// whoami answers with the Principal.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	json.NewEncoder(w).Encode(p)
})

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// request makes a request to the server. A body is JSON.
func (w *world) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, issuer+path, nil)
	r.RequestURI = r.URL.RequestURI()
	if body != "" {
		r = httptest.NewRequest(method, issuer+path, bytes.NewReader([]byte(body)))
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// sign signs with the world's clock.
func (w *world) sign(r *http.Request, key crypto.Signer, o agentauth.SignOptions) *http.Request {
	w.t.Helper()
	if o.Created.IsZero() {
		o.Created = w.clock.Now()
	}
	must(w.t, agentauth.SignRequest(r, key, o))
	return r
}

// An answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(r *http.Request) answer {
	rec := httptest.NewRecorder()
	w.mux.ServeHTTP(rec, r)
	body, _ := io.ReadAll(rec.Result().Body)
	return answer{rec.Code, rec.Result().Header, string(body)}
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return m
}

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	return key
}

func newP256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return key
}

// enroll enrols key and returns its agent token.
func (w *world) enroll(key crypto.Signer, body string) string {
	w.t.Helper()
	a := w.do(w.sign(w.request("POST", "/enrol", body), key, agentauth.SignOptions{}))
	if a.status != 200 {
		w.t.Fatalf("enrol: %d %s %v", a.status, a.body, a.header)
	}
	return a.json(w.t)["agent_token"].(string)
}

// principal is somebody who acts.
func principal(credential string) keywright.Principal {
	return keywright.Principal{Method: keywright.MethodHost, Credential: credential}
}

// signMember signs r with a Signature-Key of the test's own making. It covers what
// SignRequest covers.
func signMember(t testing.TB, r *http.Request, key crypto.Signer, member string, now time.Time) *http.Request {
	t.Helper()
	must(t, agentauth.SignRequest(r, key, agentauth.SignOptions{Created: now})) // for the digest
	components := []string{"@method", "@authority", "@path", "signature-key"}
	if r.Header.Get("Content-Digest") != "" {
		components = append(components, "content-type", "content-digest")
	}
	k, err := httpsig.NewSigningKey(key.Public(), "", member)
	must(t, err)
	must(t, k.Sign(r, httpsig.Signing{Authority: r.Host, Components: components, Created: now}, key))
	return r
}
