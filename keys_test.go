package keywright_test

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestKeyOpensItsRoute(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))
	want := "ci " + m.ID
	for _, authorization := range []string{
		"Bearer " + m.Text, "Key " + m.Text, "bearer " + m.Text, "BEARER " + m.Text, "kEY " + m.Text, "Bearer  " + m.Text,
	} {
		if got := ask(t, "GET", url, authorization); got.Status != http.StatusOK || got.Body != want {
			t.Errorf("%.7s: got %d %q, want 200 %q", authorization, got.Status, got.Body, want)
		}
	}
}

// PRV-01, PRV-02, PRV-03 and BST-28, over the network.
func TestAuthorizationForms(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))
	tests := []struct {
		name      string
		fields    []string
		status    int
		challenge string
	}{
		{"none", nil, 401, "Bearer"},
		{"scheme alone", []string{"Bearer"}, 401, `Bearer error="invalid_token"`},
		{"key alone", []string{m.Text}, 401, "Bearer"},
		{"tab", []string{"Bearer\t" + m.Text}, 401, "Bearer"},
		{"no space", []string{"Bearer" + m.Text}, 401, "Bearer"},
		{"a word behind the key", []string{"Bearer " + m.Text + " x"}, 401, `Bearer error="invalid_token"`},
		{"another scheme", []string{"Basic " + m.Text}, 401, "Bearer"},
		{"another scheme with parameters", []string{`Digest username="a", realm="b"`}, 401, "Bearer"},
		{"somebody else's token", []string{"Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln"}, 401, "Bearer"},
		{"two fields", []string{"Bearer " + m.Text, "Bearer " + m.Text}, 400, `Bearer error="invalid_request"`},
		{"two fields of two schemes", []string{"Basic YTpi", "Bearer " + m.Text}, 400, `Bearer error="invalid_request"`},
		{"a list", []string{"Bearer A, Bearer " + m.Text}, 400, `Bearer error="invalid_request"`},
	}
	for _, tt := range tests {
		got := ask(t, "GET", url, tt.fields...)
		if got.Status != tt.status || got.Header.Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: got %d %q, want %d %q", tt.name, got.Status, got.Header["Www-Authenticate"], tt.status, tt.challenge)
		}
	}
}

// PRV-03: a client sends one credential, in one place.
func TestKeyBesideAnotherPlace(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))
	tests := []struct {
		name, query, apiKey, authorization string
		status                             int
	}{
		{"only the header", "?a=b&xaccess_token=1", "", "Bearer " + m.Text, 200},
		{"and a query", "?access_token=x", "", "Bearer " + m.Text, 400},
		{"and an escaped query", "?a=b&access%5Ftoken=" + m.Text, "", "Bearer " + m.Text, 400},
		{"and X-API-Key", "", m.Text, "Key " + m.Text, 400},
		{"and a token that is not ours", "?access_token=x", "", "Bearer x", 401},
		{"only a query", "?access_token=" + m.Text, "", "", 401},
		{"only X-API-Key", "", m.Text, "", 401},
	}
	for _, tt := range tests {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/"+tt.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.authorization != "" {
			req.Header.Set("Authorization", tt.authorization)
		}
		if tt.apiKey != "" {
			req.Header.Set("X-API-Key", tt.apiKey)
		}
		if got := send(t, req); got.Status != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, got.Status, tt.status)
		}
	}
}

func TestGoodKeyCostsOneRead(t *testing.T) {
	w := newWorld(t)
	parent := store.Record{Kind: "publisher", ID: "p", Data: []byte(`{}`)}
	if err := w.db.Commit(t.Context(), store.Insert(parent)); err != nil {
		t.Fatal(err)
	}
	spec := adminSpec()
	spec.Parents, spec.FirstUse = []keywright.Parent{{Key: parent.Key()}}, true
	m := w.issue(t, spec)
	w.wantUse(t, "", m.Text)
	w.settle(t)
	before := w.db.calls.Load()
	w.wantUse(t, "", m.Text, m.Text, m.Text)
	if n := w.db.calls.Load() - before; n != 3 {
		t.Errorf("3 requests asked the store %d times, want 3", n)
	}
}

// PRV-16: a good key of another kind is known, but not let in.
func TestKeyOfAnotherKind(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.Kind, spec.FirstUse = "prov", true
	m := w.issue(t, spec)
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))
	got := ask(t, "GET", url, "Bearer "+m.Text)
	if got.Status != http.StatusForbidden || got.Header.Get("WWW-Authenticate") != `Bearer error="insufficient_scope"` || !strings.Contains(got.Body, `"insufficient_scope"`) {
		t.Errorf("got %d %v %s, want 403 insufficient_scope", got.Status, got.Header, got.Body)
	}
	if info, err := w.Keys.Check(t.Context(), m.Text); err != nil || info.Used {
		t.Errorf("after the refusal: used %v, %v; want an unused key", info.Used, err)
	}
	nobody := serve(t, keywright.Require(w.Keys.Of())(whoami))
	if got := ask(t, "GET", nobody, "Bearer "+m.Text); got.Status != http.StatusForbidden {
		t.Errorf("a route without kinds: got %d, want 403", got.Status)
	}
}

