package provisioning_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

const noHeader = "Missing or invalid authorization header"

// with sends a provision request with these fields of its header.
func (w *world) with(path string, header http.Header) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), "POST", w.url+path, strings.NewReader(named("sdr-1")))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = header
	return w.send(req)
}

// PRV-01, PRV-02 and PRV-03, and row "wrong scheme case". Two spaces behind the
// scheme are let pass (RFC 9110, section 11.4: one or more).
func TestPRV01PRV02PRV03GrammarOfAuthorization(t *testing.T) {
	w := newWorld(t, unlimited)
	key := w.makeKey("ci")
	token, runner := w.provision(key, "enrolled")
	w.enroll(token, runner, "enrolled")
	wrong := key[:len(key)-1] + flip(key)
	refusals := 0
	for _, tt := range []struct {
		name   string
		path   string
		header http.Header
		status int
		text   string
	}{
		{"PRV-01 none", "", http.Header{}, 401, noHeader},
		{"an empty one", "", http.Header{"Authorization": {""}}, 401, noHeader},
		{"no token", "", http.Header{"Authorization": {"Bearer"}}, 401, noHeader},
		{"a space for a token", "", http.Header{"Authorization": {"Bearer "}}, 401, noHeader},
		{"lower case", "", http.Header{"Authorization": {"bearer " + key}}, 201, ""},
		{"upper case", "", http.Header{"Authorization": {"BEARER " + key}}, 201, ""},
		{"two spaces", "", http.Header{"Authorization": {"Bearer  " + key}}, 201, ""},
		{"a tab", "", http.Header{"Authorization": {"Bearer\t" + key}}, 401, noHeader},
		{"another scheme", "", http.Header{"Authorization": {"Basic " + key}}, 401, noHeader},
		{"Connect's scheme", "", http.Header{"Authorization": {"Key " + key}}, 401, noHeader},
		{"no space", "", http.Header{"Authorization": {"Bearer" + key}}, 401, noHeader},
		{"a word more", "", http.Header{"Authorization": {"Bearer " + key + " x"}}, 401, noHeader},
		{"no key", "", http.Header{"Authorization": {"Bearer abc"}}, 401, badProvKey},
		{"a wrong checksum", "", http.Header{"Authorization": {"Bearer " + wrong}}, 401, badProvKey},
		{"a runner's key", "", http.Header{"Authorization": {"Bearer " + runner}}, 401, badProvKey},
		{"PRV-03 two fields", "", http.Header{"Authorization": {"Bearer " + key, "Bearer " + key}}, 400, "more than one credential"},
		{"a list", "", http.Header{"Authorization": {"Bearer abc, Bearer " + key}}, 400, "more than one credential"},
		{"in the query, too", "?access_token=" + key, http.Header{"Authorization": {"Bearer " + key}}, 400, "more than one credential"},
		{"in another field, too", "", http.Header{"Authorization": {"Bearer " + key}, "X-Api-Key": {key}}, 400, "more than one credential"},
		{"in the query alone", "?access_token=" + key, http.Header{}, 401, noHeader},
		{"in another field alone", "", http.Header{"X-Api-Key": {key}}, 401, noHeader},
	} {
		a := w.with(provisionPath+tt.path, tt.header)
		w.want(tt.name, a, tt.status, tt.text)
		if got := a.header.Get("WWW-Authenticate"); tt.status == 401 && got != "Bearer" {
			t.Errorf("%s: WWW-Authenticate %q", tt.name, got)
		}
		told := len(w.events("provisioning.key_refused")) + len(w.events("key.refused"))
		if refusals += min(1, max(0, tt.status-300)); told != refusals {
			t.Errorf("%s: %d events of refusals, want %d", tt.name, told, refusals)
		}
		if code := a.field("code"); tt.status == 401 && code != "invalid_token" || tt.status == 400 && code != "invalid_request" {
			t.Errorf("%s: code %q", tt.name, code)
		}
	}
}

