package keywright_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
)

// An authenticator answers as it is told. With a scheme it is a Challenger.
type authenticator struct {
	scheme  string
	subject string
	err     error
	asked   int
}

func (a *authenticator) Authenticate(*http.Request) (keywright.Principal, error) {
	a.asked++
	return keywright.Principal{Subject: a.subject}, a.err
}

type challenger struct{ *authenticator }

func (c challenger) Challenge() string { return c.scheme }

func TestRequireAnyOf(t *testing.T) {
	absent := func() *authenticator { return &authenticator{err: keywright.ErrNoCredential} }
	wrapped := func() *authenticator {
		return &authenticator{err: errors.Join(errors.New("host"), keywright.ErrNoCredential)}
	}
	good := func(s string) *authenticator { return &authenticator{subject: s} }
	bad := func() *authenticator {
		return &authenticator{err: &keywright.Error{Code: keywright.CodeInvalidToken, Header: http.Header{"Www-Authenticate": {"X"}}}}
	}
	foreign := func() *authenticator { return &authenticator{err: errors.New("secret cause")} }
	tests := []struct {
		name   string
		auths  []*authenticator
		status int
		body   string // the caller where it is admitted, else the code
		asked  []int
	}{
		{"none at all", nil, 401, "invalid_token", nil},
		{"one absent", []*authenticator{absent()}, 401, "invalid_token", []int{1}},
		{"all absent", []*authenticator{absent(), wrapped()}, 401, "invalid_token", []int{1, 1}},
		{"one good", []*authenticator{good("a")}, 200, "a", []int{1}},
		{"the second good", []*authenticator{absent(), good("b")}, 200, "b", []int{1, 1}},
		{"the first good", []*authenticator{good("a"), wrapped()}, 200, "a", []int{1, 1}},
		{"a bad one ends the search", []*authenticator{bad(), good("b")}, 401, "invalid_token", []int{1, 0}},
		{"the second bad", []*authenticator{absent(), bad()}, 401, "invalid_token", []int{1, 1}},
		{"two good", []*authenticator{good("a"), good("b")}, 400, "invalid_request", []int{1, 1}},
		{"good and bad", []*authenticator{good("a"), bad()}, 400, "invalid_request", []int{1, 1}},
		{"an error of the host's own", []*authenticator{foreign(), good("b")}, 500, "server_error", []int{1, 0}},
	}
	for _, tt := range tests {
		var auths []keywright.Authenticator
		for _, a := range tt.auths {
			auths = append(auths, a)
		}
		w := httptest.NewRecorder()
		keywright.Require(auths...)(whoami).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		want := tt.body + " "
		if tt.status != http.StatusOK {
			want = problem(t, tt.status, tt.body)
		}
		var asked []int
		for _, a := range tt.auths {
			asked = append(asked, a.asked)
		}
		if w.Code != tt.status || w.Body.String() != want || !cmp.Equal(asked, tt.asked) {
			t.Errorf("%s: got %d %s asked %v, want %d %s asked %v", tt.name, w.Code, w.Body, asked, tt.status, want, tt.asked)
		}
	}
}

// problem is the document that the code's own text makes.
func problem(t testing.TB, status int, code string) string {
	t.Helper()
	detail := map[string]string{
		"invalid_token": "No valid credential", "invalid_request": "more than one credential", "server_error": "Internal error",
	}[code]
	if detail == "" {
		t.Fatalf("no text for %q", code)
	}
	return fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":%q,"code":%q}`+"\n", http.StatusText(status), status, detail, code)
}

