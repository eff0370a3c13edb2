package apptoken_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// request is a body with the members that a test changes; "-" leaves one out.
func request(members ...string) string {
	all := map[string]string{"name": `"ci"`, "scope": `"repo:read"`}
	for i := 0; i < len(members); i += 2 {
		if all[members[i]] = members[i+1]; members[i+1] == "-" {
			delete(all, members[i])
		}
	}
	var parts []string
	for name, value := range all {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func scopesOnly(value string) string { return request("scope", "-", "scopes", value) }

// Every member of the wrong type, too long or otherwise odd: 400, which names
// it, and nothing is written.
func TestBadRequests(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	huge := strings.Repeat("9", 400)
	for _, tt := range []struct {
		name, body string
		code       keywright.Code
		contains   string
	}{
		{"no body", ``, "invalid_request", "body"},
		{"no object", `[]`, "invalid_request", "JSON object"},
		{"null", `null`, "invalid_request", "JSON object"},
		{"two objects", request() + `{}`, "invalid_request", "JSON object"},
		{"an unknown member", request("owner", `"me"`), "invalid_request", "owner"},
		{"a member in another case", request("name", "-", "Name", `"ci"`), "invalid_request", "Name"},
		{"a member twice", `{"name":"a","name":"b","scope":"repo:read"}`, "invalid_request", "name"},
		{"a byte order mark", "\ufeff" + request(), "invalid_request", "JSON object"},
		{"a lone surrogate", request("name", `"\ud800"`), "invalid_request", "JSON object"},
		{"too deep", request("name", strings.Repeat("[", 1000)+strings.Repeat("]", 1000)), "invalid_request", "JSON object"},

		{"name is missing", request("name", "-"), "invalid_request", "'name'"},
		{"name is null", request("name", "null"), "invalid_request", "'name'"},
		{"name is a number", request("name", "1"), "invalid_request", "name"},
		{"name is a list", request("name", `["ci"]`), "invalid_request", "name"},
		{"name is empty", request("name", `""`), "invalid_request", "'name'"},
		{"name is space", request("name", `"  \u3000 "`), "invalid_request", "'name'"},
		{"name is too long", request("name", quote(strings.Repeat("é", 256))), "invalid_request", "'name'"},
		{"name has a line end", request("name", `"ci\nx"`), "invalid_request", "'name'"},
		{"name ends with a line end", request("name", `"ci\n"`), "invalid_request", "'name'"},
		{"name has NUL", request("name", `"ci\u0000"`), "invalid_request", "'name'"},
		{"name has an escape", request("name", `"\u001b[31mci"`), "invalid_request", "'name'"},
		{"name has a C1 control", request("name", `"ci\u0085x"`), "invalid_request", "'name'"},
		{"name has a line separator", request("name", `"ci\u2028x"`), "invalid_request", "'name'"},
		{"name turns the direction", request("name", `"ci\u202ex"`), "invalid_request", "'name'"},

		{"no scope", request("scope", "-"), "invalid_request", "scope"},
		{"scope is null", request("scope", "null"), "invalid_request", "scope"},
		{"both spellings", request("scopes", `["repo:read"]`), "invalid_request", "scope and scopes"},
		{"scope is a list", request("scope", `["repo:read"]`), "invalid_scope", "scope: want a string"},
		{"scope is a number", request("scope", "1"), "invalid_scope", "scope: want a string"},
		{"scope is empty", request("scope", `""`), "invalid_scope", "scope"},
		{"scope is all separators", request("scope", `" , "`), "invalid_scope", "scope"},
		{"scopes is a number", scopesOnly("1"), "invalid_scope", "scopes: want a list"},
		{"scopes is an object", scopesOnly("{}"), "invalid_scope", "scopes"},
		{"scopes has a number", scopesOnly(`["repo:read",1]`), "invalid_scope", "scopes"},
		{"scopes has null", scopesOnly(`["repo:read",null]`), "invalid_scope", ""},
		{"one unknown scope of two", request("scope", `"repo:read repo:delete"`), "invalid_scope", "repo:delete"},
		{"two scopes in one", scopesOnly(`["repo:read repo:write"]`), "invalid_scope", "repo:read repo:write"},
		{"a tab between", request("scope", `"repo:read\trepo:write"`), "invalid_scope", `repo:read\trepo:write`},
		{"direct_user_login", request("scope", `"direct_user_login"`), "invalid_scope", "direct_user_login"},
		{"Cyrillic letters", request("scope", `"rеpo:read"`), "invalid_scope", "Invalid scope"},
		{"full width letters", request("scope", `"ｒｅｐｏ:read"`), "invalid_scope", "Invalid scope"},
		{"a long unknown scope", request("scope", quote(strings.Repeat("x", 5000))), "invalid_scope", "xxx..."},

		{"expiration is true", request("expiration", "true"), "invalid_request", "'expiration'"},
		{"expiration is false", request("expiration", "false"), "invalid_request", "'expiration'"},
		{"expiration is a list", request("expiration", "[30]"), "invalid_request", "'expiration'"},
		{"expiration is an object", request("expiration", "{}"), "invalid_request", "'expiration'"},
		{"expiration is null", request("expiration", "null"), "invalid_request", "'expiration'"},
		{"expiration is never", request("expiration", `"never"`), "invalid_request", "'expiration'"},
		{"expiration is 0", request("expiration", "0"), "invalid_request", "'expiration'"},
		{"expiration is below 1", request("expiration", "0.9"), "invalid_request", "'expiration'"},
		{"expiration is negative", request("expiration", "-1"), "invalid_request", "'expiration'"},
		{"expiration is infinite", request("expiration", "1e400"), "invalid_request", "'expiration'"},
		{"expiration is huge", request("expiration", huge), "invalid_request", "'expiration'"},
		{"expiration overflows", request("expiration", "9223372036854775808"), "invalid_request", "'expiration'"},
		{"expiration is a century and a second", request("expiration", "3153600001"), "invalid_request", "'expiration'"},
		{"expiration is beyond the maximum", request("expiration", "31536001"), "invalid_request", "'expiration'"},
	} {
		w.want(tt.name, w.send("POST", tokensPath, admin, tt.body), 400, tt.code, tt.contains)
	}
	for _, text := range []string{
		"", " ", "0d", "-1d", "+1d", "1e9d", "30D", "30", "1h30m", "٣d", "３d", "999999999999999999d", "99999999999999999999999d", huge + "s",
		" 30d", "30d ", "30d\n", "30 d", "d", "030d", "1.5d", "1mo", "Never", "366d", "2y", "53w", "30ｄ", "0x1d", "1_0d", "inf", "NaN",
	} {
		w.want(fmt.Sprintf("expiration %.20q", text), w.send("POST", tokensPath, admin, request("expiration", quote(text))), 400, "invalid_request", "'expiration'")
	}
	w.want("too large", w.send("POST", tokensPath, admin, request("name", quote(strings.Repeat("x", 1<<20)))), 413, "too_large", "")
	for _, s := range []apptoken.Spec{
		{Name: "\xff", Scopes: []string{"repo:read"}}, {Name: "x"}, {Name: "x", Scopes: []string{"repo:read"}, Lifetime: time.Millisecond},
		{Name: "x", Scopes: []string{"repo:read"}, Lifetime: -time.Hour}, {Name: "x", Scopes: []string{"repo:read"}, Never: true},
	} {
		if _, err := w.Create(t.Context(), root, "myorg", "app123", s); err == nil || keywright.AsError(err).Code.Status() != 400 {
			t.Errorf("%+v: got %v", s, err)
		}
	}
	if n := w.count(apptoken.KindToken) + w.count(apptoken.KindApplication); n != 0 {
		t.Errorf("%d records were written", n)
	}
}

// What is asked for is what there will be.
func TestGoodRequests(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	const start, day = "2026-01-01T00:00:00Z", 24 * time.Hour
	begin, _ := time.Parse(time.RFC3339, start)
	for _, tt := range []struct {
		body  string
		name  string
		scope string
		life  time.Duration
	}{
		{request(), "ci", "repo:read", 30 * day},
		{request("name", `"  ci job\t"`), "", "", 0}, // a tab is a control character
		{request("name", `" ci job "`), "ci job", "repo:read", 30 * day},
		{request("name", quote(strings.Repeat("é", 255))), strings.Repeat("é", 255), "repo:read", 30 * day},
		{request("name", `"日本語 👩‍💻 <script>"`), "日本語 👩‍💻 <script>", "repo:read", 30 * day},
		{request("scope", `"repo:write,repo:read,  repo:write"`), "ci", "repo:write repo:read", 30 * day},
		{scopesOnly(`["org:admin","repo:read","org:admin"]`), "ci", "org:admin repo:read", 30 * day},
		{scopesOnly(`["repo:read"]`), "ci", "repo:read", 30 * day},
		{request("scopes", "null"), "ci", "repo:read", 30 * day},
		{request("expiration", "1"), "ci", "repo:read", time.Second},
		{request("expiration", "3600.9"), "ci", "repo:read", time.Hour},
		{request("expiration", "1e3"), "ci", "repo:read", 1000 * time.Second},
		{request("expiration", "31536000"), "ci", "repo:read", 365 * day},
		{request("expiration", `"90s"`), "ci", "repo:read", 90 * time.Second},
		{request("expiration", `"5m"`), "ci", "repo:read", 5 * time.Minute},
		{request("expiration", `"1h"`), "ci", "repo:read", time.Hour},
		{request("expiration", `"30d"`), "ci", "repo:read", 30 * day},
		{request("expiration", `"365d"`), "ci", "repo:read", 365 * day},
		{request("expiration", `"2w"`), "ci", "repo:read", 14 * day},
		{request("expiration", `"1y"`), "ci", "repo:read", 365 * day},
	} {
		a := w.send("POST", tokensPath, admin, tt.body)
		if tt.name == "" {
			w.want(tt.body, a, 400, "invalid_request", "'name'")
			continue
		}
		end := begin.Add(tt.life).Format(time.RFC3339)
		if a.status != 200 || a.text("name") != tt.name || a.text("scope") != tt.scope || a.text("created") != start || a.text("expires_at") != end {
			t.Errorf("%s: got %d %s, want %q %q until %s", tt.body, a.status, a.body, tt.name, tt.scope, end)
		}
	}
}

func TestPolicy(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for _, tt := range []struct {
		name       string
		policy     apptoken.Policy
		expiration string
		end        string // empty: 400; "null": never
	}{
		{"default", apptoken.Policy{Default: hour}, "-", "2026-01-01T01:00:00Z"},
		{"default is no more than the maximum", apptoken.Policy{Max: day}, "-", "2026-01-02T00:00:00Z"},
		{"a long default", apptoken.Policy{Default: 730 * day}, "-", "2028-01-01T00:00:00Z"},
		{"at the maximum", apptoken.Policy{Max: day}, `"1d"`, "2026-01-02T00:00:00Z"},
		{"over the maximum", apptoken.Policy{Max: day}, `86401`, ""},
		{"over the maximum, clamped", apptoken.Policy{Max: day, Clamp: true}, `86401`, "2026-01-02T00:00:00Z"},
		{"ten years, clamped", apptoken.Policy{Clamp: true}, `315576000`, "2027-01-01T00:00:00Z"},
		{"1e400, clamped", apptoken.Policy{Clamp: true}, `1e400`, ""},
		{"more than a century, clamped", apptoken.Policy{Clamp: true}, `"101y"`, ""},
		{"null", apptoken.Policy{AllowNever: true}, `null`, "null"},
		{"never", apptoken.Policy{AllowNever: true}, `"never"`, "null"},
		{"never, not allowed", apptoken.Policy{Clamp: true}, `"never"`, ""},
		{"absent where never is allowed", apptoken.Policy{AllowNever: true}, "-", "2026-01-31T00:00:00Z"},
	} {
		w := newWorld(t, func(c *apptoken.Config) { c.Policy = tt.policy })
		a := w.send("POST", tokensPath, w.admin(), request("expiration", tt.expiration))
		if tt.end == "" {
			w.want(tt.name, a, 400, "invalid_request", "'expiration'")
			continue
		}
		if end, ok := a.fields["expires_at"].(string); a.status != 200 || end != strings.TrimPrefix(tt.end, "null") || ok == (tt.end == "null") {
			t.Errorf("%s: got %d %s, want %s", tt.name, a.status, a.body, tt.end)
		}
	}
}

// A token stops at its end, and one without an end does not.
func TestExpiry(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Policy.AllowNever = true })
	admin := w.admin()
	short := w.create(admin, tokensPath, request("name", `"short"`, "expiration", `"1h"`)).text("token")
	ever := w.create(admin, tokensPath, request("name", `"ever"`, "expiration", `"never"`)).text("token")
	w.clock.Advance(time.Hour - time.Second)
	if !w.works(short) || !w.works(ever) {
		t.Error("a token does not work before its end")
	}
	w.clock.Advance(time.Second)
	if w.works(short) {
		t.Error("a token works after its end")
	}
	w.clock.Advance(90 * 365 * 24 * time.Hour)
	if list := w.send("GET", tokensPath, admin, ""); !w.works(ever) || list.names() != "ever" || list.list()[0]["expires_at"] != nil {
		t.Errorf("a token without an end: works %v, list %s", w.works(ever), list.body)
	}
}

