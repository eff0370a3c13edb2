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
	"reflect"
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
// twice or a member that Req does not have. A member that is null counts as
// absent.
func JSON[Req any](r *http.Request) (Req, error) {
	body, err := read(r, "application/json")
	if err != nil {
		var none Req
		return none, err
	}
	return decode[Req](body, false)
}

// AnyJSON is like JSON for bodies that are JSON whatever type they are said to
// have, as curl's -d sends them. Use it where no browser can be made to send
// the request: a form of another site has that type too.
func AnyJSON[Req any](r *http.Request) (Req, error) {
	body, err := read(r, "")
	if err != nil {
		var none Req
		return none, err
	}
	return decode[Req](body, false)
}

// LooseJSON is like AnyJSON and passes over members that Req does not have, for
// clients that are newer than the server.
func LooseJSON[Req any](r *http.Request) (Req, error) {
	body, err := read(r, "")
	if err != nil {
		var none Req
		return none, err
	}
	return decode[Req](body, true)
}

// ParseLoose is LooseJSON for a body that has been read.
func ParseLoose[Req any](body []byte) (Req, error) { return decode[Req](body, true) }

func decode[Req any](body []byte, passOver bool) (Req, error) {
	var req Req
	if len(bytes.TrimSpace(body)) == 0 {
		return req, keywright.Errorf(keywright.CodeInvalidRequest, "Missing request body")
	}
	members, err := strictjson.Object(body)
	if err != nil {
		return req, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "the body is not one JSON object: " + strings.TrimPrefix(err.Error(), "strictjson: ")}
	}
	// encoding/json would take "ID" for "id", and the latter of the two.
	kept := make(map[string]json.RawMessage, members.Len())
	for name := range members.Names() {
		if !strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			kept[name], _ = members.Raw(name)
		} else if !passOver {
			return req, keywright.Errorf(keywright.CodeInvalidRequest, "unknown field %q", clip(name))
		}
	}
	if passOver {
		if body, err = json.Marshal(kept); err != nil {
			return req, keywright.Wrap(keywright.CodeInternal, err)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if !passOver {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(&req); err != nil {
		return req, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: mismatch(err)}
	}
	return req, nil
}

// mismatch says in JSON's words what encoding/json says in Go's.
func mismatch(err error) string {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || e.Field == "" {
		return strings.TrimPrefix(err.Error(), "json: ")
	}
	// A number comes with its text, which says whether it is too large.
	got := strings.TrimSpace(strings.TrimPrefix(e.Value, "number"))
	if got == "" || len(got) > 20 {
		got, _, _ = strings.Cut(e.Value, " ")
	}
	return fmt.Sprintf("%s: want %s, got %s", e.Field, wanted(e.Type), got)
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wanted(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// ReadBody reads a body of any media type.
func ReadBody(r *http.Request) ([]byte, error) { return read(r, "") }

// read reads a body of the media type want, or of any if that is empty.
func read(r *http.Request, want string) ([]byte, error) {
	if want != "" {
		if err := checkType(r, want); err != nil {
			return nil, err
		}
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

func checkType(r *http.Request, want string) error {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || media != want || charset != "" && !strings.EqualFold(charset, "utf-8") || len(r.Header["Content-Type"]) > 1 {
		return keywright.Errorf(keywright.CodeInvalidRequest, "the body must be of type %s", want)
	}
	return nil
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
