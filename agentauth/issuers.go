package agentauth

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/egress"
)

// issuers finds the published keys of servers (AAuth, section "Discovery").
type issuers struct {
	client  *egress.Client
	now     func() time.Time
	trust   func(issuer string, role Role) bool
	keyHost func(issuer, jwksURI string) bool
	servers *egress.Pool // by issuer and role
	urls    *egress.Pool // of scheme jwks: whoever makes up many takes no room from servers
}

func newIssuers(c VerifierConfig) (*issuers, error) {
	client, err := c.Profile.Network.client()
	if err != nil {
		return nil, err
	}
	now := c.Host.Hooks.Now
	return &issuers{
		client: client, now: now, trust: c.Trust, keyHost: c.KeyHost,
		servers: egress.NewPool(now, maxIssuers), urls: egress.NewPool(now, maxIssuers),
	}, nil
}

// An untrustedError says that an issuer is not trusted in a role.
type untrustedError struct{ role Role }

func (e untrustedError) Error() string { return "agentauth: not trusted as " + string(e.role) }

// maxIssuers bounds the servers whose keys a process keeps, and the URLs.
const maxIssuers = 1000

// trusted returns the keys of an issuer, which it looks for only if that is
// trusted in the role.
func (s *issuers) trusted(issuer string, role Role) (issuerKeys, error) {
	if s.trust == nil || !s.trust(issuer, role) {
		return nil, refuse(keywright.CodeInvalidKey, "the issuer is not trusted here", untrustedError{role})
	}
	return s.keys(issuer, role)
}

func (s *issuers) keys(issuer string, role Role) (issuerKeys, error) {
	return s.pooled(s.servers, issuer+" "+string(role), func(ctx context.Context) (egress.Document, error) {
		meta, err := s.client.Metadata(ctx, issuer, string(role))
		if err != nil {
			return egress.Document{}, err
		}
		uri, err := meta.JWKSURI(func(u *url.URL) bool { return s.keyHost != nil && s.keyHost(issuer, u.String()) })
		if err != nil {
			return egress.Document{}, err
		}
		return s.client.JWKS(ctx, uri)
	})
}

// atURL returns the keys at a URL of scheme jwks, whose origin must be trusted as
// an agent provider.
func (s *issuers) atURL(url string) (issuerKeys, error) {
	if err := s.client.CheckURL(url); err != nil {
		return nil, refuse(keywright.CodeInvalidKey, "url may not be fetched", err)
	}
	if strings.Contains(url, "?") { // one document must not have any number of names
		return nil, refuse(keywright.CodeInvalidKey, "url has a query", nil)
	}
	if origin := originOf(url); s.trust == nil || !s.trust(origin, RoleAgentProvider) {
		return nil, refuse(keywright.CodeInvalidKey, "the issuer is not trusted here", nil)
	}
	return s.pooled(s.urls, url, func(ctx context.Context) (egress.Document, error) { return s.client.JWKS(ctx, url) })
}

func (s *issuers) pooled(pool *egress.Pool, name string, fetch func(context.Context) (egress.Document, error)) (issuerKeys, error) {
	set, err := pool.Get(name, func() *egress.KeySet {
		set := egress.NewKeySet(s.now, fetch)
		set.BackOff = true
		return set
	})
	if err != nil {
		return nil, refuse(keywright.CodeUnknownKey, "", err)
	}
	return set, nil
}