// Only a key makes the type of the body irrelevant: cookies and passwords are
// sent by browsers, along with a form of another site.
func TestBodyType(t *testing.T) {
	withType := func(media string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", media) }
	}
	cookie := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "session", Value: "root"}) }
	w := newWorld(t, func(c *apptoken.Config) { c.Callers = sessions{} })
	token := func() string {
		made, err := w.Create(t.Context(), keywright.Principal{Scopes: []string{"admin"}}, "myorg", "app123", apptoken.Spec{Name: "t", Scopes: []string{"org:admin", "repo:read"}})
		if err != nil {
			t.Fatal(err)
		}
		return made.Text
	}()
	for _, tt := range []struct {
		name, authorization, media string
		edit                       func(*http.Request)
		status                     int
	}{
		{"a key and a form", "Bearer " + token, "application/x-www-form-urlencoded", nil, 200},
		{"a key by another scheme", "Key " + token, "text/plain", nil, 200},
		{"a cookie and JSON", "", "application/json", cookie, 200},
		{"a cookie and text", "", "text/plain", cookie, 400},
		{"a cookie and a form", "", "application/x-www-form-urlencoded", cookie, 400},
		{"a password and JSON", "Basic cm9vdDpwdw==", "application/json; charset=utf-8", nil, 200},
		{"a password and text", "Basic cm9vdDpwdw==", "text/plain", nil, 400},
	} {
		edit := []func(*http.Request){withType(tt.media)}
		if tt.edit != nil {
			edit = append(edit, tt.edit)
		}
		if a := w.send("POST", tokensPath, tt.authorization, request(), edit...); a.status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
	}
}

// sessions is a host that takes any cookie and any password.
type sessions struct{}

func (sessions) Authenticate(r *http.Request) (keywright.Principal, error) {
	_, _, basic := r.BasicAuth()
	if _, err := r.Cookie("session"); err != nil && !basic {
		return keywright.Principal{}, keywright.ErrNoCredential
	}
	return keywright.Principal{Method: "session", Subject: "root", Scopes: []string{"admin"}}, nil
}
