package endpoint

import (
	"bufio"
	"io"
	"net/http"

	"github.com/keywright/keywright/internal/authorization"
)

// ByItself reports whether no page of another site can have made a browser send
// the request: by itself it sends neither a key nor the field of a CSRF token,
// unlike cookies and a password.
func ByItself(r *http.Request) bool {
	scheme, _, _ := authorization.Parse(r.Header)
	return authorization.Is(scheme, "Bearer") || authorization.Is(scheme, "Key") || len(r.Header["X-Csrf-Token"]) > 0
}

// AdminJSON reads JSON for an API of administrators: of any declared type
// [ByItself], and else of application/json, which a form of another site is not.
func AdminJSON[Req any](r *http.Request) (Req, error) {
	if ByItself(r) {
		return AnyJSON[Req](r)
	}
	return JSON[Req](r)
}

// OptionalJSON is AdminJSON where no body at all is one without members.
func OptionalJSON[Req any](r *http.Request) (Req, error) {
	body := bufio.NewReader(r.Body)
	if _, err := body.Peek(1); err == io.EOF {
		var none Req
		return none, nil
	}
	r2 := *r
	r2.Body = io.NopCloser(body)
	return AdminJSON[Req](&r2)
}
