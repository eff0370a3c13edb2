package apptoken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/authorization"
)

// A ZeroTouch lets super users of the host's configuration in who have no token
// yet: a person or a script by name and password, a service principal by the
// identity token of its OpenID Connect provider. It is how an installation gets
// its first token without anybody clicking.
//
// Whoever knows such a password has everything, so keep it short: turn it off
// once it has served, or set OneShot.
//
// While it has Passwords, Basic credentials are for it alone: a request that
// Config.Callers take as well has two.
type ZeroTouch struct {
	// Enabled is the feature flag. While it is false nothing else here counts:
	// nobody is asked for Basic credentials, and they and identity tokens are
	// left unread to Config.Callers, without which they are refused.
	Enabled bool

	// Passwords verifies names and passwords (RFC 7617); nil: there are none.
	Passwords PasswordVerifier

	// Label is what the audit calls a login by password: "Basic", "LDAP" or
	// another name in letters; empty: "Basic".
	Label string

	// ServiceAccounts are super users by identity token; none: there are none.
	ServiceAccounts []ServiceAccount

	// Audience is the aud that identity tokens must have, and no other beside
	// it; empty: the host's URL. Never a provider's default, which other
	// servers accept too.
	Audience string

	// Network says how the keys of the issuers of identity tokens are come by.
	Network Network

	// Networks are those that super users may call from; none: all. The
	// client's address is the one of keywright.RemoteAddr.
	Networks []netip.Prefix

	// OneShot closes all this once a super user has made a token, for all
	// processes on one store, until [Handler.ReopenZeroTouch].
	OneShot bool

	// MaxLifetime of tokens that are made by password, and of each of those
	// that are made by such tokens, while Enabled and after it; 0: 365 days.
	MaxLifetime time.Duration

	// Guesses limits how often passwords may be wrong.
	Guesses GuessLimit
}

// A PasswordVerifier knows the super users that have passwords.
type PasswordVerifier interface {
	// VerifyPassword returns the name by which the super user acts. That it is
	// none is an *keywright.Error of CodeInvalidToken, whose Err and Attrs say
	// why, for the audit; any other error is trouble. No error may hold the
	// password. An unknown name takes as long as a wrong password.
	VerifyPassword(ctx context.Context, username, password string) (subject string, err error)
}

const defaultMaxLifetime = 365 * 24 * time.Hour

// Further Attrs of a super user's Principal, where it came by identity token.
const (
	attrIdentity = "identity" // the ID of the marker that a mint by this token leaves
	attrToken    = "token"    // SHA-256 of what its issuer has signed, in hexadecimal
	attrSub      = "sub"      // of whom its issuer speaks
)

const (
	methodBasic = "Basic"
	methodOIDC  = "OIDC"
)

// The audit events of super users.
const (
	eventSuperUser        = "apptoken.super_user"
	eventSuperUserRefused = "apptoken.super_user_refused"
)

// zeroTouch authenticates super users. It is safe for concurrent use.
type zeroTouch struct {
	host        keywright.Host
	enabled     bool
	passwords   PasswordVerifier // nil: none
	label       string
	realm       string
	accounts    *serviceAccounts // nil: none
	networks    []netip.Prefix
	oneShot     bool
	maxLifetime time.Duration
	guesses     *guesses
}

// newZeroTouch checks c, unless it is off: what is wrong in it must not keep
// anybody from turning it off. It does no I/O.
func newZeroTouch(host keywright.Host, c ZeroTouch) (*zeroTouch, error) {
	if !c.Enabled {
		z := &zeroTouch{host: host, guesses: new(guesses), maxLifetime: c.MaxLifetime}
		if z.maxLifetime <= 0 {
			z.maxLifetime = defaultMaxLifetime
		}
		return z, nil
	}
	z := &zeroTouch{
		host: host, enabled: true, passwords: c.Passwords, label: c.Label,
		networks: slices.Clone(c.Networks), oneShot: c.OneShot, maxLifetime: c.MaxLifetime,
	}
	if z.label == "" {
		z.label = methodBasic
	}
	if z.maxLifetime == 0 {
		z.maxLifetime = defaultMaxLifetime
	}
	if err := z.check(c); err != nil {
		return nil, err
	}
	z.realm = host.URL.Hostname()
	var err error
	if z.guesses, err = newGuesses(host.Hooks.Now, c.Guesses); err != nil {
		return nil, fmt.Errorf("apptoken: Config.ZeroTouch.Guesses: %w", err)
	}
	if len(c.ServiceAccounts) > 0 {
		if z.accounts, err = newServiceAccounts(host, c); err != nil {
			return nil, err
		}
	}
	return z, nil
}

