package keywright

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// An Authenticator finds out who sent a request, from one kind of credential.
type Authenticator interface {
	// Authenticate returns ErrNoCredential when the request carries no
	// credential of this kind, and any other error, an [*Error] for choice,
	// when it carries one that is not accepted. It does not change r, but may
	// put in place of r.Body, which it has read, another that reads the same.
	Authenticate(r *http.Request) (Principal, error)
}

// A Challenger is an Authenticator that tells how to be satisfied.
type Challenger interface {
	Challenge() string // the value for WWW-Authenticate (RFC 9110, 11.6.1), such as "Bearer"
}

// A FieldChallenger is an Authenticator that tells how to be satisfied in
// fields other than WWW-Authenticate.
type FieldChallenger interface {
	ChallengeFields() http.Header // which the caller must not modify
}

// ErrNoCredential is how an Authenticator, the host's own too, says "not
// mine". The search goes on with the next one; any other error ends it.
var ErrNoCredential = errors.New("keywright: no credential of this kind")

// Require admits the requests that one of auths recognises and accepts, and
// puts the Principal where [FromContext] finds it. All others are refused with
// a problem document: 401 without a good credential, 400 with two. Without
// auths it refuses everything.
func Require(auths ...Authenticator) func(http.Handler) http.Handler {
	return Problem.Require(auths...)
}

// Require is like the function [Require], with errors in dialect d.
func (d Dialect) Require(auths ...Authenticator) func(http.Handler) http.Handler {
	accepted := newAnyOf(auths)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := accepted.Authenticate(r)
			if err != nil {
				d.WriteError(w, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), p)))
		})
	}
}

// RequireScope admits the callers, admitted by [Require] before, that hold all
// of scopes, and refuses others with 403. Without a Principal it refuses with 401.
func RequireScope(scopes ...string) func(http.Handler) http.Handler {
	return Problem.RequireScope(scopes...)
}

// RequireScope is like the function [RequireScope], with errors in dialect d.
func (d Dialect) RequireScope(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := checkScopes(r, scopes); err != nil {
				d.WriteError(w, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func checkScopes(r *http.Request, scopes []string) error {
	p, ok := FromContext(r.Context())
	if !ok {
		return &Error{Code: CodeInvalidToken, Header: challenge([]string{"Bearer"}), Err: ErrNoCredential}
	}
	for _, s := range scopes {
		if !p.HasScope(s) {
			return Errorf(CodeInsufficientScope, "missing scope: %s", s)
		}
	}
	return nil
}

// AnyOf makes one Authenticator of several: it accepts what exactly one of them
// recognises and accepts, as [Require] does, for code that takes one. Those that
// read API keys of one host count as one. Without auths it refuses everything.
func AnyOf(auths ...Authenticator) Authenticator { return newAnyOf(auths) }

// anyOf accepts what exactly one of its members accepts.
type anyOf []Authenticator

// newAnyOf makes one Authenticator of those that read API keys of one host:
// as several, each would take the others' keys for keys of the wrong kind.
func newAnyOf(auths []Authenticator) anyOf {
	var merged anyOf
	for _, a := range flat(auths) {
		b, ok := a.(keyAuthenticator)
		i := slices.IndexFunc(merged, func(m Authenticator) bool {
			c, isKeys := m.(keyAuthenticator)
			return ok && isKeys && c.keys == b.keys
		})
		if i < 0 {
			merged = append(merged, a)
			continue
		}
		first := merged[i].(keyAuthenticator)
		merged[i] = keyAuthenticator{first.keys, slices.Concat(first.kinds, b.kinds)}
	}
	return merged
}

// flat takes apart what AnyOf has put together.
func flat(auths []Authenticator) []Authenticator {
	var all []Authenticator
	for _, a := range auths {
		if several, ok := a.(anyOf); ok {
			all = append(all, several...)
		} else {
			all = append(all, a)
		}
	}
	return all
}

func (auths anyOf) Authenticate(r *http.Request) (Principal, error) {
	var found Principal
	recognised := 0
	for _, a := range auths {
		p, err := a.Authenticate(r)
		if errors.Is(err, ErrNoCredential) {
			continue
		}
		if recognised++; recognised > 1 {
			return Principal{}, Errorf(CodeInvalidRequest, "more than one credential")
		}
		if err != nil {
			return Principal{}, err
		}
		found = p
	}
	if recognised == 0 {
		return Principal{}, &Error{Code: CodeInvalidToken, Header: auths.challenge(), Err: ErrNoCredential}
	}
	return found, nil
}

func (auths anyOf) challenge() http.Header {
	fields := auths.ChallengeFields()
	if text := auths.Challenge(); text != "" {
		maps.Copy(fields, challenge([]string{text}))
	}
	return fields
}

// ChallengeFields are those of all of them, each field from the first that has it.
func (auths anyOf) ChallengeFields() http.Header {
	fields := make(http.Header)
	for _, a := range slices.Backward(auths) {
		if c, ok := a.(FieldChallenger); ok {
			maps.Copy(fields, c.ChallengeFields())
		}
	}
	return fields
}

// Challenge is that of all of them.
func (auths anyOf) Challenge() string {
	var schemes []string
	for _, a := range auths {
		if c, ok := a.(Challenger); ok && c.Challenge() != "" {
			schemes = append(schemes, c.Challenge())
		}
	}
	return strings.Join(schemes, ", ")
}
