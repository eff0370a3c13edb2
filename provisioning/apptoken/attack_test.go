package apptoken_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// The tests of this file bear the numbers of the attack catalogue.

func TestPRV01NoCredentials(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ method, path, body string }{
		{"GET", tokensPath, ""}, {"POST", tokensPath, request()}, {"POST", tokensPath, "junk"}, {"DELETE", tokensPath + "/x", ""}, {"GET", noOrgPath, ""},
	} {
		a := w.send(tt.method, tt.path, "", tt.body)
		w.want(tt.method, a, 401, "invalid_token", "")
		if got := a.header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("%s: WWW-Authenticate %q, want Bearer", tt.method, got)
		}
	}
	if got := len(w.events("apptoken.refused")); got != 5 {
		t.Errorf("the audit has heard of %d of 5 refusals", got)
	}
	// Whoever comes with a bad credential is told of once, by who has looked at it.
	w.send("GET", tokensPath, "Bearer quay_oat_"+strings.Repeat("0", 45), "")
	if own, keys := len(w.events("apptoken.refused")), len(w.events("key.refused")); own != 5 || keys != 1 {
		t.Errorf("a bad key: heard of %d times here and %d times there", own-5, keys)
	}
}

func TestPRV02AuthorizationGrammar(t *testing.T) {
	w := newWorld(t)
	key := w.create(w.admin(), tokensPath, request("scope", `"org:admin"`)).text("token")
	for _, tt := range []struct {
		value  string
		status int
	}{
		{"Bearer", 401}, {"Bearer ", 401}, {"bearer " + key, 200}, {"BEARER " + key, 200}, {"Key " + key, 200},
		{"Bearer  " + key, 200}, // RFC 9110 has 1*SP there
		{"Bearer\t" + key, 401}, {"Bearer" + key, 401}, {"Bearer " + key + " x", 401}, {key, 401},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte(key+":")), 401}, {"Bearer " + key + "x", 401}, {"Bearer " + strings.ToUpper(key), 401},
	} {
		a := w.send("GET", tokensPath, "", "", func(r *http.Request) { r.Header["Authorization"] = []string{tt.value} })
		if shown := strings.ReplaceAll(tt.value, key, "KEY"); a.status != tt.status {
			t.Errorf("%q: got %d %s, want %d", shown, a.status, a.body, tt.status)
		} else if tt.status == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%q: no challenge", shown)
		}
	}
}

func TestPRV03MultipleCredentials(t *testing.T) {
	w := newWorld(t)
	good := w.create(w.admin(), tokensPath, request("scope", `"org:admin"`)).text("token")
	header := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for _, tt := range []struct {
		name, path string
		edit       func(*http.Request)
	}{
		{"two fields", tokensPath, header("Authorization", "Bearer "+good, "Bearer "+good)},
		{"two kinds of fields", tokensPath, header("Authorization", "Basic YTpi", "Bearer "+good)},
		{"a list", tokensPath, header("Authorization", "Bearer A, Bearer "+good)},
		{"a parameter", tokensPath + "?access_token=x", header("Authorization", "Bearer "+good)},
		{"another field", tokensPath, func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+good)
			r.Header.Set("X-API-Key", "x")
		}},
	} {
		a := w.send("GET", tt.path, "", "", tt.edit)
		w.want(tt.name, a, 400, "invalid_request", "more than one credential")
	}
	both := newWorld(t, func(c *apptoken.Config) { c.Callers = sessions{} })
	made, err := both.Create(t.Context(), keywright.Principal{Scopes: []string{"admin"}}, "myorg", "app123", apptoken.Spec{Name: "t", Scopes: []string{"org:admin"}})
	if err != nil {
		t.Fatal(err)
	}
	a := both.send("GET", tokensPath, "Bearer "+made.Text, "", func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "session", Value: "x"}) })
	both.want("a token and a session", a, 400, "invalid_request", "more than one credential")
}