// RFC 9110, 11.6.1: one challenge per scheme that the route takes.
func TestChallenge(t *testing.T) {
	w := newWorld(t)
	absent := &authenticator{err: keywright.ErrNoCredential, scheme: "Connect-Bootstrap"}
	for _, tt := range []struct {
		name  string
		auths []keywright.Authenticator
		want  []string
	}{
		{"keys", []keywright.Authenticator{w.Keys.Of("admin")}, []string{"Bearer"}},
		{"keys and another", []keywright.Authenticator{w.Keys.Of("admin"), challenger{absent}}, []string{"Bearer, Connect-Bootstrap"}},
		{"one that has none", []keywright.Authenticator{absent}, nil},
		{"one that has none to tell", []keywright.Authenticator{challenger{&authenticator{err: keywright.ErrNoCredential}}}, nil},
	} {
		rec := httptest.NewRecorder()
		keywright.Require(tt.auths...)(whoami).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
		if diff := cmp.Diff(tt.want, rec.Header()["Www-Authenticate"]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestKeysBesideAnotherUseOfBearer(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	sessions := &authenticator{subject: "session"}
	h := keywright.Require(w.Keys.Of("admin"), sessions)(whoami)
	for text, want := range map[string]int{
		"eyJhbGciOiJIUzI1NiJ9.e30.c2ln": 200, // not ours: left to the host's
		m.Text:                          400, // ours, and the host's takes everything
		wrongChecksum(m.Text):           401, // meant to be ours
	} {
		rec := httptest.NewRecorder()
		if h.ServeHTTP(rec, bearer(text)); rec.Code != want {
			t.Errorf("%.9s: got %d, want %d", text, rec.Code, want)
		}
	}
}

// Two Authenticators for keys of one host take the keys of both.
func TestRequireKeysTwice(t *testing.T) {
	w, stranger := newWorld(t), newWorld(t)
	spec := adminSpec()
	spec.Kind = "prov"
	admin, prov := w.issue(t, adminSpec()), w.issue(t, spec)
	twice := keywright.Require(w.Keys.Of("admin"), w.Keys.Of("prov"))(whoami)
	once := keywright.Require(w.Keys.Of("admin"), w.Keys.Of())(whoami)
	others := keywright.Require(stranger.Keys.Of("admin"), w.Keys.Of("admin"))(whoami)
	for _, tt := range []struct {
		name string
		h    http.Handler
		text string
		want int
	}{
		{"the first kind", twice, admin.Text, 200},
		{"the second kind", twice, prov.Text, 200},
		{"a kind of neither", once, prov.Text, 403},
		{"of another host", others, admin.Text, 401},
	} {
		rec := httptest.NewRecorder()
		if tt.h.ServeHTTP(rec, bearer(tt.text)); rec.Code != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, rec.Code, tt.want)
		}
	}
}

func TestRequireScope(t *testing.T) {
	for _, tt := range []struct {
		name   string
		held   []string // nil: no principal at all
		wanted []string
		status int
	}{
		{"holds it", []string{"read"}, []string{"read"}, 200},
		{"holds all", []string{"write", "read"}, []string{"read", "write"}, 200},
		{"none wanted", []string{}, nil, 200},
		{"holds none", []string{}, []string{"read"}, 403},
		{"holds one of two", []string{"read"}, []string{"read", "write"}, 403},
		{"in capitals", []string{"READ"}, []string{"read"}, 403},
		{"a longer one", []string{"reader"}, []string{"read"}, 403},
		{"two in one", []string{"read write"}, []string{"read"}, 403},
		{"a wildcard is no wildcard", []string{"*"}, []string{"read"}, 403},
		{"nobody", nil, []string{"read"}, 401},
		{"nobody, none wanted", nil, nil, 401},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if tt.held != nil {
			r = r.WithContext(keywright.NewContext(r.Context(), keywright.Principal{Subject: "s", Scopes: tt.held}))
		}
		rec := httptest.NewRecorder()
		keywright.RequireScope(tt.wanted...)(whoami).ServeHTTP(rec, r)
		if rec.Code != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, rec.Code, tt.status)
		}
		if rec.Code == http.StatusUnauthorized && rec.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: 401 with challenge %q", tt.name, rec.Header().Get("WWW-Authenticate"))
		}
	}
}

