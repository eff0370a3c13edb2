package agentauth_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// A shop is a resource that believes what it is shown. Its challenges are of the
// test's making.
type shop struct {
	t     *testing.T
	clock *clock
	id    string
	key   ed25519.PrivateKey
	ps    string
	agent ed25519.PrivateKey

	mu      sync.Mutex
	seen    []string       // guarded by mu; the typ of each request, and its path
	wants   string         // guarded by mu; the scope
	changes map[string]any // guarded by mu; of resource tokens
	typ     string         // guarded by mu; of resource tokens
	signer  ed25519.PrivateKey
	serve   func(w http.ResponseWriter, r *http.Request, typ string, c map[string]any) bool
}

func newShop(t *testing.T, c *clock, ps string, agent ed25519.PrivateKey) *shop {
	return &shop{t: t, clock: c, id: "https://shop.example", key: newEd25519(t), ps: ps, agent: agent, wants: "buy", typ: "aa-resource+jwt"}
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/.well-known/aauth-resource.json":
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, s.id, s.id+"/jwks.json")
		return
	case "/jwks.json":
		fmt.Fprintf(w, `{"keys":[%s]}`, jwkText(s.t, s.key, "shop-1"))
		return
	}
	typ, claims := shownToken(s.t, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, strings.TrimSuffix(strings.TrimPrefix(typ, "aa-"), "+jwt")+" "+r.URL.Path)
	if s.serve != nil && s.serve(w, r, typ, claims) {
		return
	}
	switch typ {
	case "aa-agent+jwt":
		w.Header().Set("AAuth-Requirement", "requirement=person-token")
		w.WriteHeader(401)
	case "aa-person+jwt":
		s.askAuth(w, claims)
	case "aa-auth+jwt":
		if scope, _ := claims["scope"].(string); !slices.Contains(strings.Fields(scope), s.wants) {
			s.askAuth(w, claims)
		}
	}
}

// askAuth answers with a resource token for what the shop wants.
func (s *shop) askAuth(w http.ResponseWriter, shown map[string]any) {
	w.Header().Set("AAuth-Requirement", `requirement=auth-token; resource-token="`+s.resourceToken(shown)+`"`)
	w.WriteHeader(401)
}

func (s *shop) resourceToken(shown map[string]any) string {
	now := s.clock.Now()
	claims := map[string]any{
		"iss": s.id, "dwk": "aauth-resource.json", "aud": s.ps, "ps": s.ps, "sub": shown["sub"], "presented_jti": shown["jti"],
		"agent_jkt": jktText(s.t, s.agent), "scope": s.wants, "jti": "rt", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(claims, s.changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	key := s.key
	if s.signer != nil {
		key = s.signer
	}
	text, err := jose.Sign(key, jose.Header{Algorithm: "Ed25519", KeyID: "shop-1", Type: s.typ}, claims)
	must(s.t, err)
	return text
}

// took returns what was seen since the last time.
func (s *shop) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := strings.Join(s.seen, ", ")
	s.seen = nil
	return seen
}

func (s *shop) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// shownToken reads the token of a request.
func shownToken(t *testing.T, r *http.Request) (string, map[string]any) {
	text, ok := strings.CutPrefix(r.Header.Get("Signature-Key"), `sig=jwt;jwt="`)
	if !ok {
		return "", nil
	}
	parsed, err := jose.Parse(strings.TrimSuffix(text, `"`))
	must(t, err)
	c, err := parsed.UnverifiedClaims()
	must(t, err)
	var m map[string]any
	must(t, json.Unmarshal(c.JSON(), &m))
	return parsed.Type(), m
}
