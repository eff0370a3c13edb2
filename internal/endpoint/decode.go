package endpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/strictjson"
)

// MaxBody is how many bytes of a body are read.
const MaxBody = 64 << 10

// Empty is the request of a function that wants nothing of the body.
type Empty struct{}

// Nothing decodes an Empty.
func Nothing(*http.Request) (Empty, error) { return Empty{}, nil }

// Form reads a body of type application/x-www-form-urlencoded, and only that:
// parameters in the URL are none (RFC 6749, section 3.2). A parameter without a
// value counts as absent. Those in repeatable may come more than once; others
// may not.
func Form(r *http.Request, repeatable ...string) (url.Values, error) {
	body, err := read(r, "application/x-www-form-urlencoded")
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, "the body is not a form")
	}
	for name, values := range form {
		if len(values) > 1 && !slices.Contains(repeatable, name) {
			return nil, keywright.Errorf(keywright.CodeInvalidRequest, "parameter %q more than once", clip(name))
		}
	}
	for name, values := range form {
		form[name] = nonEmpty(values)
	}
	return form, nil
}

func nonEmpty(values []string) []string {
	kept := values[:0]
	for _, v := range values {
		if v != "" {
			kept = append(kept, v)
		}
	}
	return kept
}

// JSON reads a body of type application/json: one object without a member
// twice or a member that Req does not have.
func JSON[Req any](r *http.Request) (Req, error) {
	var req Req
	body, err := read(r, "application/json")
	if err != nil {
		return req, err
	}
	members, err := strictjson.Object(body)
	if err != nil {
		return req, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "the body is not one JSON object: " + strings.TrimPrefix(err.Error(), "strictjson: ")}
	}
	// encoding/json would take "ID" for "id", and the latter of the two.
	for name := range members.Names() {
		if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			return req, keywright.Errorf(keywright.CodeInvalidRequest, "unknown field %q", clip(name))
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&req); err != nil {
		return req, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: strings.TrimPrefix(err.Error(), "json: ")}
	}
	return req, nil
}

func read(r *http.Request, want string) ([]byte, error) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || media != want || charset != "" && !strings.EqualFold(charset, "utf-8") || len(r.Header["Content-Type"]) > 1 {
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, "the body must be of type %s", want)
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, "the body must not be compressed")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, keywright.Errorf(keywright.CodeTooLarge, "the body is larger than %d bytes", MaxBody)
	}
	if err != nil {
		return nil, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "the body did not arrive whole", Err: err}
	}
	return body, nil
}

// Segment returns the segment of r's path that the "{name}" of pattern stands
// for, unescaped. A handler does not know its prefix, so both are compared from
// the end.
func Segment(r *http.Request, pattern, name string) (string, error) {
	wild := strings.Split(pattern, "/")
	path := strings.Split(r.URL.EscapedPath(), "/")
	for i := range min(len(wild), len(path)) {
		if wild[len(wild)-1-i] == "{"+name+"}" {
			return url.PathUnescape(path[len(path)-1-i])
		}
	}
	return "", fmt.Errorf("endpoint: pattern %s has no %s in %d segments", pattern, name, len(path))
}

// clip keeps a hostile name from filling a log line.
func clip(name string) string {
	const most = 40
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}