func TestRequireInConnectDialect(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.Kind = "prov"
	m, admin := w.issue(t, spec), w.issue(t, adminSpec())
	url := serve(t, keywright.Connect.Require(w.Keys.Of("admin"))(keywright.Connect.RequireScope("root")(whoami)))
	for _, tt := range []struct {
		name, text string
		status     int
		body       string
	}{
		{"unknown", wrongSecret(t, w, keywright.NewKeyID()), 401, `{"code":30,"error":"No valid credential","payload":null}`},
		{"of another kind", m.Text, 403, `{"code":22,"error":"this kind of key is not accepted here","payload":null}`},
		{"without the scope", admin.Text, 403, `{"code":22,"error":"missing scope: root","payload":null}`},
	} {
		got := ask(t, "GET", url, "Key "+tt.text)
		if got.Status != tt.status || got.Body != tt.body+"\n" || got.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %d %q %s, want %d %s", tt.name, got.Status, got.Header.Get("Content-Type"), got.Body, tt.status, tt.body)
		}
	}
}

func TestFromContextWithoutPrincipal(t *testing.T) {
	p, ok := keywright.FromContext(t.Context())
	if diff := cmp.Diff(keywright.Principal{}, p); ok || diff != "" {
		t.Errorf("found %v (-want +got):\n%s", ok, diff)
	}
}

// TestRequireMergesKinds: the kinds may also come one by one.
func TestRequireMergesKinds(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	h := keywright.Require(w.Keys.Of("prov"), w.Keys.Of("admin"))(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+m.Text)
	rec := httptest.NewRecorder()
	if h.ServeHTTP(rec, r); rec.Code != http.StatusOK {
		t.Errorf("got %d %s, want 200", rec.Code, rec.Body)
	}
}

// As one or one by one, and however they are put together, they decide alike.
func TestAnyOf(t *testing.T) {
	w := newWorld(t)
	admin := w.issue(t, keywright.KeySpec{Kind: "admin", Subject: "a"}).Text
	prov := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "p"}).Text
	session := challenger{&authenticator{scheme: "Cookie", err: keywright.ErrNoCredential}}
	for name, a := range map[string]keywright.Authenticator{
		"flat":   keywright.AnyOf(w.Keys.Of("admin"), session, w.Keys.Of("prov")),
		"nested": keywright.AnyOf(keywright.AnyOf(w.Keys.Of("admin"), session), keywright.AnyOf(keywright.AnyOf(w.Keys.Of("prov")))),
	} {
		for text, subject := range map[string]string{admin: "a", prov: "p"} {
			if p, err := a.Authenticate(bearer(text)); err != nil || p.Subject != subject {
				t.Errorf("%s: got %q, %v, want %q", name, p.Subject, err, subject)
			}
		}
		_, err := a.Authenticate(httptest.NewRequest("GET", "/", nil))
		if e := keywright.AsError(err); !errors.Is(err, keywright.ErrNoCredential) || e.Code != keywright.CodeInvalidToken || e.Header.Get("WWW-Authenticate") != "Bearer, Cookie" {
			t.Errorf("%s: no credential: %v, %v", name, err, e.Header)
		}
		if c := a.(keywright.Challenger).Challenge(); c != "Bearer, Cookie" {
			t.Errorf("%s: challenge %q", name, c)
		}
	}
	two := keywright.AnyOf(&authenticator{subject: "a"}, keywright.AnyOf(&authenticator{subject: "b"}))
	if _, err := two.Authenticate(bearer("x")); keywright.AsError(err).Code != keywright.CodeInvalidRequest {
		t.Errorf("two that recognise one: %v", err)
	}
	if _, err := keywright.AnyOf().Authenticate(bearer(admin)); !errors.Is(err, keywright.ErrNoCredential) {
		t.Errorf("none: %v", err)
	}
}
