package endpoint_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

type response struct {
	Key string `json:"api_key"`
}

// trusting admits who sends any Authorization header.
type trusting struct{}

func (trusting) Authenticate(r *http.Request) (keywright.Principal, error) {
	if r.Header.Get("Authorization") == "" {
		return keywright.Principal{}, keywright.ErrNoCredential
	}
	return keywright.Principal{Subject: "s"}, nil
}

func TestEndpoint(t *testing.T) {
	decode := func(r *http.Request) (string, error) {
		switch q := r.URL.RawQuery; q {
		case "undecodable":
			return "", keywright.Errorf(keywright.CodeInvalidRequest, "no JSON object")
		default:
			return q, nil
		}
	}
	do := func(ctx context.Context, caller keywright.Principal, req string) (response, error) {
		switch {
		case caller.Subject != "s" || keywright.RemoteAddr(ctx) != "192.0.2.1":
			t.Errorf("called by %q from %q", caller.Subject, keywright.RemoteAddr(ctx))
		case req == "conflict":
			return response{Key: "half made"}, keywright.Errorf(keywright.CodeConflict, "taken")
		case req == "broken":
			return response{Key: "half made"}, errors.New("secret cause")
		}
		return response{Key: "<" + req + ">"}, nil
	}
	problem := http.Header{"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}
	refusal := func(name, value string) http.Header {
		h := problem.Clone()
		h.Set(name, value)
		return h
	}
	tests := []struct {
		name, method, query string
		anonymous           bool
		status              int
		header              http.Header
		body                string // contained
		audited             string // the Detail of the one event
	}{
		{name: "good (BST-42)", method: "POST", query: "x", status: 200, body: `{"api_key":"\u003cx\u003e"}` + "\n", header: http.Header{
			"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"}, "X-Content-Type-Options": {"nosniff"},
		}},
		{name: "another method", method: "GET", status: 405, header: refusal("Allow", "POST"), body: `"method_not_allowed"`},
		{name: "HEAD", method: "HEAD", status: 405, header: refusal("Allow", "POST")},
		{name: "OPTIONS", method: "OPTIONS", status: 405, header: refusal("Allow", "POST")},
		{name: "the method in lower case", method: "post", status: 405, header: refusal("Allow", "POST")},
		{name: "another method, anonymous", method: "PUT", anonymous: true, status: 405, header: refusal("Allow", "POST")},
		{name: "anonymous", method: "POST", anonymous: true, status: 401, header: problem, body: `"invalid_token"`, audited: "invalid_token: keywright: no credential of this kind"},
		{name: "anonymous before decoding", method: "POST", query: "undecodable", anonymous: true, status: 401, header: problem, audited: "invalid_token: keywright: no credential of this kind"},
		{name: "undecodable", method: "POST", query: "undecodable", status: 400, header: problem, body: `"no JSON object"`, audited: "invalid_request: no JSON object"},
		{name: "refused", method: "POST", query: "conflict", status: 409, header: problem, body: `"taken"`, audited: "conflict: taken"},
		{name: "broken", method: "POST", query: "broken", status: 500, header: problem, body: `"Internal error"`, audited: "server_error: secret cause"},
	}
	for _, tt := range tests {
		var heard []string
		hooks := keywright.Hooks{Audit: func(_ context.Context, e keywright.Event) { heard = append(heard, e.Name+" "+e.Remote+" "+e.Detail) }}
		h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Auth: trusting{}, Hooks: hooks.WithDefaults()}, decode, do)
		r := httptest.NewRequest("POST", "/?"+tt.query, nil)
		r.Method = tt.method
		if !tt.anonymous {
			r.Header.Set("Authorization", "x")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if diff := cmp.Diff(tt.header, w.Header()); w.Code != tt.status || diff != "" {
			t.Errorf("%s: got %d, want %d; header (-want +got):\n%s", tt.name, w.Code, tt.status, diff)
		}
		body := w.Body.String()
		if !strings.Contains(body, tt.body) || tt.status != 200 && (strings.Contains(body, "api_key") || strings.Contains(body, "half made") || strings.Contains(body, "secret")) {
			t.Errorf("%s: body %s, want %s", tt.name, body, tt.body)
		}
		var want []string
		if tt.audited != "" {
			want = []string{"test.refused 192.0.2.1 " + tt.audited}
		}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Errorf("%s: audit (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestEndpointSpeaksItsDialect(t *testing.T) {
	h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Auth: trusting{}, Dialect: keywright.Connect, Hooks: keywright.Hooks{}.WithDefaults()},
		func(*http.Request) (string, error) { return "", nil },
		func(context.Context, keywright.Principal, string) (response, error) { return response{}, nil })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/", nil))
	if want := `{"code":30,"error":"No valid credential","payload":null}` + "\n"; w.Code != 401 || w.Body.String() != want {
		t.Errorf("got %d %s, want 401 %s", w.Code, w.Body, want)
	}
}

// revocable admits everybody until it is told not to.
type revocable struct{ revoked atomic.Bool }

func (a *revocable) Authenticate(*http.Request) (keywright.Principal, error) {
	if a.revoked.Load() {
		return keywright.Principal{}, keywright.Wrap(keywright.CodeInvalidToken, errors.New("revoked"))
	}
	return keywright.Principal{Subject: "caller"}, nil
}

// Whoever holds back the end of a body gains no time by it.
func TestRevokedWhileTheBodyIsOnItsWay(t *testing.T) {
	auth := new(revocable)
	h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Auth: auth, Hooks: keywright.Hooks{}.WithDefaults()}, endpoint.JSON[request],
		func(context.Context, keywright.Principal, request) (endpoint.Empty, error) {
			t.Error("it acts")
			return endpoint.Empty{}, nil
		})
	body, end := io.Pipe()
	go func() {
		io.WriteString(end, `{"name":`)
		auth.revoked.Store(true)
		io.WriteString(end, `"a"}`)
		end.Close()
	}()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, post(body, jsonType))
	if w.Code != 401 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

func TestWholeChangesNoBody(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		broken     bool
		status     int
		text       string
	}{
		{"good", `{"name":"a"}`, false, 200, ""},
		{"too large", `{"name":"` + strings.Repeat("x", endpoint.MaxBody) + `"}`, false, 413, "larger than"},
		{"broken off", `{"name":"a"}`, true, 400, "did not arrive whole"},
		{"empty", ``, false, 400, "Missing request body"},
	} {
		h := endpoint.New(endpoint.Spec{Name: "test", Method: "POST", Auth: new(revocable), Hooks: keywright.Hooks{}.WithDefaults()}, endpoint.JSON[request],
			func(context.Context, keywright.Principal, request) (endpoint.Empty, error) {
				return endpoint.Empty{}, nil
			})
		var body io.Reader = strings.NewReader(tt.body)
		if tt.broken {
			body = broken{body}
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, post(body, jsonType))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s: got %d %s", tt.name, w.Code, w.Body)
		}
	}
}
