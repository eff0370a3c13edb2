package keywright

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

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
	AAuth                  // RFC 9457 with the member "error", and "type" for signatures alone, as AAuth's clients read it
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
	case AAuth:
		h.Set("Content-Type", "application/problem+json")
		body = aauthError{Type: problemType(e.Code, ""), Title: facts[e.Code].title, Status: status, Error: e.Code, Detail: e.public()}
	default:
		h.Set("Content-Type", "application/problem+json")
		body = problem{Type: problemType(e.Code, "about:blank"), Title: http.StatusText(status), Status: status, Detail: e.public(), Code: e.Code}
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) // the client may be gone: nothing to do about it
}

// problemType is what HTTP Signature Keys registers for c, or else other.
func problemType(c Code, other string) string {
	if c.ofSignature() {
		return "urn:ietf:params:sig-error:" + string(c)
	}
	return other
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

type aauthError struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Error  Code   `json:"error"`
	Detail string `json:"detail"`
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
