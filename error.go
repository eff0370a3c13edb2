package keywright

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// A Code names a class of failure. It decides the HTTP status and travels to
// the client, so the strings never change.
type Code string

// The codes.
const (
	CodeInvalidRequest    Code = "invalid_request"    // the caller must change the request
	CodeInvalidToken      Code = "invalid_token"      // no credential, or one that is not accepted, whatever the cause
	CodeInsufficientScope Code = "insufficient_scope" // a good credential that may not do this
	CodeBootstrapComplete Code = "bootstrap_complete" // the installation has its first admin key
	CodeNotFound          Code = "not_found"
	CodeMethodNotAllowed  Code = "method_not_allowed"
	CodeConflict          Code = "conflict"     // the thing is not in the state that the request needs
	CodeTooLarge          Code = "too_large"    // more bytes than are read
	CodeRateLimited       Code = "rate_limited" // too many requests, or too many that failed; Retry-After says when to try again
	CodeInternal          Code = "server_error" // a defect of this program or of a hook of the host
	CodeUnavailable       Code = "unavailable"  // the store, or another server, is in trouble; the same request may succeed later

	// Of OAuth's token endpoints: RFC 6749, section 5.2, RFC 8693, section
	// 2.2.2, and RFC 7009, section 2.2.1.
	CodeInvalidGrant         Code = "invalid_grant"          // the token that was presented is not accepted, whatever the cause
	CodeUnsupportedGrantType Code = "unsupported_grant_type" // another grant than the endpoint has
	CodeInvalidScope         Code = "invalid_scope"          // none of the scopes asked for can be had
	CodeInvalidTarget        Code = "invalid_target"         // none of the audiences or resources asked for can be had
	CodeUnsupportedTokenType Code = "unsupported_token_type" // a token that this endpoint does not revoke
)

// facts is THE table: what each code means on the wire.
var facts = map[Code]struct {
	status  int
	title   string // RFC 9457 title, and the public text where an Error has no Detail
	connect int    // the number that Posit Connect's clients act on; 0 where they have none
	oauth   string // the name that OAuth has for it; empty: the code itself
}{
	CodeInvalidRequest:       {http.StatusBadRequest, "The request is not valid", 0, ""},
	CodeInvalidToken:         {http.StatusUnauthorized, "No valid credential", 30, "invalid_client"},
	CodeInsufficientScope:    {http.StatusForbidden, "The credential may not do this", 22, "access_denied"},
	CodeBootstrapComplete:    {http.StatusForbidden, "The first admin key has been issued already", 22, "access_denied"},
	CodeNotFound:             {http.StatusNotFound, "Not found", 4, "invalid_request"},
	CodeMethodNotAllowed:     {http.StatusMethodNotAllowed, "Method not allowed", 0, "invalid_request"},
	CodeConflict:             {http.StatusConflict, "The state does not allow this", 0, "invalid_request"},
	CodeTooLarge:             {http.StatusRequestEntityTooLarge, "The request is too large", 0, "invalid_request"},
	CodeRateLimited:          {http.StatusTooManyRequests, "Too many requests", 0, "temporarily_unavailable"},
	CodeInternal:             {http.StatusInternalServerError, "Internal error", 0, ""},
	CodeUnavailable:          {http.StatusServiceUnavailable, "Temporarily unavailable", 0, "temporarily_unavailable"},
	CodeInvalidGrant:         {http.StatusBadRequest, "The token is not accepted", 0, ""},
	CodeUnsupportedGrantType: {http.StatusBadRequest, "The grant type is not supported", 0, ""},
	CodeInvalidScope:         {http.StatusBadRequest, "The scope is not granted", 0, ""},
	CodeInvalidTarget:        {http.StatusBadRequest, "The target is not granted", 0, ""},
	CodeUnsupportedTokenType: {http.StatusBadRequest, "Tokens of this kind are not revoked here", 0, ""},
}

// Status is the HTTP status of c; an unknown code is a defect and gives 500.
func (c Code) Status() int {
	if f, ok := facts[c]; ok {
		return f.status
	}
	return http.StatusInternalServerError
}

