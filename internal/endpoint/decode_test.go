package endpoint_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// post makes a request with a body and the types that it is said to have.
func post(body io.Reader, types ...string) *http.Request {
	r := httptest.NewRequest("POST", "/?token=of-the-query", body)
	r.Header["Content-Type"] = types
	return r
}

// checkRefused wants a code, and a public text that says something and holds
// no line break.
func checkRefused(t *testing.T, name string, err error, code keywright.Code, text string) {
	t.Helper()
	e, ok := errors.AsType[*keywright.Error](err)
	if !ok || e.Code != code || !strings.Contains(e.Detail, text) || strings.ContainsAny(e.Detail, "\n\x1b") || len(e.Detail) > 300 {
		t.Errorf("%s: got %v, want %s with %q", name, err, code, text)
	}
}

// broken is a connection that ends in the middle.
type broken struct{ io.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func TestForm(t *testing.T) {
	pad := func(n int) string { return "a=" + strings.Repeat("x", n-2) }
	for _, tt := range []struct {
		name, body string
		want       url.Values // nil: refused
		text       string
	}{
		{"one", "a=b", url.Values{"a": {"b"}}, ""},
		{"nothing", "", url.Values{}, ""},
		{"escapes", "%61=%20%2B+", url.Values{"a": {" + "}}, ""},
		{"empty counts as absent", "a=&b", url.Values{"a": {}, "b": {}}, ""},
		{"repeatable", "r=1&r=2&s=3&s=", url.Values{"r": {"1", "2"}, "s": {"3"}}, ""},
		{"repeatable and empty", "r=&r=&r=1", url.Values{"r": {"1"}}, ""},
		{"twice", "a=1&a=1", nil, `"a" more than once`},
		{"twice, once escaped", "a=1&%61=1", nil, `"a" more than once`},
		{"twice, both empty", "a=&a=", nil, "more than once"},
		{"twice, with a line break", "a%0Ab=1&a%0Ab=1", nil, `"a\nb" more than once`},
		{"twice, long", strings.Repeat("n", 50) + "=1&" + strings.Repeat("n", 50) + "=1", nil, `"` + strings.Repeat("n", 40) + `..."`},
		{"40 bytes twice", strings.Repeat("n", 40) + "=1&" + strings.Repeat("n", 40) + "=1", nil, strings.Repeat("n", 40) + `"`},
		{"another case is another name", "a=1&A=2", url.Values{"a": {"1"}, "A": {"2"}}, ""},
		{"a bad escape", "a=b&c=%zz", nil, "not a form"},
		{"a bad escape in a name", "%z=1", nil, "not a form"},
		{"a semicolon", "a=1;b=2", nil, "not a form"},
		{"no text", "a=%ff", url.Values{"a": {"\xff"}}, ""},
		{"64 KiB", pad(endpoint.MaxBody), url.Values{"a": {strings.Repeat("x", endpoint.MaxBody-2)}}, ""},
	} {
		got, err := endpoint.Form(post(strings.NewReader(tt.body), formType), "r", "s")
		if tt.want == nil {
			checkRefused(t, tt.name, err, keywright.CodeInvalidRequest, tt.text)
			if got != nil {
				t.Errorf("%s: values beside an error", tt.name)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	_, err := endpoint.Form(post(strings.NewReader(pad(endpoint.MaxBody+1)), formType))
	checkRefused(t, "a byte more", err, keywright.CodeTooLarge, "65536")
	_, err = endpoint.Form(post(broken{strings.NewReader("a=b")}, formType))
	checkRefused(t, "broken off", err, keywright.CodeInvalidRequest, "did not arrive whole")
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken off: the cause of %v is lost", err)
	}
	_, err = endpoint.Form(post(strings.NewReader("r=1&r=2"), formType))
	checkRefused(t, "none repeatable", err, keywright.CodeInvalidRequest, "more than once")
}

func TestTypesOfBodies(t *testing.T) {
	for _, tt := range []struct {
		types  []string
		coding string
		ok     bool
	}{
		{[]string{formType}, "", true},
		{[]string{formType + ";charset=utf-8"}, "", true},
		{[]string{formType + `; charset="UTF-8"`}, "", true},
		{[]string{formType + "; charset="}, "", false},
		{[]string{"Application/X-WWW-Form-Urlencoded"}, "identity", true},
		{[]string{formType + "; charset=utf-16"}, "", false},
		{[]string{formType + "; charset=utf-8; charset=utf-16"}, "", false},
		{[]string{formType + "; charset"}, "", false},
		{[]string{formType, jsonType}, "", false},
		{[]string{formType + ", " + jsonType}, "", false},
		{[]string{"multipart/form-data; boundary=x"}, "", false},
		{[]string{jsonType}, "", false},
		{[]string{""}, "", false},
		{nil, "", false},
		{[]string{formType}, "gzip", false},
		{[]string{formType}, "IDENTITY", false},
	} {
		r := post(strings.NewReader("a=b"), tt.types...)
		if tt.coding != "" {
			r.Header.Set("Content-Encoding", tt.coding)
		}
		_, err := endpoint.Form(r)
		if (err == nil) != tt.ok {
			t.Errorf("%q, %q: got %v, want ok %v", tt.types, tt.coding, err, tt.ok)
		}
		if err != nil {
			checkRefused(t, strings.Join(tt.types, "|"), err, keywright.CodeInvalidRequest, "the body must ")
		}
	}
}

type request struct {
	Name  string   `json:"name"`
	List  []string `json:"list"`
	Count int      `json:"count"`
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       *request
		text       string
	}{
		{"an object", `{"name":"a","list":["b"]}`, &request{Name: "a", List: []string{"b"}}, ""},
		{"nothing in it", ` {} `, &request{}, ""},
		{"an unknown member", `{"nam":"a"}`, nil, "unknown field"},
		{"an unknown member with a line break", `{"a\nb":1}`, nil, "unknown field"},
		{"a member twice", `{"name":"a","name":"b"}`, nil, "not one JSON object"},
		{"another type", `{"name":1}`, nil, "name: want a string, got number"},
		{"another type, long", `{"name":1e999}`, nil, "name: want a string, got number"},
		{"another type within", `{"list":["a",{}]}`, nil, "list: want a string, got object"},
		{"no whole number", `{"count":1.5}`, nil, "count: want a whole number, got 1.5"},
		{"too large a number", `{"count":123456789012345678901234567890}`, nil, "count: want a whole number, got number"},
		{"another case", `{"Name":"a"}`, nil, `unknown field "Name"`},
		{"null is absent", `{"name":null}`, &request{}, ""},
		{"a list", `[]`, nil, "not one JSON object"},
		{"null", `null`, nil, "not one JSON object"},
		{"nothing", ``, nil, "Missing request body"},
		{"nothing but space", " \n", nil, "Missing request body"},
		{"two objects", `{}{}`, nil, "not one JSON object"},
		{"more behind", `{} x`, nil, "not one JSON object"},
		{"no UTF-8", "{\"name\":\"\xff\"}", nil, "not one JSON object"},
		{"a comment", `{/**/}`, nil, "not one JSON object"},
	} {
		got, err := endpoint.JSON[request](post(strings.NewReader(tt.body), jsonType))
		if tt.want == nil {
			checkRefused(t, tt.name, err, keywright.CodeInvalidRequest, tt.text)
			if e, _ := errors.AsType[*keywright.Error](err); strings.Contains(e.Detail, "json: ") {
				t.Errorf("%s: %q names a package", tt.name, e.Detail)
			}
			continue
		}
		if diff := cmp.Diff(*tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	_, err := endpoint.JSON[request](post(strings.NewReader(`{"name":"`+strings.Repeat("x", endpoint.MaxBody)+`"}`), jsonType))
	checkRefused(t, "too large", err, keywright.CodeTooLarge, "")
	_, err = endpoint.JSON[request](post(strings.NewReader("{}"), formType))
	checkRefused(t, "another type", err, keywright.CodeInvalidRequest, jsonType)
	if _, err := endpoint.Nothing(post(broken{strings.NewReader("")}, "x")); err != nil {
		t.Errorf("Nothing: %v", err)
	}
}

func TestAnyAndLooseJSON(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		any, loose *request // nil: refused
	}{
		{"known members", `{"name":"a"}`, &request{Name: "a"}, &request{Name: "a"}},
		{"an unknown member", `{"name":"a","new":{"deep":[1]}}`, nil, &request{Name: "a"}},
		{"another case is unknown", `{"Name":"b","name":"a","NAME":"c"}`, nil, &request{Name: "a"}},
		{"a member twice", `{"name":"a","name":"b"}`, nil, nil},
		{"an unknown member twice", `{"new":1,"new":2}`, nil, nil},
		{"another type", `{"name":1}`, nil, nil},
		{"a list", `[]`, nil, nil},
		{"nothing", ``, nil, nil},
	} {
		for _, types := range [][]string{{formType}, {jsonType}, nil} {
			for _, read := range []struct {
				name string
				f    func(*http.Request) (request, error)
				want *request
			}{{"AnyJSON", endpoint.AnyJSON[request], tt.any}, {"LooseJSON", endpoint.LooseJSON[request], tt.loose}} {
				got, err := read.f(post(strings.NewReader(tt.body), types...))
				if read.want == nil {
					checkRefused(t, tt.name+" "+read.name, err, keywright.CodeInvalidRequest, "")
					continue
				}
				if diff := cmp.Diff(*read.want, got); err != nil || diff != "" {
					t.Errorf("%s, %s as %q: %v (-want +got):\n%s", read.name, tt.name, types, err, diff)
				}
			}
		}
	}
	_, err := endpoint.LooseJSON[request](post(strings.NewReader(`{"name":"`+strings.Repeat("x", endpoint.MaxBody)+`"}`), formType))
	checkRefused(t, "too large", err, keywright.CodeTooLarge, "")
	_, err = endpoint.AnyJSON[request](post(strings.NewReader(`{"name":"`+strings.Repeat("x", endpoint.MaxBody)+`"}`), formType))
	checkRefused(t, "too large", err, keywright.CodeTooLarge, "")
}

type withHeader struct{}

func (withHeader) Header() http.Header { return http.Header{"Ratelimit": {"x"}} }

func TestHeaderOfAnAnswer(t *testing.T) {
	h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Hooks: keywright.Hooks{}.WithDefaults()}, endpoint.Nothing,
		func(context.Context, keywright.Principal, endpoint.Empty) (withHeader, error) {
			return withHeader{}, nil
		})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if w.Code != 200 || w.Header().Get("RateLimit") != "x" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
}

func TestSegment(t *testing.T) {
	for _, tt := range []struct{ path, pattern, name, want string }{
		{"/things/a", "/things/{id}", "id", "a"},
		{"/prefix/of/many/things/a", "/things/{id}", "id", "a"},
		{"/things/a/disable", "/things/{id}/disable", "id", "a"},
		{"/connect/things/a/parts/b", "/things/{id}/parts/{part}", "id", "a"},
		{"/connect/things/a/parts/b", "/things/{id}/parts/{part}", "part", "b"},
		{"/things/a%2Fb", "/things/{id}", "id", "a/b"},
		{"/things/a%252Fb", "/things/{id}", "id", "a%2Fb"},
		{"/things/%C3%A9", "/things/{id}", "id", "\u00e9"},
		{"/things/", "/things/{id}", "id", ""},
	} {
		got, err := endpoint.Segment(httptest.NewRequest("GET", tt.path, nil), tt.pattern, tt.name)
		if err != nil || got != tt.want {
			t.Errorf("%s of %s: got %q, %v, want %q", tt.name, tt.path, got, err, tt.want)
		}
	}
	for _, tt := range []struct{ path, pattern, name string }{
		{"/things/a", "/things/{id}", "other"}, {"/a", "/things/{id}/parts/x", "id"}, {"/things/a", "/things/x", "id"}, {"/things/a", "/things/{id}x", "id"},
	} {
		if got, err := endpoint.Segment(httptest.NewRequest("GET", tt.path, nil), tt.pattern, tt.name); err == nil {
			t.Errorf("%s of %s in %s: got %q, want an error", tt.name, tt.path, tt.pattern, got)
		}
	}
}

func TestMethods(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) })
	}
	h := endpoint.Methods(keywright.OAuth, map[string]http.Handler{"PUT": named("put"), "GET": named("get"), "DELETE": named("delete")})
	for _, tt := range []struct {
		method string
		status int
		body   string
	}{{"GET", 200, "get"}, {"PUT", 200, "put"}, {"DELETE", 200, "delete"}, {"POST", 405, ""}, {"HEAD", 405, ""}, {"get", 405, ""}, {"", 405, ""}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method = tt.method
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || tt.status == 200 && w.Body.String() != tt.body {
			t.Errorf("%s: got %d %s", tt.method, w.Code, w.Body)
		}
		if tt.status == 405 && (w.Header().Get("Allow") != "DELETE, GET, PUT" || !strings.Contains(w.Body.String(), `"error":"invalid_request"`)) {
			t.Errorf("%s: Allow %q, %s", tt.method, w.Header().Get("Allow"), w.Body)
		}
	}
}