// No output but the one answer holds a secret, a hash or what only the store needs.
func TestPRV11List(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.create(admin, tokensPath, request())
	secret := made.text("token")
	list := w.send("GET", tokensPath, admin, "")
	want := []string{"created", "created_by", "expires_at", "last_accessed", "name", "scope", "scopes", "token_id", "uuid"}
	var got []string
	for name := range list.list()[0] {
		got = append(got, name)
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("members: got %q, want %q", got, want)
	}
	outputs := []string{list.body, w.send("DELETE", tokensPath+"/"+made.text("uuid"), admin, "").body, w.log.String()}
	for _, e := range append(w.events("apptoken.created"), w.events("apptoken.revoked")...) {
		text, _ := json.Marshal(e)
		outputs = append(outputs, string(text))
	}
	for _, r := range w.dump() {
		outputs = append(outputs, string(r.Data))
	}
	for _, out := range outputs {
		if strings.Contains(out, secret) || strings.Contains(out, secret[len(secret)-30:]) {
			t.Errorf("the secret is in %s", out)
		}
	}
	if n := strings.Count(made.body, secret); n != 2 {
		t.Errorf("the answer has the secret %d times, want it as token and as token_secret", n)
	}
}

// dump returns all records that this package has a part in.
func (w *world) dump() []store.Record {
	w.t.Helper()
	var all []store.Record
	for _, kind := range []string{apptoken.KindToken, apptoken.KindApplication, keywright.KindKey, keywright.KindKeyLast, keywright.KindEvent} {
		for r, err := range w.db.Store.List(w.t.Context(), store.Query{Kind: kind}) {
			if err != nil {
				w.t.Fatal(err)
			}
			all = append(all, r)
		}
	}
	return all
}

func TestPRV16PrivilegeSeparation(t *testing.T) {
	w := newWorld(t)
	runner := w.key("runner", "sdr-1", "org:admin", "admin")
	w.want("a key of another kind", w.send("POST", tokensPath, runner, request()), 403, "insufficient_scope", "this kind of key")
	pull := "Bearer " + w.create(w.admin(), tokensPath, request()).text("token")
	w.want("a token that pulls", w.send("POST", tokensPath, pull, request()), 403, "insufficient_scope", "")
	w.want("a token that pulls, GET", w.send("GET", tokensPath, pull, ""), 403, "insufficient_scope", "")
	for _, junk := range []string{"Bearer abc", "Bearer " + strings.Repeat("A", 40), "Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer quay_oat_" + strings.Repeat("0", 45)} {
		w.want(junk, w.send("POST", tokensPath, junk, request()), 401, "invalid_token", "")
	}
	// And the other way round: a token is no key of another kind.
	admins := w.host.Keys.Of("admin")
	r, _ := http.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", pull)
	if _, err := admins.Authenticate(r); err == nil || keywright.AsError(err).Code != keywright.CodeInsufficientScope {
		t.Errorf("a token where admin keys are wanted: got %v", err)
	}
}

// PRV-29 for a call of administration: unknown members are refused. The other
// bad bodies are in TestBadRequests.
func TestPRV29JSONStrictness(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for _, body := range []string{
		`{"name":"a","name":"b","scope":"repo:read"}`, request("organization", `"other"`), request("token_secret", `"x"`), request() + "{}", "[]", "null",
		"\ufeff" + request(), "\xff\xfe{\x00}\x00", strings.Repeat(`{"name":`, 7000), request("expiration", "1e400"), request("name", `"\ud800"`), request("name", "\"\xff\""),
	} {
		w.want(fmt.Sprintf("%.40q", body), w.send("POST", tokensPath, admin, body), 400, "invalid_request", "")
	}
	w.want("10 MiB", w.send("POST", tokensPath, admin, `{"name":"`+strings.Repeat("x", 10<<20)), 413, "too_large", "")
}

func TestPRV31ScopeGrammar(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for _, scopes := range []string{`[]`, `["org:admin "]`, `["ORG:ADMIN"]`, `["*"]`, `"repo:read"`, `["repo:delete"]`, `["repo:*"]`, `[""]`, `["repo:read,repo:write"]`} {
		w.want(scopes, w.send("POST", tokensPath, admin, scopesOnly(scopes)), 400, "invalid_scope", "")
	}
	a := w.create(admin, tokensPath, scopesOnly(`["repo:read","repo:read"]`))
	if a.text("scope") != "repo:read" {
		t.Errorf("duplicates: got %s, want them merged", a.body)
	}
	w.want("above the caller's", w.send("POST", tokensPath, w.alice(), scopesOnly(`["super:user"]`)), 403, "insufficient_scope", "super:user")
}

