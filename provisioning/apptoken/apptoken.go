// Package apptoken hands out application tokens: API keys with scopes and an
// end, for the applications of an organisation, over the HTTP API that Quay has
// for them.
//
//	curl -H "Authorization: Bearer $KEY" https://quay.example/api/v1/organization/myorg/application/app123/tokens \
//	    -d '{"name": "ci-job", "expiration": "30d", "scopes": ["repo:read"]}'
//
// POST makes a token and shows it once, GET lists what there is without the
// secrets, newest first and in pages, and DELETE of .../tokens/ID ends one at
// once. The path may also have "applications", as Quay's documentation has it.
//
// Tokens are keys of the host: [keywright.Keys.Of] admits them to its routes,
// and [keywright.RequireScope] asks for their scopes, the implied ones
// included. A token is bound to the organisation it was made in, hangs on its
// application and on its own record, and outlives the account of whoever made
// it. What organisations and applications there are, and who may do what with
// them, is the host's to say: [Directory].
//
// First tokens, before there is any key, come from [ZeroTouch]. [Client] is the
// other side, and works with Quay as well.
package apptoken

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/limit"
)

// Config configures a [Handler]. Host, with a URL, and Directory are required.
type Config struct {
	Host keywright.Host

	// KeyKind is the kind of the tokens, one of keywright.HostConfig.Kinds,
	// which give their prefix; empty: "app". Issue no other keys of it.
	KeyKind string

	// Directory knows the organisations.
	Directory Directory

	// Callers recognises others than the holders of tokens, such as
	// Host.Keys.Of("admin"), or several by [keywright.AnyOf]; nil: nobody. What
	// goes by cookies needs a [keywright.CookieGuard].
	Callers keywright.Authenticator

	// Policy limits what tokens there may be.
	Policy Policy

	// ZeroTouch lets super users come by password or as a service account.
	ZeroTouch ZeroTouch

	// Rate is how many calls one caller has in an hour, all replicas counted
	// together; 0: no limit.
	Rate int

	// Failures limits how often one address may fail.
	Failures FailureLimit
}

// A Policy limits tokens. The zero value allows a year, and 30 days to those
// who do not ask.
type Policy struct {
	Default   time.Duration // life of a token where the request does not say; 0: 30 days, or Max if that is less
	Max       time.Duration // that a request may ask for; 0: 365 days, or Default if that is more
	Clamp     bool          // a request for more gets Max, as with Quay, rather than 400
	MaxTokens int           // that have not expired, of one application; 0: no limit

	// AllowNever lets a request ask for a token without an end. It works until
	// somebody notices that it has leaked: leave it off.
	AllowNever bool
}

// A FailureLimit slows down an address, or the 64 bits of an IPv6 network, whose
// requests come without a credential that is accepted. Good ones do not count,
// but wait too while the budget is used up, so that guesses cost next to
// nothing. Behind a proxy all clients have one address unless the host uses
// [keywright.TrustProxies].
type FailureLimit struct {
	Burst     int // refusals at once; 0: 100; negative: no limit
	PerMinute int // refusals after that; 0: 60
}

// A Handler serves the endpoints. It is safe for concurrent use, by any number
// of processes on one store.
type Handler struct {
	host      keywright.Host
	issuer    string // the host's URL without a slash at its end
	kind      string
	directory Directory
	callers   keywright.Authenticator
	policy    Policy
	zero      *zeroTouch
	window    limit.Window    // Max 0: no limit
	failures  *limit.Failures // nil: no limit
	ids       sequence
	turns     turns
}

// New checks c. It does no I/O.
func New(c Config) (*Handler, error) {
	if c.KeyKind == "" {
		c.KeyKind = "app"
	}
	switch {
	case c.Host.Store == nil || c.Host.Keys == nil:
		return nil, errors.New("apptoken: Config.Host is required, made by keywright.NewHost")
	case c.Host.URL == nil:
		return nil, errors.New("apptoken: Config.Host has no URL: it is who issues the tokens")
	case c.Host.URL.Scheme != "https" && !apicall.IsLoopback(c.Host.URL.Hostname()):
		return nil, fmt.Errorf("apptoken: Config.Host: the URL %s must be https: tokens travel there", c.Host.URL)
	case !c.Host.Keys.Has(c.KeyKind):
		return nil, fmt.Errorf("apptoken: Config.KeyKind: the host has no kind of keys named %q", c.KeyKind)
	case c.Directory == nil:
		return nil, errors.New("apptoken: Config.Directory is required: without it nobody may do anything")
	case c.Rate < 0:
		return nil, errors.New("apptoken: Config.Rate is negative")
	}
	h := &Handler{
		host: c.Host, issuer: strings.TrimSuffix(c.Host.URL.String(), "/"), kind: c.KeyKind, directory: c.Directory, policy: c.Policy,
		window: limit.Window{Store: c.Host.Store, Kind: KindWindow, Max: int64(c.Rate), Length: time.Hour}, turns: newTurns(),
	}
	if err := h.policy.setDefaults(); err != nil {
		return nil, err
	}
	var err error
	if h.zero, err = newZeroTouch(c.Host, c.ZeroTouch); err != nil {
		return nil, err
	}
	known := []keywright.Authenticator{c.Host.Keys.Of(h.kind), h.zero}
	if c.Callers != nil {
		known = append(known, c.Callers)
	}
	h.callers = keywright.AnyOf(known...)
	if h.failures, err = limit.Configured(h.host.Hooks.Now, c.Failures.Burst, c.Failures.PerMinute, 100, 60); err != nil {
		return nil, fmt.Errorf("apptoken: Config.Failures.%w", err)
	}
	return h, nil
}

// Routes returns the endpoints for routers other than ServeMux.
func (h *Handler) Routes() []keywright.Route {
	tokens, token := h.tokensEndpoint(), h.tokenEndpoint()
	return []keywright.Route{
		{Pattern: TokensPath, Handler: tokens},
		{Pattern: TokensPath + "/{token_id}", Handler: token},
		{Pattern: SingularTokensPath, Handler: tokens},
		{Pattern: SingularTokensPath + "/{token_id}", Handler: token},
	}
}

// Register mounts the endpoints on mux below prefix: "" or a path such as
// "/quay", which the host's URL has too.
func (h *Handler) Register(mux *http.ServeMux, prefix string) {
	keywright.Register(mux, prefix, h.Routes()...)
}
