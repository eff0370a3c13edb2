package apptoken_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// The rows of table 3b of wire/provisioning.md, in its order. Those about Basic,
// LDAP and service accounts are tested with ZeroTouch.
func TestTable3b(t *testing.T) {
	for _, row := range []struct {
		name string
		test func(t *testing.T, w *world, admin string)
	}{
		{"path: both, one handler", func(t *testing.T, w *world, admin string) {
			singular := strings.Replace(tokensPath, "applications", "application", 1)
			made := w.create(admin, singular, request())
			for _, path := range []string{tokensPath, singular} {
				if list := w.send("GET", path, admin, ""); list.names() != "ci" {
					t.Errorf("%s: got %s", path, list.body)
				}
			}
			if a := w.send("DELETE", singular+"/"+made.text("token_id"), admin, ""); a.status != 204 {
				t.Errorf("delete: got %d %s", a.status, a.body)
			}
		}},
		{"request: either spelling, not both", func(t *testing.T, w *world, admin string) {
			quay := w.create(admin, tokensPath, `{"name":"a","scope":"repo:read, repo:write","expiration":2592000}`)
			seed := w.create(admin, tokensPath, `{"name":"a","scopes":["repo:read","repo:write"],"expiration":"30d"}`)
			for _, name := range []string{"scope", "expires_at"} {
				if quay.text(name) != seed.text(name) {
					t.Errorf("%s: %q and %q", name, quay.text(name), seed.text(name))
				}
			}
			w.want("both", w.send("POST", tokensPath, admin, request("scopes", `["repo:read"]`)), 400, "invalid_request", "scope and scopes")
		}},
		{"response: Quay's object and the seed's members, no-store", func(t *testing.T, w *world, admin string) {
			a := w.create(admin, tokensPath, request())
			for _, name := range []string{"uuid", "name", "scope", "expires_at", "created", "created_by", "last_accessed", "token", "token_secret", "scopes", "token_id"} {
				if _, ok := a.fields[name]; !ok {
					t.Errorf("no %s in %s", name, a.body)
				}
			}
			if len(a.fields) != 11 || a.text("token") != a.text("token_secret") || a.text("uuid") != a.text("token_id") {
				t.Errorf("got %s", a.body)
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("got %v", a.header)
			}
		}},
		{"create status: 200", func(t *testing.T, w *world, admin string) {
			if a := w.send("POST", tokensPath, admin, request()); a.status != 200 {
				t.Errorf("got %d", a.status)
			}
		}},
		{"list: the object, next_page omitted at the end, limit, bad cursor 400", func(t *testing.T, w *world, admin string) {
			w.makeTokens(2, "myorg", "app123")
			if a := w.send("GET", tokensPath+"?limit=1", admin, ""); len(a.list()) != 1 || a.text("next_page") == "" {
				t.Errorf("first: got %s", a.body)
			}
			if a := w.send("GET", tokensPath+"?limit=2", admin, ""); strings.Contains(a.body, "next_page") {
				t.Errorf("the end: got %s", a.body)
			}
			w.want("cursor", w.send("GET", tokensPath+"?next_page=x", admin, ""), 400, "invalid_request", "next_page")
		}},
		{"delete: 204, unknown 404, another org's never 204", func(t *testing.T, w *world, admin string) {
			made, theirs := w.create(admin, tokensPath, request()), w.create(admin, otherOrgPath, request())
			for _, tt := range []struct {
				id     string
				status int
			}{{theirs.text("uuid"), 404}, {made.text("uuid"), 204}, {made.text("uuid"), 404}} {
				if a := w.send("DELETE", tokensPath+"/"+tt.id, admin, ""); a.status != tt.status {
					t.Errorf("got %d, want %d", a.status, tt.status)
				}
			}
		}},
		{"no expiration: default 30 days, never refused, over the maximum 400", func(t *testing.T, w *world, admin string) {
			if a := w.create(admin, tokensPath, request()); a.text("expires_at") != "2026-01-31T00:00:00Z" {
				t.Errorf("absent: got %s", a.body)
			}
			for _, e := range []string{"null", `"never"`, `"366d"`, "315576000"} {
				w.want(e, w.send("POST", tokensPath, admin, request("expiration", e)), 400, "invalid_request", "'expiration'")
			}
		}},
		{"scopes: eight, unknown 400 naming it, may-mint, super:user", func(t *testing.T, w *world, admin string) {
			w.create(admin, tokensPath, request("scope", quote(strings.Join(apptoken.Scopes(), " "))))
			w.want("unknown", w.send("POST", tokensPath, admin, request("scope", `"repo:read repo:pull"`)), 400, "invalid_scope", "repo:pull")
			w.want("super:user", w.send("POST", tokensPath, w.alice(), request("scope", `"super:user"`)), 403, "insufficient_scope", "super:user")
		}},
		{"401/403: no org admin 403", func(t *testing.T, w *world, admin string) {
			w.want("a reader", w.send("POST", tokensPath, w.key("person", "rita"), request()), 403, "insufficient_scope", "")
		}},
		{"dead Bearer on POST: 401 invalid_token", func(t *testing.T, w *world, admin string) {
			made := w.create(admin, tokensPath, request("scope", `"org:admin"`, "expiration", "60"))
			w.clock.Advance(time.Minute)
			a := w.send("POST", tokensPath, "Bearer "+made.text("token"), request())
			w.want("expired", a, 401, "invalid_token", "")
			if got := a.header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
				t.Errorf("WWW-Authenticate: %q", got)
			}
		}},
		{"flag off: Basic 401 without a challenge, Bearer works, renew 404", func(t *testing.T, w *world, admin string) {
			a := w.send("POST", tokensPath, "", request(), func(r *http.Request) { r.SetBasicAuth("admin", "password") })
			w.want("Basic", a, 401, "invalid_token", "")
			if got := a.header.Get("WWW-Authenticate"); strings.Contains(got, "Basic") {
				t.Errorf("WWW-Authenticate: %q", got)
			}
			if a := w.send("POST", "/api/v1/bootstrap/renew", admin, ""); a.status != 404 {
				t.Errorf("renew: got %d", a.status)
			}
		}},
		{"error body: one shape", func(t *testing.T, w *world, admin string) {
			w.db.reads.Store(&errDown)
			w.want("503", w.send("GET", tokensPath, admin, ""), 503, "unavailable", "")
			w.db.reads.Store(nil)
			w.want("400", w.send("POST", tokensPath, admin, "junk"), 400, "invalid_request", "")
			w.want("401", w.send("POST", tokensPath, "", ""), 401, "invalid_token", "")
			w.want("403", w.send("GET", tokensPath, w.key("person", "bob"), ""), 403, "insufficient_scope", "")
			w.want("404", w.send("GET", noAppPath, admin, ""), 404, "not_found", "")
			w.want("405", w.send("PUT", tokensPath, admin, ""), 405, "method_not_allowed", "")
			w.want("413", w.send("POST", tokensPath, admin, request("name", quote(strings.Repeat("x", 1<<17)))), 413, "too_large", "")
		}},
		{"storage: prefix, found by id, 40-character legacy", func(t *testing.T, w *world, admin string) {
			if a := w.create(admin, tokensPath, request()); !strings.HasPrefix(a.text("token"), "quay_oat_") {
				t.Error("no prefix")
			}
			legacy := strings.Repeat("aB3", 13) + "Z"
			_, err := w.Import(t.Context(), root, "myorg", "app123", apptoken.Spec{Name: "old", Scopes: []string{"repo:read"}}, legacy)
			if err != nil || !w.works(legacy) {
				t.Errorf("legacy: %v", err)
			}
		}},
		{"audit: same kinds, true auth_method", func(t *testing.T, w *world, admin string) {
			token := "Bearer " + w.create(admin, tokensPath, request("scope", `"org:admin"`)).text("token")
			w.create(token, tokensPath, request("scope", `"org:admin"`))
			events := w.events("apptoken.created")
			if len(events) != 2 || events[0].Attrs["kind"] != "create_oauth_api_token" || events[0].Attrs["auth_method"] != "host" || events[1].Attrs["auth_method"] != "OAuth" {
				t.Errorf("got %+v", events)
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			row.test(t, w, w.admin())
		})
	}
}