func TestPRV32ExpirationGrammar(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for _, text := range []string{"0d", "-1d", "1e9d", "30D", "30", "1h30m", "٣d", "999999999999999999d", " 30d", "366d"} {
		w.want(text, w.send("POST", tokensPath, admin, request("expiration", quote(text))), 400, "invalid_request", "'expiration'")
	}
	if n := w.count(apptoken.KindToken); n != 0 {
		t.Errorf("%d tokens were made", n)
	}
}

// What is of another organisation or application is not there.
func TestPRV34IDOR(t *testing.T) {
	w := newWorld(t)
	admin, alice := w.admin(), w.alice()
	mine := w.create(admin, tokensPath, request("name", `"mine"`))
	sibling := w.create(admin, otherAppPath, request("name", `"sibling"`))
	theirs := w.create(admin, otherOrgPath, request("name", `"theirs"`))
	missing := w.send("DELETE", tokensPath+"/01890a5d-ac96-774b-bcce-b302099a8057", alice, "")
	w.want("missing", missing, 404, "not_found", "")
	for name, id := range map[string]string{
		"another application's": sibling.text("uuid"), "another organisation's": theirs.text("uuid"), "its number": "1", "another number": "2",
		"upper case": strings.ToUpper(mine.text("uuid")), "without hyphens": strings.ReplaceAll(mine.text("uuid"), "-", ""), "in braces": "{" + mine.text("uuid") + "}",
		"its public key id": w.who(mine.text("token")).Credential, "a byte more": mine.text("uuid") + "00", "a path": "..%2F" + mine.text("uuid"), "with NUL": mine.text("uuid") + "%00",
	} {
		if a := w.send("DELETE", tokensPath+"/"+id, alice, ""); a.status != 404 || a.body != missing.body {
			t.Errorf("%s: got %d %s, want what a missing one gets", name, a.status, a.body)
		}
	}
	for name, path := range map[string]string{
		"a missing application": noAppPath + "/" + mine.text("uuid"), "a sibling": otherAppPath + "/" + mine.text("uuid"),
	} {
		if a := w.send("DELETE", path, alice, ""); a.status != 404 || a.body != missing.body {
			t.Errorf("%s: got %d %s, want what a missing token gets", name, a.status, a.body)
		}
	}
	w.want("by way of the other organisation", w.send("DELETE", otherOrgPath+"/"+theirs.text("uuid"), alice, ""), 403, "insufficient_scope", "")
	for path, want := range map[string]string{tokensPath: "mine", otherAppPath: "sibling"} {
		if list := w.send("GET", path, alice, ""); list.names() != want {
			t.Errorf("%s: got %q, want %q alone", path, list.names(), want)
		}
	}
	for _, made := range []answer{mine, sibling, theirs} {
		if !w.works(made.text("token")) {
			t.Errorf("%s does not work any more", made.text("name"))
		}
	}
}

// A name is shown and logged as one thing.
func TestPRV36Injection(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	for _, name := range []string{"x\r\nFAKE 200 admin", "x\nFAKE", "\x1b[2J", "x\u202eadmin", "x\u2028FAKE"} {
		w.want(fmt.Sprintf("%q", name), w.send("POST", tokensPath, admin, request("name", quote(name))), 400, "invalid_request", "'name'")
		w.want(fmt.Sprintf("scope %q", name), w.send("POST", tokensPath, admin, request("scope", quote(name))), 400, "invalid_scope", "")
	}
	w.want("1 MiB", w.send("POST", tokensPath, admin, request("name", quote(strings.Repeat("x", 1<<20)))), 413, "too_large", "")
	a := w.create(admin, tokensPath, request("name", `"<script>alert(1)</script>"`))
	if strings.Contains(a.body, "<script>") || a.text("name") != "<script>alert(1)</script>" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("a page in a name: got %s", a.body)
	}
	for _, e := range w.events("apptoken.refused") {
		if strings.ContainsAny(e.Detail, "\r\n\x1b\u202e\u2028") {
			t.Errorf("the audit has %q", e.Detail)
		}
	}
	if log := w.log.String(); strings.Contains(log, "\nFAKE") {
		t.Errorf("the log has %q", log)
	}
}
