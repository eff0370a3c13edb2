package agentauth_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// A personServer is a server of persons that publishes its key on this machine. It
// is an access server and an agent provider too, for tests that confuse them.
type personServer struct {
	t       *testing.T
	clock   *clock
	id      string
	key     ed25519.PrivateKey
	roots   *x509.CertPool
	fetches atomic.Int64 // of any document
}

const personKeyID = "ps-1"

func newPersonServer(t *testing.T) *personServer {
	s := &personServer{t: t, key: newEd25519(t), roots: x509.NewCertPool()}
	jwk := jwkText(t, s.key, personKeyID)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		switch name, known := strings.CutPrefix(r.URL.Path, "/.well-known/aauth-"); {
		case known && name != "resource.json":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.id, s.id+"/jwks.json")
		case r.URL.Path == "/jwks.json":
			fmt.Fprintf(w, `{"keys":[%s]}`, jwk)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	s.id = srv.URL
	s.roots.AddCert(srv.Certificate())
	return s
}

func jwkText(t *testing.T, key crypto.Signer, kid string) string {
	t.Helper()
	public, err := jose.PublicKey(key.Public())
	must(t, err)
	text, err := jose.MarshalJWK(public.WithKeyID(kid), "Ed25519")
	must(t, err)
	return string(text)
}

// token makes a token that is bound to key. A claim of changes that is nil is left
// out.
func (s *personServer) token(typ agentauth.TokenType, key crypto.Signer, changes map[string]any) string {
	s.t.Helper()
	now := s.clock.Now()
	claims := map[string]any{
		"iss": s.id, "dwk": agentauth.RolePersonServer, "aud": issuer, "sub": "person-1", "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "cnf": map[string]any{"jwk": json.RawMessage(jwkText(s.t, key, ""))},
	}
	if typ == agentauth.AuthToken {
		claims["ps"] = s.id
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := jose.Sign(s.key, jose.Header{Algorithm: "Ed25519", KeyID: personKeyID, Type: string(typ)}, claims)
	must(s.t, err)
	return text
}

// grant is what a person server answers to a resource token with the token that
// the agent has presented at the resource (AAuth, section "Resource Token
// Verification"). keys are those of the resource.
func (s *personServer) grant(keys []byte, resourceToken, presented string, agent crypto.Signer) string {
	s.t.Helper()
	rt := s.readResourceToken(keys, resourceToken)
	p, err := jose.Parse(presented)
	must(s.t, err)
	claims, err := p.UnverifiedClaims()
	must(s.t, err)
	jti, _ := claims.String("jti")
	sub, _ := claims.String("sub")
	if rt["aud"] != s.id || rt["ps"] != s.id || rt["sub"] != sub || rt["presented_jti"] != jti || rt["agent_jkt"] != jktText(s.t, agent) {
		s.t.Fatalf("resource token: %v", rt)
	}
	return s.token(agentauth.AuthToken, agent, map[string]any{
		"aud": rt["iss"], "sub": rt["sub"], "scope": rt["scope"], "mission_s256": rt["mission_s256"], "tenant": rt["tenant"],
	})
}

// readResourceToken verifies a resource token and returns its claims.
func (s *personServer) readResourceToken(keys []byte, text string) map[string]any {
	s.t.Helper()
	set, err := jose.ParseJWKS(keys)
	must(s.t, err)
	parsed, err := jose.Parse(text)
	must(s.t, err)
	if parsed.Type() != string(agentauth.ResourceToken) {
		s.t.Fatalf("typ %q", parsed.Type())
	}
	for _, key := range set.Keys {
		if key.KeyID() != parsed.KeyID() {
			continue
		}
		claims, err := parsed.Verify(key)
		must(s.t, err)
		var m map[string]any
		must(s.t, json.Unmarshal(claims.JSON(), &m))
		return m
	}
	s.t.Fatalf("no key %q", parsed.KeyID())
	return nil
}

func jktText(t *testing.T, key crypto.Signer) string {
	t.Helper()
	public, err := jose.PublicKey(key.Public())
	must(t, err)
	jkt, err := public.Thumbprint()
	must(t, err)
	return jkt
}

// A fickleStore is away at times.
type fickleStore struct {
	store.Store
	away *atomic.Bool
}

var errAway = errors.New("the store is away")

func (s fickleStore) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if s.away.Load() {
		return nil, errAway
	}
	return s.Store.Get(ctx, keys...)
}

func (s fickleStore) Commit(ctx context.Context, ops ...store.Op) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Commit(ctx, ops...)
}