// The weaknesses of section 2.6 of wire/provisioning.md that are about tokens.

func TestWeaknessTokensLoggedWhole(t *testing.T) {
	w := newWorld(t)
	made := w.create(w.admin(), tokensPath, request("scope", `"org:admin"`, "expiration", "60"))
	token := made.text("token")
	other := w.create(w.admin(), tokensPath, request()).text("token")
	wrong := token[:30] + other[30:]
	w.clock.Advance(time.Minute)
	for _, value := range []string{"Bearer " + token, "Bearer " + wrong, "Bearer " + token + "x", "Basic " + token, "Bearer  " + token + " x"} {
		if a := w.send("POST", tokensPath, value, request()); a.status != 401 || strings.Contains(a.body, token[20:]) {
			t.Errorf("got %d %s", a.status, a.body)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	heard, _ := json.Marshal(w.heard)
	for _, secret := range []string{token[len(token)-30:], wrong[len(wrong)-30:]} {
		if strings.Contains(w.log.String(), secret) || strings.Contains(string(heard), secret) {
			t.Error("a token is in the log or the audit")
		}
	}
}

// No slow hash of a random secret on every call: see also BenchmarkBearer of the root.
func TestWeaknessBcryptOnEveryCall(t *testing.T) {
	w := newWorld(t)
	token := w.create(w.admin(), tokensPath, request()).text("token")
	for r, err := range w.db.List(t.Context(), store.Query{Kind: keywright.KindKey}) {
		if must(t, err); strings.Contains(string(r.Data), "$2") {
			t.Error("a key is hashed by bcrypt")
		}
	}
	if !w.works(token) {
		t.Error("the token does not work")
	}
}

func TestWeaknessTenYearsAndSilentClamp(t *testing.T) {
	w := newWorld(t)
	w.want("ten years", w.send("POST", tokensPath, w.admin(), request("expiration", "315576000")), 400, "invalid_request", "at most 31536000 seconds")
}

func TestWeaknessCSRFForADeadToken(t *testing.T) {
	w := newWorld(t)
	made := w.create(w.admin(), tokensPath, request("scope", `"org:admin"`))
	w.send("DELETE", tokensPath+"/"+made.text("uuid"), w.admin(), "")
	for _, method := range []string{"GET", "POST", "DELETE"} {
		path := tokensPath
		if method == "DELETE" {
			path += "/" + made.text("uuid")
		}
		w.want(method, w.send(method, path, "Bearer "+made.text("token"), request()), 401, "invalid_token", "")
	}
}

func TestWeaknessLocalTimes(t *testing.T) {
	w := newWorld(t) // whose clock is 5:30 ahead of UTC
	made, err := w.Create(t.Context(), root, "myorg", "app123", spec)
	if must(t, err); made.Created.Location() != time.UTC || made.Expires.Location() != time.UTC {
		t.Errorf("in Go: got %v to %v", made.Created, made.Expires)
	}
	a := w.create(w.admin(), tokensPath, request("expiration", "60"))
	if a.text("created") != "2026-01-01T00:00:00Z" || a.text("expires_at") != "2026-01-01T00:01:00Z" {
		t.Errorf("got %s", a.body)
	}
}

// Quay's user/initialize is for whoever comes first, and its renewals end a token
// before the next one is known to be read, or go by one header. There is neither
// here: the first key comes from package bootstrap, and tokens are made and
// deleted one by one.
func TestWeaknessFirstComeAndRenewals(t *testing.T) {
	w := newWorld(t, zeroTouch())
	for _, path := range []string{"/api/v1/user/initialize", "/api/v1/bootstrap/renew"} {
		for name, set := range map[string]func(*http.Request){
			"a stranger": func(*http.Request) {}, "a super user": func(r *http.Request) { r.SetBasicAuth("ann", "pw") },
			"the header": func(r *http.Request) { r.Header.Set("X-Quay-Bootstrap-Renewal-Location", "local") },
		} {
			if a := w.send("POST", path, "", `{"username":"x","password":"y"}`, set); a.status != 404 {
				t.Errorf("%s by %s: got %d, want 404", path, name, a.status)
			}
		}
	}
}

// The log tells of a revoked token all that there was to know.
func TestWeaknessPoorRevokeLog(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) {
		c.Callers = superUsers{}
		c.ZeroTouch = apptoken.ZeroTouch{Enabled: true, ServiceAccounts: []apptoken.ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}}
	})
	made := w.create(basic("ann"), tokensPath, request("name", `"nightly"`, "scope", `"repo:write"`, "expiration", "3600"))
	key := w.who(made.text("token")).Credential
	w.clock.Advance(time.Minute)
	w.send("DELETE", tokensPath+"/"+made.text("uuid"), basic("bea"), "")
	events := w.events("apptoken.revoked")
	if len(events) != 1 {
		t.Fatalf("got %+v", events)
	}
	want := map[string]string{
		"kind": "revoke_oauth_api_token", "oauth_token_uuid": made.text("uuid"), "token_display_name": "nightly", "scope": "repo:write",
		"created": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T01:00:00Z", "created_by": "ann", "created_auth_method": "LDAP", "key": key,
		"organization": "myorg", "client_id": "app123", "application_name": "builder", "by": "bea", "auth_method": "LDAP",
	}
	for name, value := range want {
		if events[0].Attrs[name] != value {
			t.Errorf("%s: got %q, want %q", name, events[0].Attrs[name], value)
		}
	}
	if len(events[0].Attrs) != len(want) || events[0].Target != made.text("uuid") || events[0].Actor == "" || events[0].Remote == "" {
		t.Errorf("got %+v", events[0])
	}
	stored := 0
	for e, err := range w.host.Events(t.Context(), "") {
		if must(t, err); strings.HasPrefix(e.Name, "apptoken.") {
			stored++
		}
	}
	if stored != 2 {
		t.Errorf("%d events are stored, want both", stored)
	}
}

