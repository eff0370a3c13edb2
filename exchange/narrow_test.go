package exchange_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
)

// A key is for no other target than was asked for, and where it is for fewer
// the answer says so.
func TestTargets(t *testing.T) {
	const a, b, other = "https://a.example/", "urn:b", "https://other.example"
	both := github(func(p *exchange.Publisher) { p.Targets = []string{a, b} })
	w := newWorld(t, []exchange.Publisher{both})
	for _, tt := range []struct {
		name  string
		ask   url.Values
		good  []string // for these the key works
		bad   []string
		tells []any // the answer's audience
	}{
		{"nothing", nil, []string{a, b}, []string{other}, nil},
		{"one", url.Values{"audience": {a}}, []string{a}, []string{b, other}, nil},
		{"one as a resource", url.Values{"resource": {b}}, []string{b}, []string{a, other}, nil},
		{"one twice", url.Values{"audience": {a, a}, "resource": {a}}, []string{a}, []string{b}, nil},
		{"both", url.Values{"audience": {b}, "resource": {a}}, []string{a, b}, []string{other}, nil},
		{"one and a strange one", url.Values{"audience": {a, other}}, []string{a}, []string{b, other}, []any{a}},
		{"a strange one", url.Values{"audience": {other}}, nil, nil, nil},
		{"one in another case", url.Values{"audience": {"URN:B"}}, nil, nil, nil},
		{"one with a slash less", url.Values{"audience": {"https://a.example"}}, nil, nil, nil},
		{"the server by its audience", url.Values{"audience": {audience}}, []string{a, b}, []string{other}, nil},
		{"the server by its URL", url.Values{"resource": {w.url}}, []string{a, b}, []string{other}, nil},
		{"the server by its URL with a slash", url.Values{"resource": {w.url + "/"}}, []string{a, b}, []string{other}, nil},
		{"the server and one", url.Values{"audience": {audience, a}}, []string{a, b}, []string{other}, nil},
		{"the server and a strange one", url.Values{"audience": {audience, other}}, []string{a, b}, []string{other}, []any{a, b}},
	} {
		token := w.issuer.GitHub(nil)
		body := form(token)
		for name, values := range tt.ask {
			body[name] = values
		}
		got := w.send("POST", exchange.TokenPath, "", body)
		if tt.good == nil {
			if got.status != 400 || got.text("error") != invalidTarget {
				t.Errorf("%s: got %d %s, want invalid_target", tt.name, got.status, got.body)
			}
			w.wantKey(token)
			continue
		}
		tells, _ := got.fields["audience"].([]any)
		if diff := cmp.Diff(tt.tells, tells); got.status != 200 || diff != "" {
			t.Errorf("%s: got %d; audience (-want +got):\n%s", tt.name, got.status, diff)
		}
		info, err := w.host.Keys.Check(t.Context(), got.key())
		if err != nil || len(strings.Fields(info.Attrs["targets"])) != len(tt.good) {
			t.Errorf("%s: the key's targets are %q, %v", tt.name, info.Attrs["targets"], err)
		}
		for _, target := range tt.good {
			if !w.admits(got.key(), target) {
				t.Errorf("%s: the key is not for %s", tt.name, target)
			}
		}
		for _, target := range tt.bad {
			if w.admits(got.key(), target) {
				t.Errorf("%s: the key is for %s", tt.name, target)
			}
		}
		if !w.admits(got.key(), other, tt.good[0]) {
			t.Errorf("%s: not admitted where any of two targets will do", tt.name)
		}
	}
}

// admits reports whether a route for one of targets lets the key in.
func (w *world) admits(key string, targets ...string) bool {
	w.t.Helper()
	route := keywright.Require(w.host.Keys.Of("ci"))(exchange.RequireTarget(targets...)(http.HandlerFunc(whoami)))
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	rec := httptest.NewRecorder()
	route.ServeHTTP(rec, r)
	if rec.Code != 200 && rec.Code != 403 {
		w.t.Errorf("got %d %s, want 200 or 403", rec.Code, rec.Body)
	}
	if rec.Code == 200 && !strings.Contains(rec.Body.String(), "deployer") {
		w.t.Error("the route was not asked")
	}
	return rec.Code == 200
}

// A key of a publisher without targets is for all of them, and RequireTarget
// without a caller admits nobody.
func TestWithoutTargets(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	if key := w.wantKey(w.issuer.GitHub(nil)); !w.admits(key, "https://a.example") {
		t.Error("a key that is not limited was refused")
	}
	rec := httptest.NewRecorder()
	exchange.RequireTarget("x")(http.HandlerFunc(whoami)).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 403 {
		t.Errorf("nobody: got %d, want 403", rec.Code)
	}
	body := form(w.issuer.GitHub(nil))
	body["audience"] = []string{audience, "https://other.example"}
	got := w.send("POST", exchange.TokenPath, "", body)
	if diff := cmp.Diff([]any{audience}, got.fields["audience"]); got.status != 200 || diff != "" {
		t.Errorf("the server and a strange one: got %d %s; audience (-want +got):\n%s", got.status, got.body, diff)
	}
}

// One target is a limit as well.
func TestOneTarget(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Targets = []string{"urn:a"} })})
	if key := w.wantKey(w.issuer.GitHub(nil)); !w.admits(key, "urn:a") || w.admits(key, "urn:b") || w.admits(key) {
		t.Error("the key is not for its target, or for more")
	}
}