// PRV-16, and "provisioning keys cannot" of the guide: an automation's key and a
// runner's key open nothing but their own doors, not even where the host lets
// every kind into its admin API.
func TestPRV16KeysOfProvisioningNeverAdminister(t *testing.T) {
	for _, all := range []bool{false, true} {
		var w *world
		everyKind := func(r *http.Request) (keywright.Principal, error) {
			return w.host.Keys.Of(w.host.Keys.Kinds()...).Authenticate(r)
		}
		w = newWorld(t, unlimited, func(s *setup) {
			if all {
				s.config.Admin = authFunc(everyKind)
			}
		})
		key := w.makeKey("ci", `"scopes":["admin"]`)
		token, runner := w.provision(key, "sdr-1")
		w.enroll(token, runner, "sdr-1")
		app := w.issue(keywright.KeySpec{Kind: "app", Method: keywright.MethodProvisioning, Subject: "app", Scopes: []string{"admin"}})
		before := w.dump(kinds...)
		for name, bearer := range map[string]string{"provisioning key": key, "runner key": runner, "app token": app} {
			for _, c := range []struct{ method, path, body string }{
				{"POST", keysPath, `{"key_id":"mine"}`}, {"GET", keysPath, ""}, {"DELETE", keysPath + "/ci", ""}, {"POST", keysPath + "/ci/toggle", `{}`},
				{"POST", keysPath + "/ci/rotate", ""}, {"GET", keysPath + "/ci/runners", ""}, {"POST", "/api/enrollment/token", named("sdr-9")},
				{"GET", "/api/enrollment/tokens", ""}, {"DELETE", "/api/enrollment/token/" + token, ""}, {"POST", "/api/enrollment/re-enroll/sdr-1", ""},
				{"GET", "/api/runners", ""}, {"GET", "/api/runners/sdr-1", ""}, {"DELETE", "/api/runners/sdr-1", ""}, {"POST", "/api/runners/sdr-1/disable", ""},
				{"POST", "/api/agents/sdr-1/enable", ""}, {"GET", "/api/agents", ""},
			} {
				a := w.call(c.method, c.path, bearer, c.body)
				if a.status != 403 || a.field("code") != "insufficient_scope" {
					t.Errorf("%s: %s %s: got %d %s", name, c.method, c.path, a.status, a.body)
				}
				w.want("an enrolment token", w.call(c.method, c.path, token, c.body), 401, "")
			}
			if bearer != key {
				w.want(name+": provision", w.call("POST", provisionPath, bearer, named("sdr-9")), 401, badProvKey)
			}
			if bearer != runner {
				w.want(name+": as a runner", w.call("GET", "/runner", bearer, ""), 401, badKey)
				w.want(name+": rotate", w.call("POST", "/api/enrollment/rotate", bearer, ""), 401, badKey)
			}
		}
		w.want("an admin's key: provision", w.call("POST", provisionPath, w.admin, named("sdr-9")), 401, badProvKey)
		w.unchanged("all of that", before)
		if n := len(w.events("provisioning.admin_refused")); (n > 0) != all {
			t.Errorf("all kinds %v: %d events provisioning.admin_refused", all, n)
		}
	}
}

type authFunc func(*http.Request) (keywright.Principal, error)

func (f authFunc) Authenticate(r *http.Request) (keywright.Principal, error) { return f(r) }

// Row "list": whoever has no permission does not even list. The calls about
// enrolments and runners do not need it.
func TestPermission(t *testing.T) {
	const scope = "create_provisioning_key"
	w := newWorld(t, func(s *setup) { s.config.Permission = scope })
	for _, path := range []string{keysPath, "/api/runners"} {
		if got := w.call("GET", path, "", "").header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("%s: WWW-Authenticate %q, want that of Admin", path, got)
		}
	}
	may := w.issue(keywright.KeySpec{Kind: "admin", Method: keywright.MethodHost, Subject: "op", Scopes: []string{"x", scope}})
	w.want("create", w.call("POST", keysPath, may, `{"key_id":"ci"}`), 201, "")
	for _, c := range []struct{ method, path, body string }{
		{"POST", keysPath, `{"key_id":"other"}`}, {"GET", keysPath, ""}, {"DELETE", keysPath + "/ci", ""},
		{"POST", keysPath + "/ci/toggle", `{"enabled":false}`}, {"POST", keysPath + "/ci/rotate", ""}, {"GET", keysPath + "/ci/runners", ""},
		{"DELETE", keysPath + "/none", ""},
	} {
		w.want(c.method+" "+c.path, w.call(c.method, c.path, w.admin, c.body), 403, "Permission denied: create_provisioning_key permission required")
	}
	w.want("list", w.call("GET", keysPath, may, ""), 200, "")
	w.want("tokens", w.call("GET", "/api/enrollment/tokens", w.admin, ""), 200, "")
	w.want("runners", w.call("GET", "/api/runners", w.admin, ""), 200, "")
	if n := len(w.events("provisioning.admin_refused")); n != 7 {
		t.Errorf("%d events, want 7", n)
	}
}

// sessions are those of a host with cookies.
type sessions struct{}