// Refusals name who tried what.
func TestWeaknessDeniedAttemptsAreNotLogged(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Callers = superUsers{} })
	pull := w.makeTokens(1, "myorg", "app123")[0]
	for _, tt := range []struct{ authorization, path, actor, method, org, client string }{
		{"Bearer " + pull.Text, otherOrgPath, w.who(pull.Text).Credential, "OAuth", "other", "app123"},
		{basic("ann"), noAppPath, "", "LDAP", "myorg", "none"},
	} {
		w.send("POST", tt.path, tt.authorization, request())
		e := w.last()
		if e.Name != "apptoken.refused" || e.Attrs["auth_method"] != tt.method || e.Attrs["organization"] != tt.org || e.Attrs["client_id"] != tt.client ||
			tt.actor != "" && e.Attrs["actor"] != tt.actor || e.Attrs["actor"] == "" || e.Remote == "" {
			t.Errorf("got %+v", e)
		}
	}
}

func TestWeaknessBlanketTokens(t *testing.T) {
	w := newWorld(t)
	token := "Bearer " + w.create(w.admin(), tokensPath, request("scope", `"org:admin repo:admin"`)).text("token")
	w.want("another organisation", w.send("GET", otherOrgPath, token, ""), 403, "insufficient_scope", "")
	if p := w.who(strings.TrimPrefix(token, "Bearer ")); p.Attrs["organization"] != "myorg" {
		t.Errorf("a host cannot tell where it belongs: %+v", p)
	}
}

// A token is its application's, not that of the person who made it.
func TestWeaknessTokensDieWithAnAccount(t *testing.T) {
	w := newWorld(t)
	alice := w.alice()
	token := w.create(alice, tokensPath, request()).text("token")
	id, _ := w.host.Keys.ID(strings.TrimPrefix(alice, "Bearer "))
	must(t, w.host.Keys.Delete(t.Context(), root, id))
	if !w.works(token) {
		t.Error("the token died with its maker's key")
	}
}