// Prefixes may begin alike; a key of a longer one is somebody else's.
func TestKeyOfALongerPrefixIsNotOurs(t *testing.T) {
	m := newWorld(t).issue(t, adminSpec())
	short := newWorld(t, func(c *keywright.HostConfig) { c.Kinds = map[string]string{"admin": "kw"} })
	if _, err := short.Keys.Of("admin").Authenticate(bearer(m.Text)); !errors.Is(err, keywright.ErrNoCredential) {
		t.Errorf("got %v, want ErrNoCredential", err)
	}
	if n := short.db.calls.Load(); n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

// A key whose record says another kind than its prefix is nobody's.
func TestPrefixMustFitTheKind(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	w := worldOn(t, db, c)
	m := w.issue(t, adminSpec())
	swapped := worldOn(t, db, c, func(hc *keywright.HostConfig) {
		hc.Kinds = map[string]string{"admin": "ck_prov", "prov": "kw_admin"}
	})
	swapped.wantUse(t, keywright.CodeInvalidToken, m.Text)
}

func TestChangeInAnotherProcessCountsAtOnce(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	here, there := worldOn(t, db, c), worldOn(t, db, c)
	m := here.issue(t, adminSpec())
	steps := []struct {
		name string
		do   func() error
		want keywright.Code
	}{
		{"issued", func() error { return nil }, ""},
		{"disabled", func() error { return there.Keys.Disable(t.Context(), operator, m.ID) }, keywright.CodeInvalidToken},
		{"enabled", func() error { return there.Keys.Enable(t.Context(), operator, m.ID) }, ""},
		{"deleted", func() error { return there.Keys.Delete(t.Context(), operator, m.ID) }, keywright.CodeInvalidToken},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if got := here.use(m.Text); got != s.want {
			t.Errorf("%s there, used here: got code %q, want %q", s.name, got, s.want)
		}
	}
}

// What one request does to its Principal no other request sees.
func TestPrincipalIsNotShared(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	m := w.issue(t, spec)
	spec.Scopes[0], spec.Attrs["repository"] = "changed", "changed" // nor does the issuer's copy count
	auth := w.Keys.Of("admin")
	want := keywright.Principal{
		Method: keywright.MethodHost, Issuer: "here", Subject: "ci", Credential: m.ID,
		Scopes: []string{"read", "write"}, Attrs: map[string]string{"repository": "a/b"},
	}
	for range 3 {
		p, err := auth.Authenticate(bearer(m.Text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Fatalf("principal (-want +got):\n%s", diff)
		}
		p.Scopes[0], p.Attrs["repository"], p.Attrs["admin"] = "root", "c/d", "yes"
		_ = append(p.Scopes[:0], "root", "root")
		info, err := w.Keys.Check(t.Context(), m.Text)
		if err != nil {
			t.Fatal(err)
		}
		info.Scopes[0], info.Attrs["repository"] = "root", "c/d"
	}
}

func TestOfKeepsItsOwnKinds(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	mine := []string{"prov"}
	auth := w.Keys.Of(mine...)
	mine[0] = "admin"
	_, err := auth.Authenticate(bearer(m.Text))
	wantCode(t, "after changing the slice", err, keywright.CodeInsufficientScope)
}

func TestPatternFindsEveryKindOfKey(t *testing.T) {
	w := newWorld(t)
	find := regexp.MustCompile(w.Keys.Pattern())
	for kind := range kinds {
		spec := adminSpec()
		spec.Kind = kind
		m := w.issue(t, spec)
		if got := find.FindString("export KEY='" + m.Text + "'"); got != m.Text {
			t.Errorf("%s: the pattern finds %d of %d characters", kind, len(got), len(m.Text))
		}
	}
	if find.MatchString("kw_other_" + strings.Repeat("0", 45)) {
		t.Error("the pattern finds a prefix that is not configured")
	}
}

func TestKeyIDAndCheck(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	if id, ok := w.Keys.ID(m.Text); id != m.ID || !ok {
		t.Errorf("ID of a key is %q, %v; want %q", id, ok, m.ID)
	}
	for name, text := range map[string]string{"wrong checksum": wrongChecksum(m.Text), "not ours": "x_y", "nothing": ""} {
		if id, ok := w.Keys.ID(text); id != "" || ok {
			t.Errorf("%s: ID is %q, %v", name, id, ok)
		}
		_, err := w.Keys.Check(t.Context(), text)
		wantCode(t, name, err, keywright.CodeInvalidToken)
	}
	w.db.failOn("Get", errors.New("down"))
	_, err := w.Keys.Check(t.Context(), m.Text)
	wantCode(t, "store down", err, keywright.CodeUnavailable)
}
