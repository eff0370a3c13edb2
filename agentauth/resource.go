package agentauth

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/limit"
)

// ResourceConfig configures a [Resource]. Host, with a URL, and Verifier are
// required.
type ResourceConfig struct {
	Host     keywright.Host // that of the Verifier
	Verifier *Verifier      // its Trust says whose tokens are good here

	// Issuer is the identifier of the resource, https://host. Person and auth
	// tokens must be made for it; "": the origin of the host's URL.
	Issuer string

	// Keys sign resource tokens; nil: there are none, and no RequireAuth.
	Keys *SigningKeys

	// Scopes are what agents may be allowed here, each with words in Markdown for
	// the person who is asked to agree.
	Scopes map[string]string

	// IdentityScopes are what routes may want to know of a person, such as
	// "email". The person servers that are trusted must have them.
	IdentityScopes []string

	// AccessServer is the one that issues auth tokens for this resource, and no
	// other then does; "": person servers do, for their persons. Trust must admit
	// it as [RoleAccessServer].
	AccessServer string

	// NoStepUp answers 403 to an auth token with too little scope, in place of
	// telling the agent what to ask for.
	NoStepUp bool

	Metadata  ResourceMetadata
	Endpoints ResourceEndpoints
}

// ResourceMetadata is what the resource tells of itself beside the rest.
type ResourceMetadata struct {
	About About

	// AccessMode is what most routes ask for; "": AccessAgentToken.
	AccessMode AccessMode

	// Components are to be covered by the signatures of all requests, beside
	// those of each route's Policy, and published.
	Components []string
}

// ResourceEndpoints are where the endpoints are, below the prefix that they are
// registered with. A zero field is what is usual.
type ResourceEndpoints struct {
	JWKS   string // /resource/jwks.json
	Revoke string // /resource/revoke
	Prefix string // under which the routes are registered, for the URLs in the metadata; "": the path of the host's URL

	// Revocations by one server in a minute: 0: 600; negative: no limit.
	RevocationsPerMinute int
}

// An AccessMode tells agents in advance which token a resource wants. It binds
// nobody: each route says itself what it needs.
type AccessMode string

// The access modes that this package serves. Others may be published too.
const (
	AccessAgentToken  AccessMode = "agent-token"
	AccessPersonToken AccessMode = "person-token"
	AccessAuthToken   AccessMode = "auth-token"
)

// A Resource protects routes that agents use for people (AAuth, section "Resource
// Access"). An agent that comes with less than a route wants is told what to get:
// with its agent token it gets a person token from its person server, and with a
// resource token of this server an auth token. A Resource is safe for concurrent
// use, by any number of processes on one store.
type Resource struct {
	host        keywright.Host
	verifier    *Verifier
	issuer      string
	base        string // URL of the routes, without a slash at its end
	keys        *SigningKeys
	scopes      map[string]string
	identity    []string
	access      string
	noStepUp    bool
	metadata    ResourceMetadata
	endpoints   ResourceEndpoints
	revocations policy
	callers     *limit.Rate // of the revocation endpoint, by their identifiers
}

const usualRevocations = 600

// NewResource checks c. It does no I/O. Call [SigningKeys.Sync] on its Keys when
// the server starts.
func NewResource(c ResourceConfig) (*Resource, error) {
	if err := c.checkHost(); err != nil {
		return nil, err
	}
	s := &Resource{
		host: c.Host, verifier: c.Verifier, issuer: c.Issuer, keys: c.Keys, scopes: maps.Clone(c.Scopes), identity: slices.Clone(c.IdentityScopes),
		access: c.AccessServer, noStepUp: c.NoStepUp, metadata: c.Metadata, endpoints: c.Endpoints.withDefaults(),
	}
	if s.issuer == "" {
		s.issuer = originOf(c.Host.URL.String())
	}
	s.base = baseURL(s.issuer, c.Endpoints.Prefix, c.Host.URL)
	if s.metadata.AccessMode == "" {
		s.metadata.AccessMode = AccessAgentToken
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	var err error
	if s.revocations, err = revocationPolicy(); err != nil {
		return nil, err
	}
	s.callers, err = limit.NewRate(c.Host.Hooks.Now, orDefault(c.Endpoints.RevocationsPerMinute, usualRevocations), -1)
	return s, err
}

// checkHost wants the host to be the Verifier's, which looks for revocations in
// the store that they are written to.
func (c ResourceConfig) checkHost() error {
	switch {
	case c.Host.Store == nil || c.Host.URL == nil:
		return errors.New("agentauth: ResourceConfig.Host, with a URL, is required")
	case c.Verifier == nil:
		return errors.New("agentauth: ResourceConfig.Verifier is required")
	case c.Host.Keys != c.Verifier.host.Keys:
		return errors.New("agentauth: ResourceConfig.Host is not that of the Verifier")
	}
	return nil
}

func (s *Resource) check() error {
	if err := checkServerID(s.issuer, s.verifier.profile.Network.Development); err != nil {
		return fmt.Errorf("agentauth: ResourceConfig.Issuer: %w", err)
	}
	if s.access != "" {
		if err := checkServerID(s.access, s.verifier.profile.Network.Development); err != nil {
			return fmt.Errorf("agentauth: ResourceConfig.AccessServer: %w", err)
		}
	}
	for scope := range s.scopes {
		if !isScope(scope) {
			return fmt.Errorf("agentauth: ResourceConfig.Scopes: %q is not a scope", scope)
		}
	}
	for _, scope := range s.identity {
		if !isScope(scope) {
			return fmt.Errorf("agentauth: ResourceConfig.IdentityScopes: %q is not a scope", scope)
		}
	}
	for _, path := range []string{s.endpoints.JWKS, s.endpoints.Revoke} {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("agentauth: ResourceConfig.Endpoints: %q: want a path", path)
		}
	}
	if _, err := (Policy{Components: s.metadata.Components}).compile(); err != nil {
		return fmt.Errorf("agentauth: ResourceConfig.Metadata: %w", err)
	}
	return nil
}