func (sessions) Authenticate(r *http.Request) (keywright.Principal, error) {
	c, err := r.Cookie("session_token")
	switch {
	case err != nil:
		return keywright.Principal{}, keywright.ErrNoCredential
	case c.Value != "good":
		return keywright.Principal{}, keywright.Errorf(keywright.CodeInvalidToken, "Invalid or expired session")
	}
	return keywright.Principal{Method: keywright.MethodHost, Subject: "admin"}, nil
}

// Row "bodies without JSON content type", table 1.1 and weaknesses 10 and 14:
// the guide's rotation sends JSON as curl's -d does. It is read where no page of
// another site can have sent it.
func TestCookieSessions(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	guarded := newWorld(t, func(s *setup) { s.config.Admin = keywright.CookieGuard{}.Guard(sessions{}) })
	bare := newWorld(t, func(s *setup) { s.config.Admin = sessions{} })
	for _, tt := range []struct {
		name   string
		w      *world
		method string
		header []string
		status int
		text   string
	}{
		{"the guide", guarded, "POST", []string{"Content-Type", form, "Cookie", "session_token=good; csrf_token=c", "X-CSRF-Token", "c"}, 201, ""},
		{"as JSON", guarded, "POST", []string{"Cookie", "session_token=good; csrf_token=c", "X-CSRF-Token", "c"}, 409, ""},
		{"no session", guarded, "POST", []string{"Cookie", "csrf_token=c", "X-CSRF-Token", "c"}, 401, "No valid credential"},
		{"an old session", guarded, "POST", []string{"Cookie", "session_token=old; csrf_token=c", "X-CSRF-Token", "c"}, 401, "Invalid or expired session"},
		{"no field", guarded, "POST", []string{"Cookie", "session_token=good; csrf_token=c"}, 403, "CSRF token missing"},
		{"no cookie", guarded, "POST", []string{"Cookie", "session_token=good", "X-CSRF-Token", "c"}, 403, "CSRF token missing"},
		{"another", guarded, "POST", []string{"Cookie", "session_token=good; csrf_token=c", "X-CSRF-Token", "d"}, 403, "CSRF token invalid"},
		{"another site", guarded, "POST", []string{"Cookie", "session_token=good; csrf_token=c", "X-CSRF-Token", "c", "Sec-Fetch-Site", "cross-site"}, 403, "cross-origin request"},
		{"a list needs no token", guarded, "GET", []string{"Cookie", "session_token=good"}, 200, ""},
		{"without a guard, a form", bare, "POST", []string{"Content-Type", form, "Cookie", "session_token=good"}, 400, "the body must be of type application/json"},
		{"without a guard, a text", bare, "POST", []string{"Content-Type", "text/plain", "Cookie", "session_token=good"}, 400, "the body must be of type application/json"},
		{"without a guard, JSON", bare, "POST", []string{"Cookie", "session_token=good"}, 201, ""},
		{"without a guard, with the field", bare, "POST", []string{"Content-Type", form, "Cookie", "session_token=good", "X-CSRF-Token", "c"}, 409, ""},
	} {
		body := ""
		if tt.method == "POST" {
			body = `{"key_id":"ci"}`
		}
		tt.w.want(tt.name, tt.w.call(tt.method, keysPath, "", body, tt.header...), tt.status, tt.text)
	}
	for name, w := range map[string]*world{"guarded": guarded, "bare": bare} {
		if _, has := w.call("GET", keysPath, "", "").header["Www-Authenticate"]; has {
			t.Errorf("%s: a challenge that Admin has not", name)
		}
	}
	asAdmin := []string{"Content-Type", form, "Cookie", "session_token=good"}
	for _, c := range []struct{ path, body string }{
		{keysPath + "/ci/toggle", `{"enabled":false}`}, {keysPath + "/ci/rotate", `{"overlap_hours":1}`}, {"/api/enrollment/token", named("sdr-1")}, {"/api/enrollment/re-enroll/sdr-1", `{"expires_hours":1}`},
	} {
		bare.want(c.path, bare.call("POST", c.path, "", c.body, asAdmin...), 400, "the body must be of type application/json")
	}
	bare.want("by a key, of any type", bare.call("POST", keysPath, "x", `{"key_id":"ci-2"}`, asAdmin...), 201, "")
}

