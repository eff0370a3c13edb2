package agentauth

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright"
)

// ProviderConfig configures a [Provider]. Host, with a URL, and Keys are required.
type ProviderConfig struct {
	Host keywright.Host

	// Issuer is the identifier of the provider, https://host; "": the origin of
	// the host's URL. Agents have identifiers in its domain.
	Issuer string

	Keys *SigningKeys // that sign agent tokens

	// Admission decides who becomes an agent; nil: nobody.
	Admission Admission

	// Admin authenticates the callers of the admin API; nil: there is none.
	Admin keywright.Authenticator

	// Permission is the scope that callers of the admin API need; "": whoever
	// Admin lets in may.
	Permission string

	Limits  ProviderLimits
	About   About
	Paths   ProviderPaths
	Profile Profile
}

// ProviderLimits are those of all agents.
type ProviderLimits struct {
	TokenLife time.Duration // of agent tokens; 0: 1 hour; more than 5 minutes, at most 24 hours

	// Of requests to one process, in a minute, and as many at once. Negative: no
	// limit. A request without a signature is refused at next to no cost, and not
	// counted. Every other counts once:
	//
	//   - By its key, if that is enrolled or has applied. So agents behind one
	//     address, and strangers elsewhere, do not get into each other's way.
	//   - By its address and among all, if it enrols a new key.
	//   - By its address otherwise, when it is refused: a signature that is not
	//     good, or a key that nobody knows. Where so many were, no signature is
	//     looked at for a while.
	PerMinute    int // of one address, of new keys and of what is refused, each; 0: 60
	AllPerMinute int // new keys, of all addresses; 0: 6,000
	KeyPerMinute int // of one key; 0: 30

	HideAgentKeys bool // serves no keys of single agents, which tell who is an agent
}

// ProviderPaths are where the endpoints are, below the prefix that they are
// registered with. A zero field is the usual path.
type ProviderPaths struct {
	Enroll   string // /enrol
	Refresh  string // /refresh
	Rekey    string // /rekey
	SubAgent string // /subagent
	JWKS     string // /jwks.json
	Agents   string // /agents, below which the keys of single agents are
	AdminAPI string // /api/aauth/agents
	Prefix   string // under which the routes are registered, for the URLs in the metadata; "": the path of the host's URL
}

// About describes a server to people, in its metadata. Empty fields are left out.
type About struct {
	Name, Description                              string // Description in Markdown
	LogoURI, LogoDarkURI                           string
	DocumentationURI, TermsOfServiceURI, PolicyURI string
}

const (
	defaultTokenLife = time.Hour
	minTokenLife     = 5 * time.Minute
)

// A Provider is an agent provider (AAuth Bootstrap): it enrols agents by the
// public keys that they prove to have and gives them short-lived agent tokens.
// It is safe for concurrent use, by any number of processes on one store.
type Provider struct {
	host       keywright.Host
	issuer     string
	domain     string
	base       string // URL of the routes, without a slash at its end
	keys       *SigningKeys
	admission  Admission
	admin      keywright.Authenticator
	permission string
	life       time.Duration
	about      About
	paths      ProviderPaths
	hideAgents bool
	verifier   *Verifier
	policies   providerPolicies
	callers    callers
	secrets    *EnrollmentSecrets // that the admin API manages
}

