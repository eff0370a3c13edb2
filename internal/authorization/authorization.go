// Package authorization reads the Authorization header field of a request
// (RFC 9110, sections 11.4 and 11.6.2), in the form that machine credentials
// use: one scheme and one token68.
package authorization

import (
	"errors"
	"net/http"
	"strings"
)

// What can be wrong with the field. None of them holds any of its text.
var (
	ErrAbsent    = errors.New("no Authorization header")
	ErrMultiple  = errors.New("more than one credential in the Authorization header")
	ErrMalformed = errors.New("malformed Authorization header")
)

// maxLen bounds what is looked at; no credential of ours is longer.
const maxLen = 9 << 10

// Parse returns the scheme, as it was spelled, and the token68 of the one
// Authorization field in h. Compare schemes with [Is].
//
// Two fields, or a comma, which only a list has, are ErrMultiple. The scheme is
// separated from the token by one or more spaces and by nothing else. When the
// token is missing or is not a token68, Parse returns the scheme and
// ErrMalformed, so that a caller can tell whether the field was meant for it.
func Parse(h http.Header) (scheme, token string, err error) {
	fields := h["Authorization"]
	switch {
	case len(fields) == 0:
		return "", "", ErrAbsent
	case len(fields) > 1:
		return "", "", ErrMultiple
	case len(fields[0]) > maxLen:
		return "", "", ErrMalformed
	}
	scheme, rest, found := strings.Cut(fields[0], " ")
	if !isToken(scheme) {
		return "", "", ErrMalformed
	}
	token = strings.TrimLeft(rest, " ")
	switch {
	case found && isToken68(token):
		return scheme, token, nil
	case strings.Contains(token, ","):
		return scheme, "", ErrMultiple
	}
	return scheme, "", ErrMalformed
}

// Is reports whether scheme names want, without regard to case (RFC 9110, 11.1).
func Is(scheme, want string) bool { return strings.EqualFold(scheme, want) }

// isToken68 reports whether s is 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=".
func isToken68(s string) bool { return isMadeOf(&token68, strings.TrimRight(s, "=")) }

// isToken reports whether s is a token (RFC 9110, 5.6.2).
func isToken(s string) bool { return isMadeOf(&tchar, s) }

// A charset says of each byte whether it belongs. Every request with a key is
// looked at byte by byte, and a table takes half the time of comparisons.
type charset [256]bool

var (
	token68 = newCharset("-._~+/")
	tchar   = newCharset("!#$%&'*+-.^_`|~")
)

// newCharset returns the letters and digits of ASCII, and extra.
func newCharset(extra string) (c charset) {
	const alnum = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for _, b := range []byte(alnum + extra) {
		c[b] = true
	}
	return c
}

func isMadeOf(c *charset, s string) bool {
	for i := range len(s) {
		if !c[s[i]] {
			return false
		}
	}
	return s != ""
}