// isScope reports whether text is one scope (RFC 6749, section 3.3).
func isScope(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

func (e ResourceEndpoints) withDefaults() ResourceEndpoints {
	if e.JWKS == "" {
		e.JWKS = "/resource/jwks.json"
	}
	if e.Revoke == "" {
		e.Revoke = "/resource/revoke"
	}
	return e
}

// Issuer returns the identifier of the resource.
func (s *Resource) Issuer() string { return s.issuer }

// RequireAgent returns middleware that admits the requests that p accepts with an
// agent token, and puts the Principal where [keywright.FromContext] finds it: the
// agent. It panics if p is not valid, or has other schemes than [SchemeJWT], as
// the other middleware of a Resource does: that is a mistake of the program.
func (s *Resource) RequireAgent(p Policy) func(http.Handler) http.Handler {
	return s.require(gate{wants: AgentToken}, p, AgentToken)
}

// RequirePerson is like RequireAgent for person tokens. The Principal is the
// person for whom the agent acts, whom the Subject names among those of the
// Issuer alone. It says nothing of what the person allows.
func (s *Resource) RequirePerson(p Policy) func(http.Handler) http.Handler {
	return s.require(gate{wants: PersonToken}, p, PersonToken, AgentToken)
}

// RequireAuth is like RequireAgent for auth tokens that grant all of scopes, of
// which there must be one at least, and each be in the configuration. The
// Principal is the person, with what the token grants as its Scopes.
//
// An agent that has a person token, or an auth token with less scope, gets a
// resource token, which asks for these scopes and for what its auth token grants
// already.
func (s *Resource) RequireAuth(p Policy, scopes ...string) func(http.Handler) http.Handler {
	switch { // mistakes of the program: see RequireAgent
	case s.keys == nil:
		panic(errors.New("agentauth: RequireAuth: the resource has no keys"))
	case len(scopes) == 0:
		panic(errors.New("agentauth: RequireAuth: want a scope"))
	}
	for _, scope := range scopes {
		if !s.knows(scope) {
			panic(fmt.Errorf("agentauth: RequireAuth: %q is not a scope of the resource", scope))
		}
	}
	return s.require(gate{wants: AuthToken, scopes: slices.Clone(scopes)}, p, AuthToken, PersonToken, AgentToken)
}

// knows reports whether a resource token may ask for a scope.
func (s *Resource) knows(scope string) bool {
	_, own := s.scopes[scope]
	return own || slices.Contains(s.identity, scope)
}

// require makes the middleware of g, which verifies tokens of the types given.
func (s *Resource) require(g gate, p Policy, types ...TokenType) func(http.Handler) http.Handler {
	if slices.ContainsFunc(p.Schemes, func(scheme Scheme) bool { return scheme != SchemeJWT }) {
		panic(errors.New("agentauth: Policy.Schemes: agents come to a resource with tokens, by scheme jwt alone"))
	}
	p.Components = slices.Concat(s.metadata.Components, p.Components)
	c, err := p.compile()
	if err != nil {
		panic(err)
	}
	c.tokens, c.audience, c.access = types, s.issuer, s.access
	g.resource, g.policy = s, c
	return keywright.AAuth.Require(&g)
}
