// Package provisioning lets automation enrol machines without an
// administrator's credentials.
//
// An administrator makes a provisioning key, which can do one thing: obtain the
// credentials of a new runner. They are an enrolment token and an API key, bound
// to each other and to the runner's id, in a configuration file that is ready to
// be used. The runner presents both once, and from then on its API key works:
//
//	prov, err := provisioning.New(provisioning.Config{Host: host, Admin: host.Keys.Of("admin")})
//	...
//	prov.Register(mux, "")
//	mux.Handle("POST /heartbeat", keywright.Text.Require(prov.Authenticator())(heartbeat))
//
// That admits any runner: where a path names one, compare it with the Subject of
// the Principal.
//
// The host needs a URL, and the Kinds "provisioning", "runner" and "enrollment",
// for example with the prefixes ck_prov, ck_runner and ck_enroll. The wire is
// that of ChallengeCtl: its scripts and runners work unchanged. [Client] is the
// other side for programs in Go.
//
// Disabling or deleting a provisioning key ends what it has made and nobody has
// used yet; rotating it does not. A runner that is enrolled lives on: ending it
// is a call of its own.
package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/limit"
)

// The kinds of API keys that the host's Kinds must have.
const (
	KeyKind    = "provisioning" // of provisioning keys
	RunnerKind = "runner"       // of the keys of runners
)

// Config configures a [Handler]. Host, with a URL, is required.
type Config struct {
	Host keywright.Host

	// Admin authenticates the callers of the admin API; nil: there is none.
	// Keys that this package issues are never let in. For a host with cookie
	// sessions see [keywright.CookieGuard].
	Admin keywright.Authenticator

	// Permission is the scope that callers of the admin API need to see or
	// change provisioning keys, such as "create_provisioning_key"; empty:
	// whoever Admin lets in may.
	Permission string

	// ServerURLs are further addresses of this server, beside the host's URL,
	// that a provision request may name as that of its runner.
	ServerURLs []string

	Limits Limits

	// Render makes the configuration file of a runner, in place of
	// [ChallengeCtl]. What it returns is sent as config_yaml.
	Render func(ctx context.Context, p Provisioned, r ProvisionRequest) (string, error)

	// Binding says what a request by a runner's key counts for that comes from
	// another machine than the one that was enrolled.
	Binding Binding

	// Failures limits how often one address may fail.
	Failures FailureLimit

	// DetectClones locks a runner with a key pair of its own when two parties
	// use it: see [Handler.Refresh]. Its runners must keep the number that each
	// refresh gives. A locked runner is not enabled again but re-enrolled, with
	// a new key pair: see [Handler.ReEnroll].
	DetectClones bool
}

// Limits are those of all provisioning keys.
type Limits struct {
	Lifetime    time.Duration // of an enrolment token, unless the request says; 0: 24 hours
	MaxLifetime time.Duration // that a request may ask for; 0: 30 days
	PerHour     int           // provision requests by one key, unless its settings say; 0: 100
	RunnerKey   time.Duration // life of a runner's key, which its holder must rotate; 0: no end
	Overlap     time.Duration // for which a rotated key still works, a runner's once the new one was used; 0: an hour
}

// A FailureLimit slows down an address, or the 64 bits of an IPv6 network, that
// comes with credentials that are not accepted: beyond the limit they are
// answered with 429. Good ones are never held up by it. Behind a proxy all
// clients have one address unless the host uses [keywright.TrustProxies].
type FailureLimit struct {
	Burst     int // refusals at once; 0: 100; negative: no limit
	PerMinute int // refusals after that; 0: 60
}

// A Handler serves the endpoints. It is safe for concurrent use, by any number
// of processes on one store.
type Handler struct {
	host       keywright.Host
	base       string   // the host's URL without a slash at its end
	servers    []string // that runners may be sent to, the host's first
	admin      keywright.Authenticator
	permission string
	limits     Limits
	render     func(ctx context.Context, p Provisioned, r ProvisionRequest) (string, error)
	binding    Binding
	failures   *limit.Failures // nil: no limit
	clones     bool            // are looked for
}