// PRV-27, and rows "rate limit" and "enrol limit"; weakness 12: only those who
// fail are slowed down, and a first failed register is forgiven.
func TestPRV27FailuresOfOneAddress(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.config.Failures = provisioning.FailureLimit{Burst: 3, PerMinute: 2} })
	key := w.makeKey("ci", `"per_hour":1000`)
	bad := []func() answer{
		func() answer { return w.call("POST", provisionPath, "ck_prov_x", named("a")) },
		func() answer { return w.call("GET", "/runner", "", "") },
		func() answer { return w.enroll("x", "y", "z") },
	}
	for range 2 {
		for _, call := range bad {
			w.want("within the limit", call(), 401, "")
		}
		for _, call := range bad {
			a := call()
			w.want("beyond it", a, 429, "Too many failed attempts")
			if got := a.header.Get("Retry-After"); got != "30" {
				t.Errorf("Retry-After: got %q, want 30", got)
			}
		}
		for range 20 {
			token, runner := w.provision(key, "sdr-1")
			w.want("a good enrolment", w.enroll(token, runner, "sdr-1"), 201, "")
			w.want("a good runner", w.call("GET", "/runner", runner, ""), 200, "")
			w.want("done", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
		}
		w.want("no failure of a credential", w.call("POST", enrollPath, "", `{}`), 400, "")
		w.clock.Advance(30 * time.Second)
		w.want("one more", bad[0](), 401, "")
		w.want("and no more", bad[0](), 429, "")
		w.clock.Advance(10 * time.Minute)
	}
	standard := newWorld(t)
	for range 100 {
		standard.want("the standard limit", standard.call("GET", "/runner", "", ""), 401, "")
	}
	a := standard.call("GET", "/runner", "", "")
	standard.want("beyond it", a, 429, "")
	if got := a.header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After: got %q, want 1", got)
	}
}

// The limit is for an address, which a trusted proxy tells.
func TestFailuresAndNetworksBehindAProxy(t *testing.T) {
	few := func(s *setup) { s.config.Failures = provisioning.FailureLimit{Burst: 1} }
	trusting := newWorld(t, few, func(s *setup) { s.middle = keywright.TrustProxies(netip.MustParsePrefix("127.0.0.0/8")) })
	direct := newWorld(t, few)
	for _, tt := range []struct {
		name   string
		w      *world
		from   string
		status int // of a provision with a key for 192.0.2.0/24 and 2001:db8::/32
		fails  int // of the second failure
	}{
		{"from the network", trusting, "192.0.2.9", 201, 429},
		{"from the other network", trusting, "2001:db8::7", 201, 429},
		{"mapped", trusting, "::ffff:192.0.2.10", 201, 429},
		{"from elsewhere", trusting, "198.51.100.1", 403, 429},
		{"said by the client", trusting, "192.0.2.9, 198.51.100.2", 403, 429},
		{"said to nobody", direct, "192.0.2.9", 403, 429},
	} {
		key := tt.w.makeKey(strings.ReplaceAll(tt.name, " ", "-"), `"networks":["192.0.2.0/24","2001:db8::/32"]`)
		a := tt.w.call("POST", provisionPath, key, named(strings.ReplaceAll(tt.name, " ", "-")), "X-Forwarded-For", tt.from)
		tt.w.want(tt.name, a, tt.status, "")
		if tt.status == 403 && (a.field("error") != "this key may not be used from this address" || a.field("code") != "insufficient_scope") {
			t.Errorf("%s: got %s", tt.name, a.body)
		}
		tt.w.call("GET", "/runner", "", "", "X-Forwarded-For", tt.from)
		tt.w.want(tt.name+": fails", tt.w.call("GET", "/runner", "", "", "X-Forwarded-For", tt.from), tt.fails, "")
	}
	trusting.want("another address fails", trusting.call("GET", "/runner", "", "", "X-Forwarded-For", "203.0.113.5"), 401, "")
	ctx := keywright.WithRemoteAddr(t.Context(), "::ffff:192.0.2.9") // as a listener for both families may have it
	mapped := direct.makeKey("mapped-too", `"networks":["192.0.2.0/24"]`)
	if _, err := direct.prov.Provision(ctx, keywright.Principal{Subject: "mapped-too"}, provisioning.ProvisionRequest{Name: "mapped-too"}); err != nil || mapped == "" {
		t.Errorf("a mapped address: %v", err)
	}
	if _, err := direct.prov.Provision(t.Context(), keywright.Principal{Subject: "mapped-too"}, provisioning.ProvisionRequest{Name: "nowhere"}); keywright.AsError(err).Code != keywright.CodeInsufficientScope {
		t.Errorf("no address: %v", err)
	}
	local := direct.makeKey("local", `"networks":["127.0.0.1/32"]`)
	direct.want("from this machine", direct.call("POST", provisionPath, local, named("local")), 201, "")
}