// An Error is a failure with a public and a private side.
type Error struct {
	Code   Code
	Detail string      // for the client; empty: the code's own text. Never a secret, never who exists
	Header http.Header // added to the answer, such as WWW-Authenticate
	Err    error       // the cause, for the log; never sent

	Attrs map[string]string // facts for the audit event; never sent
}

// Errorf makes an Error whose Detail is the formatted text.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error with a private cause and the code's own public text.
func Wrap(code Code, err error) *Error { return &Error{Code: code, Err: err} }

// Error is for logs: it includes the cause.
func (e *Error) Error() string {
	if e == nil {
		return string(CodeInternal)
	}
	s := string(e.Code)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause. A nil Error, which a host may have made by mistake,
// has none.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

func (e *Error) public() string {
	if e.Detail != "" {
		return e.Detail
	}
	return facts[e.Code].title
}

// AsError returns err's Error, or wraps err as an internal one.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e
	}
	return Wrap(CodeInternal, err)
}

// A Dialect is the form in which errors are written, chosen where a handler is
// mounted for the clients that mount has. The zero value is Problem.
type Dialect int

// The dialects.
const (
	Problem Dialect = iota // RFC 9457 application/problem+json, with the member "code"
	Connect                // Posit Connect: {"code":30,"error":"..."} as application/json
	OAuth                  // RFC 6749, section 5.2: {"error":"...","error_description":"..."}
	Text                   // {"error":"<text>","code":"..."} as application/json, as ChallengeCtl's runners and scripts read it
	Quay                   // RFC 9457 with the members of Quay's API: error_type, error_message, message
)

// WriteError writes err as an RFC 9457 problem document. See [Dialect.WriteError].
func WriteError(w http.ResponseWriter, err error) { Problem.WriteError(w, err) }

// WriteError answers with err's status, headers and public side, and forbids
// caching it. An err that is no [*Error] is an internal one: nothing of it is sent.
func (d Dialect) WriteError(w http.ResponseWriter, err error) {
	e := AsError(err)
	status := e.Code.Status()
	h := w.Header()
	maps.Copy(h, e.Header)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length")

	var body any
	switch d {
	case Connect:
		h.Set("Content-Type", "application/json")
		body = connectError{Code: facts[e.Code].connect, Error: e.public()}
	case OAuth:
		h.Set("Content-Type", "application/json")
		h.Set("Pragma", "no-cache")
		body = oauthError{Error: e.Code.oauth(), Description: describable(e.public())}
	case Text:
		h.Set("Content-Type", "application/json")
		body = textError{Error: e.public(), Code: e.Code}
	case Quay:
		h.Set("Content-Type", "application/problem+json")
		body = quayError{
			Detail: e.public(), ErrorMessage: e.public(), ErrorType: e.Code, Title: e.Code,
			Type: "/api/v1/error/" + string(e.Code), Status: status, Message: e.public(),
		}
	default:
		h.Set("Content-Type", "application/problem+json")
		body = problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.public(), Code: e.Code}
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // the client may be gone: nothing to do about it
}

// problem is RFC 9457; type about:blank means that title is the status text.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   Code   `json:"code"`
}

type connectError struct {
	Code    int    `json:"code"`
	Error   string `json:"error"`
	Payload any    `json:"payload"` // always null
}

// oauthError has its members in the order of RFC 6749.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

type textError struct {
	Error string `json:"error"`
	Code  Code   `json:"code"`
}

// quayError has the members of Quay's problem objects, and the one of its
// other shape, so that a client of either finds the text.
type quayError struct {
	Detail       string `json:"detail"`
	ErrorMessage string `json:"error_message"`
	ErrorType    Code   `json:"error_type"`
	Title        Code   `json:"title"`
	Type         string `json:"type"`
	Status       int    `json:"status"`
	Message      string `json:"message"`
}

func (c Code) oauth() string {
	if name := facts[c].oauth; name != "" {
		return name
	}
	return string(c)
}

// describable leaves of s what an error_description may hold (RFC 6749,
// section 5.2: no quotation mark, no backslash, nothing but printable ASCII).
func describable(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\', r < ' ', r > '~':
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// challenge makes the header of a 401 from the schemes a route accepts.
func challenge(schemes []string) http.Header {
	return http.Header{"Www-Authenticate": {strings.Join(schemes, ", ")}}
}
