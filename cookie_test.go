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

const (
	csrfMissing = "CSRF token missing"
	csrfInvalid = "CSRF token invalid"
	crossOrigin = "cross-origin request"
)

// page makes a request of a page of http://example.com with these fields.
func page(method string, fields http.Header) *http.Request {
	r := httptest.NewRequest(method, "/api", nil)
	r.Header = fields
	return r
}

// refusal returns the Detail of an Error with CodeInsufficientScope, "" where
// the administrator is admitted, and for everything else what is wrong.
func refusal(p keywright.Principal, err error) string {
	switch e := keywright.AsError(err); {
	case err == nil && p.Subject == "admin":
		return ""
	case err == nil:
		return fmt.Sprintf("admitted as %q", p.Subject)
	case e.Code != keywright.CodeInsufficientScope || p.Subject != "":
		return fmt.Sprintf("%v with subject %q", err, p.Subject)
	default:
		return e.Detail
	}
}

func TestCookieGuard(t *testing.T) {
	cookie := func(v ...string) http.Header { return http.Header{"Cookie": v} }
	both := func(c, h string) http.Header { return http.Header{"Cookie": {"csrf_token=" + c}, "X-Csrf-Token": {h}} }
	for _, tt := range []struct {
		name, method string
		fields       http.Header
		want         string // the Detail; "": admitted
	}{
		{"the same in both", "POST", both("a1", "a1"), ""},
		{"beside other cookies", "POST", http.Header{"Cookie": {"session=x; csrf_token=a1; csrf=b"}, "X-Csrf-Token": {"a1"}}, ""},
		{"neither", "POST", http.Header{}, csrfMissing},
		{"no field", "POST", cookie("csrf_token=a1"), csrfMissing},
		{"no cookie", "POST", http.Header{"X-Csrf-Token": {"a1"}}, csrfMissing},
		{"no cookie of that name", "POST", http.Header{"Cookie": {"csrf=a1"}, "X-Csrf-Token": {"a1"}}, csrfMissing},
		{"an empty field", "POST", both("a1", ""), csrfMissing},
		{"an empty cookie", "POST", both("", "a1"), csrfMissing},
		{"both empty", "POST", both("", ""), csrfMissing},
		{"another one", "POST", both("a1", "a2"), csrfInvalid},
		{"in capitals", "POST", both("a1", "A1"), csrfInvalid},
		{"a longer field", "POST", both("a1", "a11"), csrfInvalid},
		{"a longer cookie", "POST", both("a11", "a1"), csrfInvalid},
		{"two cookies", "POST", http.Header{"Cookie": {"csrf_token=a1; csrf_token=a2"}, "X-Csrf-Token": {"a1"}}, csrfInvalid},
		{"two cookies in two fields", "POST", http.Header{"Cookie": {"csrf_token=a1", "csrf_token=a1"}, "X-Csrf-Token": {"a1"}}, csrfInvalid},
		{"an empty cookie before the good one", "POST", http.Header{"Cookie": {"csrf_token=; csrf_token=a1"}, "X-Csrf-Token": {"a1"}}, csrfInvalid},
		{"two fields", "POST", http.Header{"Cookie": {"csrf_token=a1"}, "X-Csrf-Token": {"a1", "a1"}}, csrfInvalid},
		{"two fields, the second empty", "POST", http.Header{"Cookie": {"csrf_token=a1"}, "X-Csrf-Token": {"a1", ""}}, csrfInvalid},
		{"two fields made one", "POST", both("a1", "a1, a1"), csrfInvalid},
		{"two cookies and no field", "POST", cookie("csrf_token=a1; csrf_token=a2"), csrfMissing},
		{"GET", "GET", http.Header{}, ""},
		{"HEAD", "HEAD", http.Header{}, ""},
		{"OPTIONS", "OPTIONS", http.Header{}, ""},
		{"PUT", "PUT", http.Header{}, csrfMissing},
		{"PATCH", "PATCH", http.Header{}, csrfMissing},
		{"DELETE", "DELETE", http.Header{}, csrfMissing},
		{"TRACE", "TRACE", http.Header{}, csrfMissing},
		{"a method of nobody's", "FROB", http.Header{}, csrfMissing},
		{"get, which is not GET", "get", http.Header{}, csrfMissing},
	} {
		sessions := &authenticator{subject: "admin"}
		got := refusal(keywright.CookieGuard{}.Guard(sessions).Authenticate(page(tt.method, tt.fields)))
		if got != tt.want || sessions.asked != 1 {
			t.Errorf("%s: got %q, asked %d times, want %q, asked once", tt.name, got, sessions.asked, tt.want)
		}
	}
}

