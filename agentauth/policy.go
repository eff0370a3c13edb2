package agentauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/httpsig"
)

// A Scheme is a way in which a signed request tells its key (HTTP Signature Keys,
// section "Signature-Key").
type Scheme string

// The schemes.
const (
	SchemeHWK     Scheme = "hwk"      // the key itself
	SchemeJKTJWT  Scheme = "jkt-jwt"  // a key that another, durable key vouches for
	SchemeJWT     Scheme = "jwt"      // the key of a token that an issuer vouches for
	SchemeJWKSURI Scheme = "jwks_uri" // a key that a server publishes, named by the server
	SchemeJWKS    Scheme = "jwks"     // a key that is published at a URL
)

// A TokenType is the typ of a token of AAuth.
type TokenType string

// The types of tokens.
const (
	AgentToken    TokenType = "aa-agent+jwt"    // by an agent provider: who an agent is
	PersonToken   TokenType = "aa-person+jwt"   // by a person server: for whom an agent acts
	ResourceToken TokenType = "aa-resource+jwt" // by a resource: what an agent may ask its person server for
	AuthToken     TokenType = "aa-auth+jwt"     // by a person or access server: what an agent may do
)

// Replay says of which requests a route remembers that it has seen them. What is
// remembered is a record of the store, for a minute or two; if it cannot be
// written, the request is refused.
type Replay int

// The ways to look for replays. Two equal requests within a second have equal
// signatures and count as a replay too.
const (
	ReplayUnsafe Replay = iota // all but GET, HEAD, OPTIONS and TRACE
	ReplayAll
	ReplayNone
)

// A Policy says which signed requests a route accepts. The zero Policy accepts
// agent tokens of trusted issuers.
type Policy struct {
	Schemes []Scheme // nil: SchemeJWT alone

	// Components are to be covered beside "@method", "@authority", "@path" and
	// "signature-key". The query of a URL is not covered unless "@query" is
	// among them.
	Components []string

	// CoverBody refuses a request with a body whose signature does not cover
	// content-digest and content-type. Where content-digest is covered, it is
	// compared with the body in any case.
	CoverBody bool

	MaxBody int64  // bytes of a body that is compared, and held meanwhile; 0: 1 MiB; at most 1 GiB
	Replay  Replay // zero: ReplayUnsafe

	// Pseudonyms admits any key by schemes hwk and jkt-jwt, whoever has it: the
	// Principal is the key's thumbprint, or that of its durable key. Otherwise
	// such a key, of jkt-jwt the durable one, must belong to an agent or a runner
	// that is enrolled on this server, and the Principal has its name and scopes.
	// With Pseudonyms any stranger leaves a record in the store for each unsafe
	// request, for two minutes: slow them down before, or use ReplayNone.
	Pseudonyms bool
}

const (
	defaultMaxBody = 1 << 20
	mostMaxBody    = 1 << 30
)

var (
	baseComponents = []string{"@method", "@authority", "@path", "signature-key"}
	bodyComponents = []string{"content-type", "content-digest"}
)

// A policy is a Policy, checked, with what Resource and Provider add to it.
type policy struct {
	Policy
	tokens   []TokenType
	audience string   // of person and auth tokens
	access   string   // the access server that issues auth tokens; "": person servers do
	required []string // of every request
	deferred bool     // the caller writes the replay marker
	accept   http.Header
}

func (p Policy) compile() (policy, error) {
	c := policy{Policy: p, tokens: []TokenType{AgentToken}}
	c.Schemes = slices.Clone(c.Schemes)
	if len(c.Schemes) == 0 {
		c.Schemes = []Scheme{SchemeJWT}
	}
	for _, s := range c.Schemes {
		switch s {
		case SchemeHWK, SchemeJKTJWT, SchemeJWT, SchemeJWKSURI, SchemeJWKS:
		default:
			return policy{}, fmt.Errorf("agentauth: Policy.Schemes: %q is not known", s)
		}
	}
	switch {
	case c.MaxBody < 0 || c.MaxBody > mostMaxBody:
		return policy{}, errors.New("agentauth: Policy.MaxBody: want 0 to 1 GiB")
	case c.MaxBody == 0:
		c.MaxBody = defaultMaxBody
	}
	if c.Replay < ReplayUnsafe || c.Replay > ReplayNone {
		return policy{}, fmt.Errorf("agentauth: Policy.Replay: %d is not known", c.Replay)
	}
	c.required = slices.Clone(baseComponents)
	for _, name := range c.Components {
		switch {
		case !httpsig.IsComponent(name):
			return policy{}, fmt.Errorf("agentauth: Policy.Components: %q cannot be covered", name)
		case httpsig.IsComponent("@" + name):
			return policy{}, fmt.Errorf("agentauth: Policy.Components: %q is a field: want \"@%s\"", name, name)
		}
		c.required = addComponent(c.required, name)
	}
	c.accept = c.acceptFields()
	return c, nil
}

func addComponent(list []string, name string) []string {
	if slices.Contains(list, name) {
		return list
	}
	return append(slices.Clip(list), name)
}

// acceptFields tell how a request is to be signed (HTTP Signature Keys, section
// "Accept-Signature").
func (c policy) acceptFields() http.Header {
	schemes := make([]string, len(c.Schemes))
	for i, s := range c.Schemes {
		schemes[i] = string(s)
	}
	return http.Header{
		acceptSignature:           acceptComponents(c.required),
		"Accept-Signature-Scheme": {strings.Join(schemes, ", ")},
		"Accept-Signature-Alg":    {acceptedAlgorithms},
	}
}

// requiredFor lists what r's signature must cover.
func (c policy) requiredFor(r *http.Request) []string {
	required := c.required
	if c.CoverBody && hasBody(r) {
		for _, name := range bodyComponents {
			required = addComponent(required, name)
		}
	}
	if len(r.Header["Authorization"]) > 0 && (c.deferred || isAAuth(r.Header["Authorization"])) {
		required = addComponent(required, "authorization")
	}
	return required
}

// isAAuth reports whether there is a credential of scheme AAuth, which is good
// with a signature that covers it alone.
func isAAuth(values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool {
		v = strings.TrimLeft(v, " \t")
		if i := strings.IndexAny(v, " \t"); i >= 0 {
			v = v[:i]
		}
		return strings.EqualFold(v, "AAuth")
	})
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// remembers reports whether r must not come twice.
func (c policy) remembers(r *http.Request) bool {
	switch c.Replay {
	case ReplayAll:
		return true
	case ReplayNone:
		return false
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false
	}
	return true
}
