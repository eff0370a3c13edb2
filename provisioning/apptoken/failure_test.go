package apptoken_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// A store in trouble is 503 whatever is asked, and never taken for absence.
func TestStoreTrouble(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Rate, c.Policy.MaxTokens = 1000, 10 })
	admin := w.admin()
	made := w.create(admin, tokensPath, request())
	for name, fault := range map[string]func(*error){
		"reads": w.db.reads.Store, "commits": w.db.commits.Store, "lists": w.db.lists.Store, "counters": w.db.adds.Store,
	} {
		fault(&errDown)
		for method, path := range map[string]string{"GET": tokensPath, "POST": tokensPath, "DELETE": tokensPath + "/" + made.text("uuid")} {
			if name == "commits" && method == "GET" || name == "lists" && method == "DELETE" {
				continue
			}
			a := w.send(method, path, admin, request())
			w.want(method+" while "+name+" fail", a, 503, "unavailable", "")
			if strings.Contains(a.body, "fire") {
				t.Errorf("the cause is sent: %s", a.body)
			}
		}
		if err := w.DeleteApplication(t.Context(), root, "myorg", "app123"); name != "counters" && (err == nil || keywright.AsError(err).Code != keywright.CodeUnavailable) {
			t.Errorf("delete the application while %s fail: got %v", name, err)
		} else if name == "counters" {
			must(t, w.EnableApplication(t.Context(), root, "myorg", "app123"))
			made = w.again(made)
		}
		if err := w.DisableApplication(t.Context(), root, "myorg", "nothing-"+name); (name == "reads" || name == "commits") && err == nil {
			t.Errorf("disable while %s fail: no error", name)
		}
		fault(nil)
	}
}