// New checks c. It does no I/O.
func New(c Config) (*Handler, error) {
	if c.Host.Store == nil || c.Host.Keys == nil {
		return nil, errors.New("provisioning: Config.Host is required, made by keywright.NewHost")
	}
	if c.Host.URL == nil {
		return nil, errors.New("provisioning: Config.Host has no URL: runners could not be told where the server is")
	}
	for _, kind := range []string{KeyKind, RunnerKind, TokenKind} {
		if !c.Host.Keys.Has(kind) {
			return nil, fmt.Errorf("provisioning: Config.Host has no kind of keys named %q", kind)
		}
	}
	base, err := serverURL(c.Host.URL.String())
	if err != nil {
		return nil, fmt.Errorf("provisioning: Config.Host.URL: %w", err)
	}
	h := &Handler{
		host: c.Host, base: base, permission: c.Permission, limits: c.Limits,
		render: c.Render, binding: c.Binding, clones: c.DetectClones,
	}
	if c.Admin != nil {
		h.admin = notIssued{c.Admin, c.Host.Hooks}
	}
	if h.render == nil {
		h.render = ChallengeCtl
	}
	if err := h.limits.setDefaults(); err != nil {
		return nil, err
	}
	if h.binding < BindOff || h.binding > Bind {
		return nil, fmt.Errorf("provisioning: Config.Binding: there is no %d", h.binding)
	}
	h.servers = []string{h.base}
	for _, s := range c.ServerURLs {
		u, err := serverURL(s)
		if err != nil {
			return nil, fmt.Errorf("provisioning: Config.ServerURLs: %q: %w", s, err)
		}
		h.servers = append(h.servers, u)
	}
	if h.failures, err = limit.Configured(h.host.Hooks.Now, c.Failures.Burst, c.Failures.PerMinute, 100, 60); err != nil {
		return nil, fmt.Errorf("provisioning: Config.Failures.%w", err)
	}
	return h, nil
}

// maxLife keeps every expiry within what a store can hold.
const maxLife = 100 * 365 * 24 * time.Hour

func (l *Limits) setDefaults() error {
	l.Lifetime = orDefault(l.Lifetime, 24*time.Hour)
	l.MaxLifetime = orDefault(l.MaxLifetime, max(30*24*time.Hour, l.Lifetime))
	l.PerHour = orDefault(l.PerHour, 100)
	l.Overlap = orDefault(l.Overlap, time.Hour)
	switch {
	case l.Lifetime < 0 || l.Lifetime > l.MaxLifetime:
		return errors.New("provisioning: Config.Limits.Lifetime: want 0 to MaxLifetime")
	case l.MaxLifetime < 0 || l.MaxLifetime > maxLife:
		return errors.New("provisioning: Config.Limits.MaxLifetime: want 0 to 100 years")
	case l.PerHour < 0:
		return errors.New("provisioning: Config.Limits.PerHour is negative")
	case l.RunnerKey < 0 || l.RunnerKey > maxLife:
		return errors.New("provisioning: Config.Limits.RunnerKey: want 0 to 100 years")
	case l.Overlap < 0 || l.Overlap > maxLife:
		return errors.New("provisioning: Config.Limits.Overlap: want 0 to 100 years")
	}
	return nil
}

func orDefault[T int | time.Duration](n, zero T) T {
	if n == 0 {
		return zero
	}
	return n
}

// serverURL returns u as it is written to runners and compared.
func serverURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "",
		u.User != nil || strings.ContainsAny(text, "?#") || !printable(text) || len(text) > 255:
		return "", errors.New("want http(s)://host[:port][/prefix]")
	}
	u.Host = strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	return strings.TrimSuffix(u.String(), "/"), nil
}

// Routes returns the endpoints for routers other than ServeMux.
func (h *Handler) Routes() []keywright.Route {
	routes := h.runnerRoutes()
	if h.admin != nil {
		routes = append(routes, h.keyRoutes()...)
		routes = append(routes, h.enrollmentRoutes()...)
		routes = append(routes, h.adminRunnerRoutes()...)
	}
	return routes
}

// Register mounts the endpoints on mux below prefix: "" or a path such as
// "/connect", which the host's URL has too.
func (h *Handler) Register(mux *http.ServeMux, prefix string) {
	keywright.Register(mux, prefix, h.Routes()...)
}