func TestCookieGuardWithOtherNames(t *testing.T) {
	g := keywright.CookieGuard{Cookie: "__Host-csrf", Header: "x-xsrf"}.Guard(&authenticator{subject: "admin"})
	for _, tt := range []struct {
		name   string
		fields http.Header
		want   string
	}{
		{"these names", http.Header{"Cookie": {"__Host-csrf=a1"}, "X-Xsrf": {"a1"}}, ""},
		{"the default cookie", http.Header{"Cookie": {"csrf_token=a1"}, "X-Xsrf": {"a1"}}, csrfMissing},
		{"the default field", http.Header{"Cookie": {"__Host-csrf=a1"}, "X-Csrf-Token": {"a1"}}, csrfMissing},
	} {
		if got := refusal(g.Authenticate(page("POST", tt.fields))); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// All of these have a good token.
func TestCookieGuardAcrossOrigins(t *testing.T) {
	partner := http.NewCrossOriginProtection()
	if err := partner.AddTrustedOrigin("https://partner.example"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name         string
		origins      *http.CrossOriginProtection
		method       string
		site, origin string
		want         string
	}{
		{"curl", nil, "POST", "", "", ""},
		{"a page of this origin", nil, "POST", "same-origin", "http://example.com", ""},
		{"a page of this origin in an old browser", nil, "POST", "", "http://example.com", ""},
		{"another site", nil, "POST", "cross-site", "https://evil.example", crossOrigin},
		{"another host of this site", nil, "DELETE", "same-site", "https://evil.example.com", crossOrigin},
		{"another site in an old browser", nil, "POST", "", "https://evil.example", crossOrigin},
		{"no origin in particular", nil, "POST", "", "null", crossOrigin},
		{"a link on another site", nil, "GET", "cross-site", "", ""},
		{"an excepted origin", partner, "POST", "cross-site", "https://partner.example", ""},
		{"another than the excepted origin", partner, "POST", "cross-site", "https://evil.example", crossOrigin},
	} {
		fields := http.Header{"Cookie": {"csrf_token=a1"}, "X-Csrf-Token": {"a1"}}
		fields.Set("Sec-Fetch-Site", tt.site)
		fields.Set("Origin", tt.origin)
		g := keywright.CookieGuard{Origins: tt.origins}.Guard(&authenticator{subject: "admin"})
		if got := refusal(g.Authenticate(page(tt.method, fields))); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	fields := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://partner.example"}}
	g := keywright.CookieGuard{Origins: partner}.Guard(&authenticator{subject: "admin"})
	if got := refusal(g.Authenticate(page("POST", fields))); got != csrfMissing {
		t.Errorf("an excepted origin without a token: got %q, want %q", got, csrfMissing)
	}
}

// Who has no session learns nothing of tokens.
func TestCookieGuardLeavesErrorsAlone(t *testing.T) {
	bad := errors.New("session has ended")
	for _, want := range []error{keywright.ErrNoCredential, bad} {
		for _, method := range []string{"GET", "POST"} {
			g := keywright.CookieGuard{}.Guard(&authenticator{err: want})
			if _, err := g.Authenticate(page(method, http.Header{"Sec-Fetch-Site": {"cross-site"}})); err != want {
				t.Errorf("%s: got %v, want %v", method, err, want)
			}
		}
	}
}

func TestCookieGuardInRequire(t *testing.T) {
	guard := func(a keywright.Authenticator) http.Handler {
		return keywright.Require(keywright.CookieGuard{}.Guard(a))(whoami)
	}
	absent := &authenticator{err: keywright.ErrNoCredential, scheme: "Session"}
	for _, tt := range []struct {
		name      string
		h         http.Handler
		status    int
		challenge []string
	}{
		{"a challenge", guard(challenger{absent}), 401, []string{"Session"}},
		{"no challenge", guard(absent), 401, nil},
		{"no token", guard(challenger{&authenticator{subject: "admin", scheme: "Session"}}), 403, nil},
	} {
		w := httptest.NewRecorder()
		tt.h.ServeHTTP(w, page("POST", http.Header{}))
		if diff := cmp.Diff(tt.challenge, w.Header()["Www-Authenticate"]); w.Code != tt.status || diff != "" {
			t.Errorf("%s: got %d, want %d; challenge (-want +got):\n%s", tt.name, w.Code, tt.status, diff)
		}
	}
}

func TestCookieGuardTellsOfRefusals(t *testing.T) {
	w := newWorld(t)
	guard := keywright.CookieGuard{Hooks: w.Hooks}.Guard(&authenticator{subject: "admin"})
	if _, err := guard.Authenticate(page("POST", http.Header{})); err == nil {
		t.Fatal("admitted")
	}
	if e := w.events("session.refused"); len(e) != 1 || e[0].Remote != "192.0.2.1" || e[0].Detail != "insufficient_scope: "+csrfMissing {
		t.Errorf("heard %v", e)
	}
}