// NewProvider checks c. It does no I/O. Call [SigningKeys.Sync] on its Keys when
// the server starts.
func NewProvider(c ProviderConfig) (*Provider, error) {
	p := &Provider{
		host: c.Host, issuer: c.Issuer, keys: c.Keys, admission: c.Admission, admin: c.Admin, permission: c.Permission,
		life: c.Limits.TokenLife, about: c.About, paths: c.Paths.withDefaults(), hideAgents: c.Limits.HideAgentKeys,
		secrets: &EnrollmentSecrets{c.Host},
	}
	switch {
	case c.Host.Store == nil || c.Host.URL == nil:
		return nil, errors.New("agentauth: ProviderConfig.Host, with a URL, is required")
	case c.Keys == nil:
		return nil, errors.New("agentauth: ProviderConfig.Keys is required")
	}
	if p.issuer == "" {
		p.issuer = originOf(c.Host.URL.String())
	}
	if err := checkServerID(p.issuer, c.Profile.Network.Development); err != nil {
		return nil, fmt.Errorf("agentauth: ProviderConfig.Issuer: %w", err)
	}
	p.domain = domainOf(p.issuer)
	p.base = baseURL(p.issuer, c.Paths.Prefix, c.Host.URL)
	p.life = cmp.Or(p.life, defaultTokenLife)
	if err := checkTokenLife(p.life); err != nil {
		return nil, fmt.Errorf("agentauth: ProviderConfig.Limits.TokenLife: %w", err)
	}
	if p.admission == nil {
		p.admission = nobody
	}
	var err error
	if p.callers, err = newCallers(c.Host.Hooks.Now, c.Limits); err != nil {
		return nil, fmt.Errorf("agentauth: ProviderConfig.Limits: %w", err)
	}
	p.verifier, err = NewVerifier(VerifierConfig{
		Host: c.Host, Profile: c.Profile, Providers: []*Provider{p},
	})
	if err != nil {
		return nil, err
	}
	p.policies, err = newProviderPolicies()
	return p, err
}

// Issuer returns the identifier of the provider.
func (p *Provider) Issuer() string { return p.issuer }

// Register mounts the endpoints on mux: the metadata at the root, the others below
// prefix.
func (p *Provider) Register(mux *http.ServeMux, prefix string) {
	routes := p.Routes()
	keywright.Register(mux, "", routes[0])
	keywright.Register(mux, prefix, routes[1:]...)
}

// providerPolicies are those of the endpoints. What they admit is written in one
// Commit with the marker of the request.
type providerPolicies struct{ enroll, refresh, rekey, subAgent, poll policy }

func newProviderPolicies() (providerPolicies, error) {
	var ps providerPolicies
	for _, f := range []struct {
		to     *policy
		policy Policy
	}{
		{&ps.enroll, Policy{Schemes: []Scheme{SchemeHWK}, Pseudonyms: true, CoverBody: true, Replay: ReplayAll, MaxBody: maxEndpointBody}},
		{&ps.refresh, Policy{Schemes: []Scheme{SchemeHWK, SchemeJKTJWT}, Pseudonyms: true, CoverBody: true, Replay: ReplayAll, MaxBody: maxEndpointBody}},
		{&ps.rekey, Policy{Schemes: []Scheme{SchemeJKTJWT}, Pseudonyms: true, CoverBody: true, Replay: ReplayAll, MaxBody: maxEndpointBody}},
		{&ps.subAgent, Policy{Schemes: []Scheme{SchemeJWT}, CoverBody: true, Replay: ReplayAll, MaxBody: maxEndpointBody}},
		{&ps.poll, Policy{Schemes: []Scheme{SchemeHWK}, Pseudonyms: true, Replay: ReplayAll, MaxBody: maxEndpointBody}},
	} {
		c, err := f.policy.compile()
		if err != nil {
			return ps, err
		}
		c.deferred = true
		*f.to = c
	}
	return ps, nil
}

func (paths ProviderPaths) withDefaults() ProviderPaths {
	for _, f := range []struct {
		to    *string
		usual string
	}{
		{&paths.Enroll, "/enrol"}, {&paths.Refresh, "/refresh"}, {&paths.Rekey, "/rekey"}, {&paths.SubAgent, "/subagent"}, {&paths.JWKS, "/jwks.json"},
		{&paths.Agents, "/agents"}, {&paths.AdminAPI, "/api/aauth/agents"},
	} {
		if *f.to == "" {
			*f.to = f.usual
		}
	}
	return paths
}

func orDefault(n, usual int) int {
	if n == 0 {
		return usual
	}
	return n
}

// baseURL is where the routes of a server are that are registered under prefix, or
// under the path of the host's URL: without a slash at its end.
func baseURL(issuer, prefix string, host *url.URL) string {
	if prefix == "" {
		prefix = host.EscapedPath()
	}
	return strings.TrimRight(issuer+"/"+strings.Trim(prefix, "/"), "/")
}

func originOf(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