func TestNoContentAndStatus(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		media  string
	}{{0, "{}\n", jsonType}, {201, "{}\n", jsonType}, {204, "", ""}} {
		h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Status: tt.status, Hooks: keywright.Hooks{}.WithDefaults()}, endpoint.Nothing, empty)
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", "/", nil)
		// A principal of the host's middleware is not one of this endpoint.
		h.ServeHTTP(w, r.WithContext(keywright.NewContext(r.Context(), keywright.Principal{Subject: "stranger"})))
		if want := max(tt.status, 200); w.Code != want || w.Body.String() != tt.body || w.Header().Get("Content-Type") != tt.media || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%d: got %d %q %v", tt.status, w.Code, w.Body, w.Header())
		}
	}
}

func TestRetry(t *testing.T) {
	cause := errors.New("cause")
	for _, tt := range []struct {
		name  string
		errs  []error // of the tries; after the last: none
		tries int
		want  error
		code  keywright.Code
	}{
		{"good", nil, 1, nil, ""},
		{"one conflict", []error{store.ErrConflict}, 2, nil, ""},
		{"two that exist", []error{store.ErrExists, store.ErrExists}, 3, nil, ""},
		{"conflicts all the time", []error{store.ErrConflict, store.ErrConflict, store.ErrConflict, store.ErrConflict}, 3, store.ErrConflict, keywright.CodeUnavailable},
		{"trouble", []error{cause, nil}, 1, cause, keywright.CodeUnavailable},
		{"refused", []error{keywright.Errorf(keywright.CodeInvalidGrant, "x")}, 1, nil, keywright.CodeInvalidGrant},
	} {
		n := 0
		err := endpoint.Retry(func() error {
			n++
			if n <= len(tt.errs) {
				return tt.errs[n-1]
			}
			return nil
		})
		e, _ := errors.AsType[*keywright.Error](err)
		if n != tt.tries || (err == nil) != (tt.code == "") || e != nil && e.Code != tt.code || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v after %d tries", tt.name, err, n)
		}
	}
}

