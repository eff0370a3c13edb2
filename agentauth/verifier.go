package agentauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
)

// A Role is what a server is to others, by the name of the document that it
// describes itself in, below /.well-known/.
type Role string

// The roles.
const (
	RoleAgentProvider Role = "aauth-agent.json"
	RoleResource      Role = "aauth-resource.json"
	RolePersonServer  Role = "aauth-person.json"
	RoleAccessServer  Role = "aauth-access.json"
)

// VerifierConfig configures a [Verifier]. Host is required.
type VerifierConfig struct {
	Host    keywright.Host
	Profile Profile

	// Trust says whether tokens and signatures of an issuer are accepted in a
	// role. It is asked before anything is fetched; nil: nobody is trusted but
	// Providers.
	Trust func(issuer string, role Role) bool

	// Providers are the agent providers of this server. Their tokens are verified
	// without a fetch, and those of agents that are disabled are refused at once.
	Providers []*Provider

	// KeyHost says whether an issuer may publish its keys on another origin than
	// its own; nil: no.
	KeyHost func(issuer, jwksURI string) bool

	// Scopes tells what a caller may do that has been authenticated; nil: an agent
	// enrolled here what its record says, the bearer of an auth token what that
	// says, others nothing. An error refuses the request, and is an internal one
	// unless it is a [*keywright.Error].
	Scopes func(ctx context.Context, p keywright.Principal) ([]string, error)
}

// A Verifier authenticates signed requests. It is safe for concurrent use.
type Verifier struct {
	host      keywright.Host
	profile   Profile // complete
	providers []*Provider
	scopes    func(context.Context, keywright.Principal) ([]string, error)
	issuers   *issuers
	tokens    *tokenCache
}

// NewVerifier checks c. It does no I/O.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	if c.Host.Store == nil {
		return nil, errors.New("agentauth: VerifierConfig.Host is required")
	}
	profile, err := c.Profile.complete(c.Host.URL)
	if err != nil {
		return nil, fmt.Errorf("agentauth: VerifierConfig.%w", err)
	}
	v := &Verifier{host: c.Host, profile: profile, providers: c.Providers, scopes: c.Scopes, tokens: newTokenCache(maxTokens)}
	for _, p := range c.Providers {
		if p.verifier != nil && p.verifier.profile.Network.Development && !profile.Network.Development {
			return nil, errors.New("agentauth: VerifierConfig.Profile: want that of the Providers, which has Network.Development")
		}
	}
	if v.issuers, err = newIssuers(c); err != nil {
		return nil, fmt.Errorf("agentauth: VerifierConfig.Profile.Network: %w", err)
	}
	return v, nil
}

// Authenticator returns an Authenticator of requests that p accepts, to be used
// with [keywright.Require], beside others too. Requests that are not signed are
// [keywright.ErrNoCredential] to it; one with a signature that is not accepted is
// refused, whatever else is in it.
func (v *Verifier) Authenticator(p Policy) (keywright.Authenticator, error) {
	c, err := p.compile()
	if err != nil {
		return nil, err
	}
	return &authenticator{v: v, p: c}, nil
}

// Require returns middleware that admits the requests that p accepts and puts the
// Principal where [keywright.FromContext] finds it. It panics if p is not valid,
// which is a mistake of the program.
func (v *Verifier) Require(p Policy) func(http.Handler) http.Handler {
	return keywright.AAuth.Require(v.mustCompile(p))
}

// Optional returns middleware like that of Require that also admits requests
// without a signature, and those without a Principal.
func (v *Verifier) Optional(p Policy) func(http.Handler) http.Handler {
	a := v.mustCompile(p)
	return func(next http.Handler) http.Handler {
		required := keywright.AAuth.Require(a)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !httpsig.Signed(r.Header) {
				next.ServeHTTP(w, r)
				return
			}
			required.ServeHTTP(w, r)
		})
	}
}

func (v *Verifier) mustCompile(p Policy) *authenticator {
	c, err := p.compile()
	if err != nil {
		panic(err)
	}
	return &authenticator{v, c, true}
}

type authenticator struct {
	v     *Verifier
	p     policy
	alone bool // nobody else is asked about requests that are not signed
}

func (a *authenticator) Authenticate(r *http.Request) (keywright.Principal, error) {
	switch signed := httpsig.Signed(r.Header); {
	case !signed && a.alone:
		return keywright.Principal{}, a.p.refuseUnsigned(r)
	case !signed:
		return keywright.Principal{}, keywright.ErrNoCredential
	}
	who, err := a.admit(r)
	if err != nil {
		a.v.host.Hooks.Refused(keywright.WithRequestAddr(r), "agent.refused", err)
		return keywright.Principal{}, err
	}
	return who, nil
}

func (a *authenticator) admit(r *http.Request) (keywright.Principal, error) {
	proof, err := a.v.verify(r, a.p)
	if err != nil {
		return keywright.Principal{}, a.p.challenged(err)
	}
	p, err := a.v.principal(r.Context(), proof)
	if err != nil { // which may be the host's own
		return keywright.Principal{}, err
	}
	if err := a.v.remember(r.Context(), proof); err != nil {
		return keywright.Principal{}, a.p.challenged(err)
	}
	return p, nil
}

// ChallengeFields tell how to sign.
func (a *authenticator) ChallengeFields() http.Header { return a.p.wanted() }
