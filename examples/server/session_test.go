package main_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/store"
)

// A browser is somebody's cookies.
type browser struct {
	*process
	session, csrf string
}

func (p *process) login(password string) (browser, answer) {
	p.in.t.Helper()
	res, err := client.Post(p.url+"/api/auth/login", "application/json", strings.NewReader(`{"username":"admin","password":"`+password+`"}`))
	if err != nil {
		p.in.t.Fatal(err)
	}
	b := browser{process: p}
	for _, c := range res.Cookies() {
		switch c.Name {
		case "session_token":
			b.session = c.Value
		case "csrf_token":
			b.csrf = c.Value
		}
	}
	p.in.hide(b.session, b.csrf)
	return b, answer{res.StatusCode, res.Header, readAll(p.in.t, res)}
}

func (p *process) mustLogin(password string) browser {
	p.in.t.Helper()
	b, a := p.login(password)
	if a.status != 200 || b.session == "" || b.csrf == "" {
		p.in.t.Fatalf("login: got %d %s", a.status, a.body)
	}
	return b
}

// send sends the cookies that are not empty, and repeats the token for CSRF in
// the header where header says what.
func (b browser) send(method, path, header, body string, more ...string) answer {
	b.in.t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.in.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if b.session != "" {
		req.AddCookie(&http.Cookie{Name: "session_token", Value: b.session})
	}
	if b.csrf != "" {
		req.AddCookie(&http.Cookie{Name: "csrf_token", Value: b.csrf})
	}
	if header != "" {
		req.Header.Set("X-CSRF-Token", header)
	}
	for i := 0; i+1 < len(more); i += 2 {
		req.Header.Set(more[i], more[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		b.in.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, readAll(b.in.t, res)}
}

func sessionServer(t *testing.T) (*installation, *process) {
	t.Helper()
	in := newInstallation(t)
	in.configure(`{"admin":` + adminJSON(t, "correct horse battery") + `}`)
	in.hide("correct horse battery")
	return in, in.start()
}

// TestLogin compares the answer and its cookies with ChallengeCtl's.
func TestLogin(t *testing.T) {
	t.Parallel()
	for _, overTLS := range []bool{false, true} {
		in := newInstallation(t)
		in.configure(`{"admin":` + adminJSON(t, "correct horse battery") + `}`)
		if overTLS {
			in.serveTLS()
		}
		p := in.start()
		b, a := p.login("correct horse battery")
		if want := `{"status":"authenticated","totp_required":false,"initial_setup_required":false,"username":"admin"}` + "\n"; a.status != 200 || a.body != want {
			t.Errorf("got %d %s, want 200 %s", a.status, a.body, want)
		}
		secure := map[bool]string{true: "; Secure"}[overTLS]
		want := []string{
			"session_token=" + b.session + "; Path=/; Max-Age=86400; HttpOnly" + secure + "; SameSite=Lax",
			"csrf_token=" + b.csrf + "; Path=/; Max-Age=86400" + secure + "; SameSite=Lax",
		}
		if diff := cmp.Diff(want, a.header.Values("Set-Cookie")); diff != "" {
			t.Errorf("cookies (-want +got):\n%s", diff)
		}
		for _, secret := range []string{b.session, b.csrf} {
			if !regexp.MustCompile(`^[0-9A-Za-z]{26,}$`).MatchString(secret) {
				t.Errorf("a cookie has a value that scripts cannot read: %q", secret)
			}
		}
	}
}

// TestLoginRefused gives one answer for a wrong name and a wrong password, and
// after the fifth none, but only to the address that has failed.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	in, p := sessionServer(t)
	other := in.start()
	attempts := []string{
		`{"username":"admin","password":"wrong"}`, `{"username":"root","password":"correct horse battery"}`,
		`{"username":"admin"}`, `{"username":"admin","password":"` + strings.Repeat("x", 100) + `"}`, `{}`,
	}
	p.mustLogin("correct horse battery") // does not count
	for _, body := range attempts {
		a := p.requestJSON("POST", "/api/auth/login", "", body)
		p.wantError(body, a, 401, "Invalid credentials")
		if a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: a cookie was set", body)
		}
	}
	for _, q := range []*process{p, other} {
		a := q.requestJSON("POST", "/api/auth/login", "", `{"username":"admin","password":"correct horse battery"}`)
		q.wantError("the sixth", a, 429, "Too many failed logins")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	for _, body := range []string{"", "x", `{"username":1}`, `[]`} {
		if a := p.requestJSON("POST", "/api/auth/login", "", body); a.status != 400 {
			t.Errorf("%s: got %d %s, want 400", body, a.status, a.body)
		}
	}
	p.wantError("GET", p.get("/api/auth/login", ""), 405, "Method not allowed")
	p.wantError("another site", browser{process: p}.send("POST", "/api/auth/login", "", "{}", "Sec-Fetch-Site", "cross-site"), 403, "cross-origin request")
}

// TestSession has a row for each answer to requests with cookies.
func TestSession(t *testing.T) {
	t.Parallel()
	in, p := sessionServer(t)
	b, another := p.mustLogin("correct horse battery"), p.mustLogin("correct horse battery")
	admin := "Bearer " + p.claim()
	const keys = "/api/provisioning/keys"
	none, unknown := browser{process: p}, browser{p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", b.csrf}
	mixed := browser{p, b.session, another.csrf}
	for _, tt := range []struct {
		name           string
		who            browser
		method, header string
		more           []string
		status         int
		text           string
	}{
		{"no cookie", none, "GET", "", nil, 401, "Missing or invalid session"},
		{"no cookie, POST", none, "POST", "x", nil, 401, "Missing or invalid session"},
		{"unknown", unknown, "GET", "", nil, 401, "Invalid or expired session"},
		{"unknown, POST without token", unknown, "POST", "", nil, 401, "Invalid or expired session"},
		{"no header", b, "POST", "", nil, 403, "CSRF token missing"},
		{"no CSRF cookie", browser{p, b.session, ""}, "POST", b.csrf, nil, 403, "CSRF token missing"},
		{"another token", b, "POST", another.csrf, nil, 403, "CSRF token invalid"},
		{"the token of another session", mixed, "POST", another.csrf, nil, 403, "CSRF token invalid"},
		{"another site", b, "POST", b.csrf, []string{"Sec-Fetch-Site", "cross-site"}, 403, "cross-origin request"},
		{"a session and a key", b, "GET", "", []string{"Authorization", admin}, 400, "more than one credential"},
	} {
		p.wantError(tt.name, tt.who.send(tt.method, keys, tt.header, `{"key_id":"k"}`, tt.more...), tt.status, tt.text)
	}
	if a := b.send("POST", keys, b.csrf, `{"key_id":"k"}`); a.status != 201 {
		t.Errorf("create: got %d %s", a.status, a.body)
	}
	if a := p.get(keys, admin); a.status != 200 || !strings.Contains(a.body, `"created_by":"admin"`) {
		t.Errorf("list with a key: got %d %s", a.status, a.body)
	}
	if a := in.start().get(keys, admin); a.status != 200 {
		t.Errorf("at another process: got %d %s", a.status, a.body)
	}
	b.wantEnds(keys, another)
}

// wantEnds ends sessions by logout, by time and by a change of the password.
func (b browser) wantEnds(path string, another browser) {
	in, t := b.in, b.in.t
	b.wantError("logout without token", b.send("POST", "/api/auth/logout", "", ""), 403, "CSRF token missing")
	a := b.send("POST", "/api/auth/logout", b.csrf, "")
	if cookies := a.header.Values("Set-Cookie"); a.status != 200 || len(cookies) != 2 || !strings.Contains(cookies[0], "Max-Age=0") {
		t.Errorf("logout: got %d %s %v", a.status, a.body, cookies)
	}
	b.wantError("after logout", b.send("GET", path, "", ""), 401, "Invalid or expired session")

	in.age(23 * time.Hour)
	if a := another.send("GET", path, "", ""); a.status != 200 {
		t.Errorf("after 23 hours: got %d %s", a.status, a.body)
	}
	in.age(23 * time.Hour) // since that request has moved the end
	if a := another.send("GET", path, "", ""); a.status != 200 {
		t.Errorf("after 46 hours: got %d %s", a.status, a.body)
	}
	in.age(25 * time.Hour)
	b.wantError("after 25 hours without a request", another.send("GET", path, "", ""), 401, "Session expired")

	third := b.mustLogin("correct horse battery")
	in.configure(`{"admin":` + adminJSON(t, "another password") + `}`)
	third.process = in.start()
	b.wantError("after a change of the password", third.send("GET", path, "", ""), 401, "Invalid or expired session")
}

// age makes all sessions older, as the store has them. No token is there.
func (in *installation) age(d time.Duration) {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	for r, err := range host.Store.List(in.t.Context(), store.Query{Kind: "example.session"}) {
		in.check(err)
		var session map[string]any
		in.check(json.Unmarshal(r.Data, &session))
		expires, err := time.Parse(time.RFC3339Nano, session["expires"].(string))
		in.check(err)
		session["expires"] = expires.Add(-d)
		r.Data, err = json.Marshal(session)
		in.check(err)
		in.check(host.Store.Commit(in.t.Context(), store.Replace(r)))
		for _, secret := range in.hidden {
			if strings.Contains(r.ID+string(r.Data), secret) {
				in.t.Error("the store holds the token of a session")
			}
		}
	}
}

// TestPermission is for an administrator who may look after runners alone.
func TestPermission(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(`{"admin":` + strings.TrimSuffix(adminJSON(t, "yourpassword"), "}") + `,"permissions":[]}}`)
	p := in.start()
	b := p.mustLogin("yourpassword")
	const text = "Permission denied: create_provisioning_key permission required"
	for _, tt := range [][2]string{{"GET", ""}, {"POST", ""}, {"DELETE", "/k"}, {"POST", "/k/toggle"}, {"POST", "/k/rotate"}} {
		p.wantError(tt[0]+tt[1], b.send(tt[0], "/api/provisioning/keys"+tt[1], b.csrf, `{"key_id":"k"}`), 403, text)
	}
	if a := b.send("GET", "/api/runners", "", ""); a.status != 200 {
		t.Errorf("runners: got %d %s", a.status, a.body)
	}
}