func empty(_ context.Context, caller keywright.Principal, _ endpoint.Empty) (endpoint.Empty, error) {
	if caller.Subject != "" {
		return endpoint.Empty{}, errors.New("called by " + caller.Subject)
	}
	return endpoint.Empty{}, nil
}

// FuzzForm reads what anybody may post.
func FuzzForm(f *testing.F) {
	f.Add("a=1&b=2&a=3", "application/x-www-form-urlencoded")
	f.Add("a=%zz", "application/x-www-form-urlencoded; charset=utf-8")
	f.Add("a=;b", "multipart/form-data; boundary=x")
	f.Fuzz(func(t *testing.T, body, contentType string) {
		r := httptest.NewRequest("POST", "/?a=query", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		form, err := endpoint.Form(r, "many")
		if err != nil {
			if code := keywright.AsError(err).Code; code != keywright.CodeInvalidRequest && code != keywright.CodeTooLarge {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		for name, values := range form {
			if name != "many" && len(values) > 1 {
				t.Errorf("%q: %q has %d values", body, name, len(values))
			}
			for _, v := range values {
				if v == "" || v == "query" && !strings.Contains(body, "query") {
					t.Errorf("%q: %q has the value %q", body, name, v)
				}
			}
		}
	})
}

// challenging names the scheme that it wants.
type challenging struct{ trusting }

func (challenging) Challenge() string { return "Bearer" }

func TestChallenge(t *testing.T) {
	for want, auth := range map[string]keywright.Authenticator{"": trusting{}, "Bearer": challenging{}} {
		h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Auth: auth, Hooks: keywright.Hooks{}.WithDefaults()}, endpoint.Nothing, empty)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
		if got := w.Header().Get("Www-Authenticate"); w.Code != 401 || got != want {
			t.Errorf("got %d, WWW-Authenticate %q, want %q", w.Code, got, want)
		}
	}
}
