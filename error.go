package keywright

import (
	"errors"
	"fmt"
	"net/http"
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

	// Of signed requests: HTTP Signature Keys, section "Signature-Error".
	CodeInvalidSignature     Code = "invalid_signature"     // of the request: absent, malformed, too old, used before or wrong
	CodeInvalidInput         Code = "invalid_input"         // the signature does not cover what it must, or covers what it must not
	CodeInvalidKey           Code = "invalid_key"           // a key that is malformed or not trusted
	CodeUnknownKey           Code = "unknown_key"           // the issuer has no key of this id
	CodeIssuerMissing        Code = "issuer_missing"        // the issuer's metadata do not name it
	CodeIssuerMismatch       Code = "issuer_mismatch"       // the issuer's metadata name another
	CodeInvalidJWT           Code = "invalid_jwt"           // the token inside the signature's key
	CodeExpiredJWT           Code = "expired_jwt"           // that token was good once
	CodeRevokedJWT           Code = "revoked_jwt"           // that token was withdrawn
	CodeClockSkew            Code = "clock_skew"            // the caller's clock is ahead
	CodeUnsupportedAlgorithm Code = "unsupported_algorithm" // of the key: absent, or not done here
	CodeUnsupportedScheme    Code = "unsupported_scheme"    // of the key: unknown, or not accepted here

	// Of agent providers and resources: AAuth.
	CodeDenied         Code = "denied"          // the caller is known to nobody here, or not welcome
	CodeAgentIDInUse   Code = "agent_id_in_use" // by an agent with another key
	CodeUndecided      Code = "expired"         // nobody decided in time
	CodeAnswered       Code = "invalid_code"    // the answer has been given before
	CodeSlowDown       Code = "slow_down"       // polls that come too often; Retry-After says when to try again
	CodeUnsupportedIss Code = "unsupported_iss" // an issuer whose tokens are not taken here
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
	CodeInvalidSignature:     {http.StatusUnauthorized, "The signature is not valid", 30, "invalid_client"},
	CodeInvalidInput:         {http.StatusUnauthorized, "The signature does not cover what it must", 30, "invalid_client"},
	CodeInvalidKey:           {http.StatusUnauthorized, "The key is not valid", 30, "invalid_client"},
	CodeUnknownKey:           {http.StatusUnauthorized, "The key is not known", 30, "invalid_client"},
	CodeIssuerMissing:        {http.StatusUnauthorized, "The metadata of the issuer have no issuer", 30, "invalid_client"},
	CodeIssuerMismatch:       {http.StatusUnauthorized, "The metadata of the issuer name another", 30, "invalid_client"},
	CodeInvalidJWT:           {http.StatusUnauthorized, "The token is not valid", 30, "invalid_client"},
	CodeExpiredJWT:           {http.StatusUnauthorized, "The token has expired", 30, "invalid_client"},
	CodeRevokedJWT:           {http.StatusUnauthorized, "The token was revoked", 30, "invalid_client"},
	CodeClockSkew:            {http.StatusUnauthorized, "The clock of the caller is ahead", 30, "invalid_client"},
	CodeUnsupportedAlgorithm: {http.StatusUnauthorized, "The algorithm is not supported", 30, "invalid_client"},
	CodeUnsupportedScheme:    {http.StatusUnauthorized, "The signature key scheme is not supported here", 30, "invalid_client"},
	CodeDenied:               {http.StatusForbidden, "Denied", 22, "access_denied"},
	CodeAgentIDInUse:         {http.StatusConflict, "The agent identifier is in use", 0, "invalid_request"},
	CodeUndecided:            {http.StatusRequestTimeout, "Nobody decided in time", 0, "invalid_request"},
	CodeAnswered:             {http.StatusGone, "The answer has been given before", 0, "invalid_request"},
	CodeSlowDown:             {http.StatusTooManyRequests, "Too many polls", 0, ""},
	CodeUnsupportedIss:       {http.StatusForbidden, "Tokens of this issuer are not taken here", 22, "access_denied"},
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

// ofSignature reports whether c is a code of the field Signature-Error.
func (c Code) ofSignature() bool {
	switch c {
	case CodeInvalidSignature, CodeInvalidInput, CodeInvalidKey, CodeUnknownKey, CodeIssuerMissing, CodeIssuerMismatch,
		CodeInvalidJWT, CodeExpiredJWT, CodeRevokedJWT, CodeClockSkew, CodeUnsupportedAlgorithm, CodeUnsupportedScheme:
		return true
	}
	return false
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
