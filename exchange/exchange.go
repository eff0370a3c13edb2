// Package exchange trades a CI job's OpenID Connect identity token for an API
// key that lives for minutes, so that no secret is stored in CI.
//
// [Handler] is a token endpoint (RFC 8693) with its metadata (RFC 8414) and
// revocation (RFC 7009). Whom it trusts is data: each [Publisher] says what a
// job's token must claim and which principal the job acts as. Posit Connect's
// "rsconnect login SERVER --identity-token-file FILE" works unmodified, and so
// does anything that can post a form:
//
//	curl https://example.com/oauth/v1/token \
//	    -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange \
//	    -d subject_token_type=urn:ietf:params:oauth:token-type:id_token \
//	    --data-urlencode subject_token@token.jwt
//
// A token works once. One Commit writes the marker of its use, the key and the
// audit event, so that of any number of posts to any number of replicas one
// obtains a key, and a post that is refused burns nothing. Keys hang on their
// publisher and on its issuer: disabling or deleting either ends them at once.
//
// RFC 8693 wants invalid_request where the subject token is not accepted; the
// clients that exist read invalid_grant, as other grants have it, and tell the
// causes apart by words in the description. They win: see docs/exchange.md.
//
// [Client] is the other side, for jobs written in Go. Package exchangetest
// issues tokens for a host's own tests. [Explain] tells why a token does not
// match.
package exchange

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/internal/oidc"
)

// Config configures a [Handler]. Host, with a URL, is required.
type Config struct {
	Host keywright.Host

	// Audience is the aud that identity tokens must have, and no other beside
	// it; empty: the host's URL. Give each deployment its own, never a
	// provider's default, which other servers accept too.
	Audience string

	// KeyKind is the kind of the keys, one of keywright.HostConfig.Kinds;
	// empty: "ci".
	KeyKind string

	// Publishers are those of the configuration. Others are stored through the
	// admin API or [Handler.Create]. Without any, nothing is trusted.
	Publishers []Publisher

	// Issuers says more about some of the publishers' issuers, where the
	// defaults do not fit.
	Issuers []Issuer

	// Network says where keys of issuers may be fetched from.
	Network Network

	// Account reports whether the account exists, and may sign in so, that a
	// publisher with a SubjectClaim has found: p.Issuer and p.Subject name it,
	// p.Claims are the token's. It runs before the key exists, perhaps several
	// times. An error is trouble, not a no. Required for such publishers.
	Account func(ctx context.Context, p keywright.Principal) (exists bool, err error)

	// Admin authenticates the callers of the admin API; nil: there is none.
	// Do not let the keys that this package issues in.
	Admin keywright.Authenticator

	// Failures limits how often one address may fail.
	Failures FailureLimit
}

// An Issuer is how tokens of one issuer are verified.
type Issuer struct {
	URL         string        // the claim iss
	Algorithms  []string      // RS256, ES256 or EdDSA; none: RS256 alone
	JWKS        []byte        // its keys, a JWK Set, for hosts that cannot reach it: nothing is fetched then
	JWKSURL     string        // where its keys are; empty: its discovery document tells
	MaxLifetime time.Duration // of a token; 0: 24 hours
}

// A Network is where keys may be fetched from: over https, from public
// addresses, whatever a name resolves to at that moment.
type Network struct {
	AllowNetworks []netip.Prefix // private networks that may be reached as well
	RootCAs       *x509.CertPool // nil: the system's

	// InsecureLoopback allows plain http to this machine, for development.
	InsecureLoopback bool
}

// A FailureLimit slows down an address, or the 64 bits of an IPv6 network, whose
// requests are refused. Those that succeed do not count, but wait too while the
// budget is used up. Behind a proxy all clients have one address unless the
// host's middleware calls keywright.WithRemoteAddr.
type FailureLimit struct {
	Burst     int // refusals at once; 0: 100; negative: no limit
	PerMinute int // refusals after that; 0: 60
}

// A Handler serves the endpoints. It is safe for concurrent use, by any number
// of processes on one store.
type Handler struct {
	host     keywright.Host
	base     string // the host's URL without a slash at its end
	audience string
	kind     string
	issuers  *oidc.Issuers
	registry *registry
	account  func(ctx context.Context, p keywright.Principal) (bool, error)
	admin    keywright.Authenticator
	failures *limit.Failures // nil: no limit
}