func (z *zeroTouch) check(c ZeroTouch) error {
	notLetter := func(r rune) bool { return r|' ' < 'a' || r|' ' > 'z' }
	notRealm := func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }
	switch {
	case c.Passwords == nil && len(c.ServiceAccounts) == 0:
		return errors.New("apptoken: Config.ZeroTouch: is enabled, but has neither Passwords nor ServiceAccounts")
	case z.host.URL == nil:
		return errors.New("apptoken: Config.ZeroTouch: Config.Host has no URL, which names the realm and the audience")
	case strings.ContainsFunc(z.host.URL.Hostname(), notRealm):
		return fmt.Errorf("apptoken: Config.ZeroTouch: the host name %q of Config.Host.URL cannot be a realm", z.host.URL.Hostname())
	case len(z.label) > 32 || strings.ContainsFunc(z.label, notLetter):
		return errors.New("apptoken: Config.ZeroTouch.Label: want up to 32 letters")
	case z.label == methodOIDC:
		return errors.New("apptoken: Config.ZeroTouch.Label: OIDC is that of service accounts")
	case c.MaxLifetime < 0:
		return errors.New("apptoken: Config.ZeroTouch.MaxLifetime: is negative")
	}
	for _, n := range c.Networks {
		if !n.IsValid() || n.Addr().Is4In6() {
			return fmt.Errorf("apptoken: Config.ZeroTouch.Networks: %v: want a network, and IPv4 ones as such", n)
		}
	}
	return nil
}

// Challenge is the value for WWW-Authenticate (RFC 7617, section 2); "" where
// no password is accepted, so that nobody is asked for one.
func (z *zeroTouch) Challenge() string {
	if z.passwords == nil {
		return ""
	}
	return `Basic realm="` + z.realm + `", charset="UTF-8"`
}

// Authenticate accepts Basic credentials and identity tokens. It leaves alone
// what is neither, and identity tokens where there are no service accounts.
func (z *zeroTouch) Authenticate(r *http.Request) (keywright.Principal, error) {
	ctx := keywright.WithRequestAddr(r)
	p, err := z.authenticate(ctx, r)
	switch {
	case errors.Is(err, keywright.ErrNoCredential):
		return keywright.Principal{}, keywright.ErrNoCredential
	case err != nil:
		z.host.Hooks.Refused(ctx, eventSuperUserRefused, err)
		return keywright.Principal{}, err
	}
	facts := map[string]string{"user": asFact(p.Subject)}
	for _, name := range []string{attrAuthMethod, attrSub, attrToken} {
		if v := p.Attrs[name]; v != "" {
			facts[name] = asFact(v)
		}
	}
	if p.Issuer != "" {
		facts["issuer"] = asFact(p.Issuer)
	}
	z.host.Hooks.Audit(ctx, keywright.Event{Time: z.host.Hooks.Now(), Name: eventSuperUser, Actor: p.Credential, Remote: keywright.RemoteAddr(ctx), Attrs: facts})
	return p, nil
}

func (z *zeroTouch) authenticate(ctx context.Context, r *http.Request) (keywright.Principal, error) {
	if z.passwords != nil && hasBasic(r.Header) {
		return z.basic(ctx, r)
	}
	scheme, text, err := authorization.Parse(r.Header)
	if z.accounts != nil && err == nil && authorization.Is(scheme, "Bearer") && isJWT(text) {
		return z.bearer(ctx, r, text)
	}
	return keywright.Principal{}, keywright.ErrNoCredential
}

// guard makes the checks that need not know whose credential it is.
func (z *zeroTouch) guard(ctx context.Context, r *http.Request, scheme string) error {
	facts := map[string]string{attrAuthMethod: scheme}
	if len(r.Header["X-Api-Key"]) > 0 || r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "more than one credential", Attrs: facts}
	}
	if !keywright.Secure(r) {
		return &keywright.Error{
			Code: keywright.CodeInsufficientScope, Detail: "super users are let in only over TLS",
			Err: errInsecure, Attrs: facts,
		}
	}
	addr := keywright.RemoteAddr(ctx)
	if wait := z.guesses.wait(addr, ""); wait > 0 {
		return tooManyGuesses(wait, facts)
	}
	if !z.mayCallFrom(addr) {
		return z.refuse(addr, "", errOutside, facts)
	}
	return nil
}

func (z *zeroTouch) mayCallFrom(addr string) bool {
	if len(z.networks) == 0 {
		return true
	}
	ip, err := netip.ParseAddr(addr)
	return err == nil && slices.ContainsFunc(z.networks, func(n netip.Prefix) bool { return n.Contains(ip.Unmap().WithZone("")) })
}

// superUser is the Principal of whoever was let in.
func superUser(method, issuer, name string) keywright.Principal {
	return keywright.Principal{
		Method: keywright.MethodProvisioning, Issuer: issuer, Subject: name, Scopes: Scopes(),
		Credential: strings.ToLower(method) + ":" + name,
		Attrs:      map[string]string{attrSuperUser: "true", attrAuthMethod: method},
	}
}
