package apptoken

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/authorization"
)

// Limits of what Basic credentials are looked at.
const (
	maxUserName = 255
	maxPassword = 1024
)

// hasBasic reports whether an Authorization field of h is meant for us.
func hasBasic(h http.Header) bool {
	for _, field := range h["Authorization"] {
		if scheme, _, _ := strings.Cut(field, " "); authorization.Is(scheme, "Basic") {
			return true
		}
	}
	return false
}

// unknown is why nobody knew the sender of r: for the audit.
func (z *zeroTouch) unknown(r *http.Request) error {
	switch {
	case hasBasic(r.Header) && !z.enabled:
		return errFlagOff
	case hasBasic(r.Header) && z.passwords == nil:
		return errNoPassword
	}
	return keywright.ErrNoCredential
}

// basic authenticates by name and password.
func (z *zeroTouch) basic(ctx context.Context, r *http.Request) (keywright.Principal, error) {
	if err := z.guard(ctx, r, z.label); err != nil {
		return keywright.Principal{}, err
	}
	addr, facts := keywright.RemoteAddr(ctx), map[string]string{attrAuthMethod: z.label}
	user, password, err := parseBasic(r.Header)
	switch {
	case errors.Is(err, authorization.ErrMultiple):
		return keywright.Principal{}, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "more than one credential", Err: err, Attrs: facts}
	case err != nil:
		return keywright.Principal{}, z.refuse(addr, "", err, facts)
	}
	facts["user"] = asFact(user)
	// Of guesses at once, only so many are verified as there is budget for.
	leave, err := z.guesses.enter(ctx, addr)
	if err != nil {
		return keywright.Principal{}, inTrouble(err, facts)
	}
	defer leave()
	if wait := z.guesses.wait(addr, user); wait > 0 {
		return keywright.Principal{}, tooManyGuesses(wait, facts)
	}
	switch closed, err := z.closed(ctx); {
	case err != nil:
		return keywright.Principal{}, inTrouble(err, facts)
	case closed:
		return keywright.Principal{}, z.refuse(addr, user, errClosed, facts)
	}
	return z.verify(ctx, user, password, facts)
}

func (z *zeroTouch) verify(ctx context.Context, user, password string, facts map[string]string) (keywright.Principal, error) {
	name, err := z.passwords.VerifyPassword(ctx, user, password)
	if e, ok := errors.AsType[*keywright.Error](err); ok && e.Code == keywright.CodeInvalidToken {
		all := maps.Clone(e.Attrs)
		if all == nil {
			all = make(map[string]string, len(facts))
		}
		maps.Copy(all, facts)
		cause := e.Err
		if cause == nil {
			cause = e
		}
		return keywright.Principal{}, z.refuse(keywright.RemoteAddr(ctx), user, cause, all)
	}
	if err == nil {
		err = checkUserName(name)
	}
	if ctx.Err() != nil {
		// Who hangs up before the answer has guessed all the same.
		z.guesses.fail(keywright.RemoteAddr(ctx), user)
	}
	if err != nil {
		return keywright.Principal{}, inTrouble(fmt.Errorf("apptoken: ZeroTouch.Passwords: %w", err), facts)
	}
	return superUser(z.label, "", name), nil
}

// parseBasic reads the one Authorization field, as strictly as RFC 7617 lets.
// An error holds nothing of it.
func parseBasic(h http.Header) (user, password string, err error) {
	_, text, err := authorization.Parse(h)
	if err != nil {
		return "", "", err
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return "", "", errNotBasic
	}
	user, password, _ = strings.Cut(string(pair), ":")
	// An empty password, too, is never passed on: a directory may take it for
	// a login by nobody, and say yes (RFC 4513, section 5.1.2).
	if checkUserName(user) != nil || password == "" || len(password) > maxPassword || !isPlainText(password) {
		return "", "", errBadText
	}
	return user, password, nil
}

// checkUserName says what a user's name may be: what RFC 7617 can carry.
func checkUserName(name string) error {
	if name == "" || len(name) > maxUserName || !isPlainText(name) || strings.Contains(name, ":") {
		return fmt.Errorf("want a name of 1 to %d bytes without colons and control characters", maxUserName)
	}
	return nil
}

func isPlainText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
