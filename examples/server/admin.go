package main

import (
	"errors"
	"net/http"
	"slices"

	"github.com/keywright/keywright"
)

// administrators are the holders of admin keys, who have every permission, and
// those who have logged in.
type administrators struct {
	keys     keywright.Authenticator
	sessions keywright.Authenticator // nil: nobody logs in
}

func newAdministrators(host keywright.Host, s *sessions) administrators {
	a := administrators{keys: permitted{host.Keys.Of("admin")}}
	if s != nil {
		a.sessions = keywright.CookieGuard{Hooks: host.Hooks}.Guard(s)
	}
	return a
}

// Challenge names what is not a cookie.
func (administrators) Challenge() string { return "Bearer" }

// Authenticate is that of keywright.Require, with ChallengeCtl's text for
// requests that have no credential.
func (a administrators) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := a.keys.Authenticate(r)
	if a.sessions == nil {
		return p, err
	}
	session, sessionErr := a.sessions.Authenticate(r)
	noKey, noCookie := errors.Is(err, keywright.ErrNoCredential), errors.Is(sessionErr, keywright.ErrNoCredential)
	switch {
	case noKey && noCookie:
		return keywright.Principal{}, noSession("Missing or invalid session")
	case noKey:
		return session, sessionErr
	case noCookie:
		return p, err
	}
	return keywright.Principal{}, keywright.Errorf(keywright.CodeInvalidRequest, "more than one credential")
}

// permitted gives the permissions to those who hold the scope "admin".
type permitted struct{ keywright.Authenticator }

func (a permitted) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := a.Authenticator.Authenticate(r)
	if p.HasScope("admin") {
		p.Scopes = append(slices.Clip(p.Scopes), manageKeys)
	}
	return p, err
}