// So it is when only what is known of the keys cannot be read.
func TestKeysInTrouble(t *testing.T) {
	w := newWorld(t)
	made := w.makeTokens(1, "myorg", "app123")[0]
	w.db.noKeys.Store(true)
	_, listed := w.List(t.Context(), root, "myorg", "app123", apptoken.Page{})
	deleted := w.Delete(t.Context(), root, "myorg", "app123", made.ID)
	for what, err := range map[string]error{"list": listed, "delete": deleted} {
		if err == nil || keywright.AsError(err).Code != keywright.CodeUnavailable {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if w.db.noKeys.Store(false); !w.works(made.Text) {
		t.Error("it was deleted in part")
	}
}

// again makes up for a token that went with its application.
func (w *world) again(old answer) answer {
	w.t.Helper()
	made, err := w.Create(w.t.Context(), root, "myorg", "app123", apptoken.Spec{Name: old.text("name"), Scopes: []string{"repo:read"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{fields: map[string]any{"uuid": made.ID, "name": made.Name}}
}

// Records that cannot be read are a defect, and grant nothing.
func TestDamagedRecords(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.create(admin, tokensPath, request())
	damage := func(kind string) func() {
		var good store.Record
		for r, err := range w.db.List(t.Context(), store.Query{Kind: kind}) {
			must(t, err)
			good = r
		}
		bad := good
		bad.Data = []byte("{")
		must(t, w.db.Commit(t.Context(), store.Put(bad)))
		return func() { must(t, w.db.Commit(t.Context(), store.Put(good))) }
	}
	for _, kind := range []string{apptoken.KindToken, apptoken.KindApplication} {
		repair := damage(kind)
		w.want("list "+kind, w.send("GET", tokensPath, admin, ""), 500, "server_error", "")
		w.want("delete "+kind, w.send("DELETE", tokensPath+"/"+made.text("uuid"), admin, ""), 500, "server_error", "")
		if w.works(made.text("token")) {
			t.Errorf("%s: the token works", kind)
		}
		repair()
	}
	if !w.works(made.text("token")) {
		t.Error("the token does not work after the repair")
	}
}

// Whoever hangs up while others have the turn is not left waiting.
func TestTurnEndsWithItsContext(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Policy.MaxTokens = 2 })
	w.db.once(makesToken, func() {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := w.Create(ctx, root, "myorg", "app123", apptoken.Spec{Name: "x", Scopes: []string{"repo:read"}}); err == nil || keywright.AsError(err).Code != keywright.CodeUnavailable {
			t.Errorf("got %v, want unavailable", err)
		}
	})
	w.makeTokens(1, "myorg", "app123")
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	at := func(text string) keywright.Host {
		u, err := url.Parse(text)
		must(t, err)
		host := w.host
		host.URL = u
		return host
	}
	withoutURL := w.host
	withoutURL.URL = nil
	for _, tt := range []struct {
		contains string // of the error; empty: none
		edit     func(*apptoken.Config)
	}{
		{"", func(*apptoken.Config) {}},
		{"Host is required", func(c *apptoken.Config) { c.Host = keywright.Host{} }},
		{"no URL", func(c *apptoken.Config) { c.Host = withoutURL }},
		{"must be https", func(c *apptoken.Config) { c.Host = at("http://quay.example") }},
		{"", func(c *apptoken.Config) { c.Host = at("https://quay.example") }},
		{"", func(c *apptoken.Config) { c.Host = at("http://localhost:8080") }},
		{"", func(c *apptoken.Config) { c.Host = at("http://[::1]:8080") }},
		{"no kind of keys named \"oauth\"", func(c *apptoken.Config) { c.KeyKind = "oauth" }},
		{"", func(c *apptoken.Config) { c.KeyKind = "person" }},
		{"Directory is required", func(c *apptoken.Config) { c.Directory = nil }},
		{"Rate is negative", func(c *apptoken.Config) { c.Rate = -1 }},
		{"PerMinute is negative", func(c *apptoken.Config) { c.Failures.PerMinute = -1 }},
		{"Policy.Max", func(c *apptoken.Config) { c.Policy.Max = -1 }},
		{"Policy.Max", func(c *apptoken.Config) { c.Policy.Max = 101 * 365 * 24 * time.Hour }},
		{"Policy.Max", func(c *apptoken.Config) { c.Policy.Max = time.Millisecond }},
		{"Policy.Default", func(c *apptoken.Config) { c.Policy.Default = -time.Hour }},
		{"Policy.Default", func(c *apptoken.Config) { c.Policy.Default, c.Policy.Max = 2*time.Hour, time.Hour }},
		{"Policy.MaxTokens", func(c *apptoken.Config) { c.Policy.MaxTokens = -1 }},
	} {
		cfg := apptoken.Config{Host: w.host, Directory: directory()}
		tt.edit(&cfg)
		_, err := apptoken.New(cfg)
		if (err == nil) != (tt.contains == "") || err != nil && !strings.Contains(err.Error(), tt.contains) {
			t.Errorf("got %v, want %q", err, tt.contains)
		}
	}
}

// The zero configuration lets nobody in but the holders of tokens.
func TestNoCallers(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Callers = nil })
	w.want("an admin key", w.send("POST", tokensPath, w.admin(), request()), 403, "insufficient_scope", "this kind of key")
	token := w.makeTokens(1, "myorg", "app123")[0]
	w.create("Bearer "+token.Text, tokensPath, request("scope", `"org:admin"`))
}

// The endpoints work below any prefix.
func TestRoutes(t *testing.T) {
	w := newWorld(t)
	mux := http.NewServeMux()
	w.Register(mux, "/quay/")
	srv := httptest.NewServer(mux)
	defer srv.Close()
	below, admin := &world{t: t, url: srv.URL + "/quay"}, w.admin()
	made := below.create(admin, tokensPath, request())
	if list := below.send("GET", tokensPath, admin, ""); list.names() != "ci" {
		t.Errorf("list: got %s", list.body)
	}
	if a := below.send("DELETE", tokensPath+"/"+made.text("uuid"), admin, ""); a.status != 204 {
		t.Errorf("delete: got %d %s", a.status, a.body)
	}
	var patterns []string
	for _, r := range w.Routes() {
		patterns = append(patterns, r.Pattern)
	}
	want := "/api/v1/organization/{org}/applications/{client_id}/tokens /api/v1/organization/{org}/applications/{client_id}/tokens/{token_id} " +
		"/api/v1/organization/{org}/application/{client_id}/tokens /api/v1/organization/{org}/application/{client_id}/tokens/{token_id}"
	if got := strings.Join(patterns, " "); got != want {
		t.Errorf("got %s", got)
	}
}