// A resourceWorld is a world that is a resource too, with an agent and its person
// server.
type resourceWorld struct {
	*world
	outage   *atomic.Bool // of the store
	ps       *personServer
	resource *agentauth.Resource
	keys     *agentauth.SigningKeys // of the resource
	agent    ed25519.PrivateKey
	token    string // the agent token
}

// newResourceWorld makes one. The functions, which may be nil, change how.
func newResourceWorld(t *testing.T, resource func(*agentauth.ResourceConfig), verifier func(*agentauth.VerifierConfig)) *resourceWorld {
	t.Helper()
	w := &resourceWorld{outage: new(atomic.Bool), ps: newPersonServer(t), agent: newEd25519(t)}
	memory := new(store.Memory)
	w.world = newWorld(t, worldConfig{store: fickleStore{memory, w.outage}, verifier: func(c *agentauth.VerifierConfig) {
		c.Profile.Network = agentauth.Network{RootCAs: w.ps.roots, Development: true}
		c.Trust = func(iss string, role agentauth.Role) bool {
			return iss == w.ps.id && (role == agentauth.RolePersonServer || role == agentauth.RoleAccessServer)
		}
		if verifier != nil {
			verifier(c)
		}
	}})
	w.ps.clock, memory.Now = w.clock, w.clock.Now
	var err error
	w.keys, err = agentauth.NewSigningKeys(w.host, new(keystore.Memory), "resource")
	must(t, err)
	must(t, w.keys.Sync(t.Context()))
	c := w.resourceConfig()
	if resource != nil {
		resource(&c)
	}
	w.resource, err = agentauth.NewResource(c)
	must(t, err)
	w.resource.Register(w.mux, "")
	w.mux.Handle("/agent", w.resource.RequireAgent(agentauth.Policy{})(whoami))
	w.mux.Handle("/person", w.resource.RequirePerson(agentauth.Policy{})(whoami))
	if c.Keys != nil {
		w.mux.Handle("/read", w.resource.RequireAuth(agentauth.Policy{}, "data.read")(whoami))
		w.mux.Handle("/write", w.resource.RequireAuth(agentauth.Policy{}, "data.write", "email")(whoami))
	}
	w.token = w.enroll(w.agent, `{"agent_id":"aauth:helper@ap.example"}`)
	return w
}

func (w *resourceWorld) resourceConfig() agentauth.ResourceConfig {
	return agentauth.ResourceConfig{
		Host: w.host, Verifier: w.verifier, Keys: w.keys,
		Scopes:         map[string]string{"data.read": "Read your data", "data.write": "Change your data"},
		IdentityScopes: []string{"email"},
	}
}

// get sends a signed request of the agent with a token.
func (w *resourceWorld) get(path, token string) answer {
	w.t.Helper()
	return w.do(w.sign(w.request("GET", path, ""), w.agent, agentauth.SignOptions{Token: token}))
}

func (w *resourceWorld) person(changes map[string]any) string {
	return w.ps.token(agentauth.PersonToken, w.agent, changes)
}

func (w *resourceWorld) auth(scope string, changes map[string]any) string {
	claims := map[string]any{"scope": scope}
	maps.Copy(claims, changes)
	return w.ps.token(agentauth.AuthToken, w.agent, claims)
}

// requires checks an answer: its status, the requirement, and the code of
// Signature-Error; "": there is no such field.
func (a answer) requires(t *testing.T, name string, status int, requirement, signatureError string) {
	t.Helper()
	got, _, _ := strings.Cut(a.header.Get("AAuth-Requirement"), ";")
	if signatureError != "" {
		signatureError = "error=" + signatureError
	}
	first, _, _ := strings.Cut(a.header.Get("Signature-Error"), ",")
	if requirement != "" {
		requirement = "requirement=" + requirement
	}
	if a.status != status || got != requirement || first != signatureError {
		t.Errorf("%s: got %d, %q, %q, want %d, %q, %q: %s", name, a.status, got, first, status, requirement, signatureError, a.body)
	}
}

// resourceToken is the one in a challenge.
func (a answer) resourceToken(t *testing.T) string {
	t.Helper()
	text, begins := strings.CutPrefix(a.header.Get("AAuth-Requirement"), `requirement=auth-token; resource-token="`)
	text, ends := strings.CutSuffix(text, `"`)
	if !begins || !ends || text == "" {
		t.Fatalf("%d, %v", a.status, a.header)
	}
	return text
}

// published are the keys of the resource.
func (w *resourceWorld) published() []byte {
	return []byte(w.do(w.request("GET", "/resource/jwks.json", "")).body)
}
