package keywright

import (
	"crypto/subtle"
	"net/http"
)

// A CookieGuard keeps pages of other sites from acting with the cookie session
// of a host's administrator. The zero value is ready for use, and safe for
// concurrent use.
type CookieGuard struct {
	// Cookie names the cookie that holds the CSRF token; "": csrf_token. The
	// host sets it, to a random value, so that its pages can read it. Where all
	// is https, a name that begins with __Host- keeps other hosts of the same
	// domain from setting it too.
	Cookie string

	// Header names the field in which the page repeats the token; "": X-CSRF-Token.
	Header string

	// Origins has the origins and paths that are excepted from the check for
	// requests across origins, though not from that of the token; nil: none.
	// Behind a proxy that changes Host, add the origin that browsers see.
	Origins *http.CrossOriginProtection

	// Hooks are told of what the guard itself refuses: those of the Host.
	Hooks Hooks
}

// Guard returns an Authenticator that accepts what a, the host's own for
// sessions, accepts, unless a page of another site may have sent it. Errors of a,
// [ErrNoCredential] too, are returned as they are, and if a is a [Challenger],
// its challenge is kept.
//
// Requests other than GET, HEAD and OPTIONS are refused with
// [CodeInsufficientScope] where the browser says that they come from another
// origin, and unless the token stands in exactly one cookie and, the same, in
// exactly one field. Clients that are no browser pass the first check, not the
// second. So guard only what goes by cookies: keys need none of it.
func (g CookieGuard) Guard(a Authenticator) Authenticator {
	if g.Cookie == "" {
		g.Cookie = "csrf_token"
	}
	if g.Header == "" {
		g.Header = "X-CSRF-Token"
	}
	if g.Origins == nil {
		g.Origins = new(http.CrossOriginProtection)
	}
	g.Hooks = g.Hooks.WithDefaults()
	return guarded{g, a}
}

// guarded is an Authenticator with a guard that has no zero fields.
type guarded struct {
	guard    CookieGuard
	sessions Authenticator
}

func (g guarded) Authenticate(r *http.Request) (Principal, error) {
	p, err := g.sessions.Authenticate(r)
	if err != nil {
		return p, err
	}
	if err := g.guard.check(r); err != nil {
		g.guard.Hooks.refused(r.Context(), "session.refused", err, requestAddr(r))
		return Principal{}, err
	}
	return p, nil
}

// Challenge is that of the sessions, or "".
func (g guarded) Challenge() string {
	if c, ok := g.sessions.(Challenger); ok {
		return c.Challenge()
	}
	return ""
}

func (g CookieGuard) check(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	if err := g.Origins.Check(r); err != nil {
		return &Error{Code: CodeInsufficientScope, Detail: "cross-origin request", Err: err}
	}
	var cookieTokens []string
	for _, c := range r.CookiesNamed(g.Cookie) {
		cookieTokens = append(cookieTokens, c.Value)
	}
	fieldTokens := r.Header.Values(g.Header)
	switch {
	case blank(cookieTokens) || blank(fieldTokens):
		return Errorf(CodeInsufficientScope, "CSRF token missing")
	case len(cookieTokens) > 1 || len(fieldTokens) > 1: // one of them may be the work of another host of the domain
		return Errorf(CodeInsufficientScope, "CSRF token invalid")
	case subtle.ConstantTimeCompare([]byte(cookieTokens[0]), []byte(fieldTokens[0])) != 1:
		return Errorf(CodeInsufficientScope, "CSRF token invalid")
	}
	return nil
}

// blank reports whether values has nothing, or nothing but the empty string.
func blank(values []string) bool { return len(values) == 0 || len(values) == 1 && values[0] == "" }