// New checks c. It does no I/O.
func New(c Config) (*Handler, error) {
	if c.Host.Store == nil || c.Host.Keys == nil {
		return nil, errors.New("exchange: Config.Host is required, made by keywright.NewHost")
	}
	switch {
	case c.Host.URL == nil:
		return nil, errors.New("exchange: Config.Host has no URL: metadata cannot name the endpoints without it")
	case c.Host.URL.Scheme != "https" && !apicall.IsLoopback(c.Host.URL.Hostname()):
		return nil, fmt.Errorf("exchange: Config.Host: the URL %s must be https: tokens and keys travel there (RFC 8414, section 2)", c.Host.URL)
	}
	h := &Handler{host: c.Host, base: strings.TrimSuffix(c.Host.URL.String(), "/"), audience: c.Audience, kind: c.KeyKind, account: c.Account, admin: c.Admin}
	if h.audience == "" {
		h.audience = h.base
	}
	if h.kind == "" {
		h.kind = "ci"
	}
	switch {
	case !c.Host.Keys.Has(h.kind):
		return nil, fmt.Errorf("exchange: Config.KeyKind: the host has no kind of keys named %q", h.kind)
	case !printable(h.audience) || len(h.audience) > maxValue:
		return nil, fmt.Errorf("exchange: Config.Audience: want up to %d bytes without control characters", maxValue)
	case isCommonAudience(h.audience):
		return nil, fmt.Errorf("exchange: Config.Audience: %s is what tokens have that are for anybody: use this server's URL", h.audience)
	}
	if err := h.trust(c); err != nil {
		return nil, fmt.Errorf("exchange: Config.%w", err)
	}
	var err error
	if h.failures, err = limit.Configured(c.Host.Hooks.Now, c.Failures.Burst, c.Failures.PerMinute, 100, 60); err != nil {
		return nil, fmt.Errorf("exchange: Config.Failures.%w", err)
	}
	return h, nil
}

// trust sets up the issuers and the publishers of the configuration.
func (h *Handler) trust(c Config) error {
	client, err := egress.New(egress.Config{AllowNetworks: c.Network.AllowNetworks, InsecureLoopback: c.Network.InsecureLoopback, RootCAs: c.Network.RootCAs})
	if err != nil {
		return fmt.Errorf("Network: %w", err)
	}
	settings := make(map[string]oidc.Settings, len(c.Issuers))
	for _, i := range c.Issuers {
		if _, twice := settings[i.URL]; twice {
			return fmt.Errorf("Issuers: %s twice", clip(i.URL))
		}
		settings[i.URL] = oidc.Settings{Algorithms: i.Algorithms, JWKS: i.JWKS, JWKSURL: i.JWKSURL, MaxLifetime: i.MaxLifetime}
	}
	if h.issuers, err = oidc.NewIssuers(client, h.host.Hooks.Now, settings, h.rejectedKey); err != nil {
		return fmt.Errorf("Issuers: %w", err)
	}
	if h.registry, err = newRegistry(h.host, h.issuers, h.audience, c.Account != nil, c.Publishers); err != nil {
		return fmt.Errorf("Publishers: %w", err)
	}
	return nil
}

// rejectedKey is told of keys that issuers publish and that cannot be used.
func (h *Handler) rejectedKey(issuer string, err error) {
	h.host.Hooks.Logger.Info("exchange: a published key is not used", "issuer", issuer, "reason", err)
}

// Routes returns the endpoints below the mount for routers other than ServeMux.
// See [Handler.WellKnown] for the one that stands outside.
func (h *Handler) Routes() []keywright.Route {
	token := h.tokenEndpoint()
	routes := []keywright.Route{
		{Pattern: TokenPath, Handler: token},
		{Pattern: CredentialsPath, Handler: token},
		{Pattern: RevokePath, Handler: h.revokeEndpoint()},
		{Pattern: MetadataPath, Handler: http.HandlerFunc(h.serveMetadata)},
	}
	if h.admin != nil {
		routes = append(routes, h.adminRoutes()...)
	}
	return routes
}

// WellKnown returns the metadata endpoint of RFC 8414, section 3.1, which puts
// the well-known path before that of the host's URL. It stands at the root of
// the server, not below the mount. ok is false when the URL has no path, since
// Routes has it then.
func (h *Handler) WellKnown() (route keywright.Route, ok bool) {
	path := strings.TrimSuffix(h.host.URL.Path, "/")
	return keywright.Route{Pattern: MetadataPath + path, Handler: http.HandlerFunc(h.serveMetadata)}, path != ""
}

// Register mounts the endpoints on mux below prefix: "" or a path such as
// "/connect", which the host's URL has too.
func (h *Handler) Register(mux *http.ServeMux, prefix string) {
	keywright.Register(mux, prefix, h.Routes()...)
	if route, ok := h.WellKnown(); ok {
		keywright.Register(mux, "", route)
	}
}
