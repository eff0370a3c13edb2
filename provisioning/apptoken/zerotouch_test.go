package apptoken

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
)

// The first curl line of the ticket.
func TestPassword(t *testing.T) {
	w := newSuWorld(t)
	p, err := w.Authenticate(suRequest(suBasic("admin", suPassword)))
	want := keywright.Principal{
		Method: keywright.MethodProvisioning, Subject: "admin", Credential: "basic:admin", Scopes: Scopes(),
		Attrs: map[string]string{"super_user": "true", "auth_method": "Basic"},
	}
	if diff := cmp.Diff(want, p); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	event := keywright.Event{
		Time: suStart, Name: "apptoken.super_user", Actor: "basic:admin", Remote: "192.0.2.1",
		Attrs: map[string]string{"auth_method": "Basic", "user": "admin"},
	}
	if diff := cmp.Diff(event, w.last()); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	p.Scopes[0], p.Attrs["super_user"] = "x", "x"
	if diff := cmp.Diff(want, w.wantIn("again", suRequest(suBasic("admin", suPassword)))); diff != "" {
		t.Errorf("shared with another request (-want +got):\n%s", diff)
	}
	w.zeroTouch = w.another(func(c *ZeroTouch) { c.Label = "LDAP" })
	p = w.wantIn("LDAP", suRequest(suBasic("admin", suPassword)))
	if p.Attrs["auth_method"] != "LDAP" || p.Credential != "ldap:admin" || w.last().Attrs["auth_method"] != "LDAP" {
		t.Errorf("LDAP: got %+v, heard %+v", p, w.last())
	}
}

// Off is off: nothing is looked at, nobody is asked for a password.
func TestFlagOff(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) {
		*c = ZeroTouch{Passwords: c.Passwords, OneShot: true, MaxLifetime: -1, ServiceAccounts: []ServiceAccount{{}}, Label: "?"}
	})
	insecure := suRequest(suBasic("admin", suPassword))
	insecure.TLS = nil
	twice := suRequest("Basic x", "Basic y")
	twice.Header.Set("X-Api-Key", "x")
	for name, r := range map[string]*http.Request{
		"good": suRequest(suBasic("admin", suPassword)), "bad": suRequest(suBasic("admin", "x")), "malformed": suRequest("basic"),
		"without TLS": insecure, "two": twice,
	} {
		if p, err := w.Authenticate(r); err != keywright.ErrNoCredential || w.unknown(r) != errFlagOff {
			t.Errorf("%s: got %+v, %v, for the audit %v", name, p, err, w.unknown(r))
		}
	}
	if none := suRequest(); w.unknown(none) != keywright.ErrNoCredential {
		t.Errorf("no credential: for the audit %v", w.unknown(none))
	}
	if _, err := w.Authenticate(suRequest("Bearer eyJ9.e30.x")); err != keywright.ErrNoCredential {
		t.Errorf("a JWT: got %v", err)
	}
	if w.Challenge() != "" || w.passwords.calls.Load() != 0 || w.db.gets.Load() != 0 {
		t.Errorf("challenge %q, %d passwords verified, %d reads", w.Challenge(), w.passwords.calls.Load(), w.db.gets.Load())
	}
}

func TestServiceAccountsAlone(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) {
		c.Passwords, c.ServiceAccounts = nil, []ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}
	})
	r := suRequest(suBasic("admin", suPassword))
	if p, err := w.Authenticate(r); err != keywright.ErrNoCredential || w.unknown(r) != errNoPassword || w.Challenge() != "" {
		t.Errorf("a password: got %+v, %v, for the audit %v, challenge %q", p, err, w.unknown(r), w.Challenge())
	}
}

func TestOtherCredentialsAreLeftAlone(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) {
		c.ServiceAccounts = []ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}
	})
	for _, authorization := range []string{
		"Bearer quay_oat_x", "Bearer", "Bearer a.b", "Bearer a.b.c.d.e", "Bearer eyJ9.e30", "Bearer eyJ9.e30.x.y", "Bearer eyJ9.e30.x y", "Bearer W10.e30.x", "Bearer IA.e30.x",
		"Bearer .e30.x", "Key x", "Digest x", "Basic\tYTpi", "BasicYTpi", "Basics YTpi", "Negotiate eyJ9.e30.x", "",
	} {
		if p, err := w.Authenticate(suRequest(authorization)); err != keywright.ErrNoCredential {
			t.Errorf("%q: got %+v, %v", authorization, p, err)
		}
	}
	if _, err := w.Authenticate(suRequest()); err != keywright.ErrNoCredential {
		t.Errorf("none: got %v", err)
	}
	if len(w.heard) != 0 {
		t.Errorf("heard %+v", w.heard)
	}
}

// Quay tells a known user from a super user, and more. Here all causes have one
// answer, and the audit has the cause.
func TestOneAnswerForAllCauses(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) { c.Guesses.Burst = -1 })
	dialects := []keywright.Dialect{keywright.Quay, keywright.Problem}
	answers := make(map[string]int)
	for _, tt := range []struct {
		name, authorization, cause, user string
	}{
		{"bad password", suBasic("admin", "x"+suPassword), "wrong password", "admin"},
		{"unknown user", suBasic("nobody", suPassword), "not one of the super users", "nobody"},
		{"known, but not a super user", suBasic("ordinary", suPassword), "not a super user", "ordinary"},
		{"disabled", suBasic("disabled", suPassword), "disabled", "disabled"},
		{"malformed", "Basic " + suPassword, "RFC 7617", ""},
		{"without a password", suBasic("admin", ""), "empty", ""},
		{"a name to log", suBasic("a\u202edmin\u2028FAKE 200"+strings.Repeat("n", 200), "x"), "not one of", "adminFAKE 200" + strings.Repeat("n", 107) + "..."},
	} {
		e := w.wantOut(tt.name, suRequest(tt.authorization), keywright.CodeInvalidToken, tt.cause)
		if got := w.last().Attrs; got["user"] != tt.user || got["auth_method"] != "Basic" || (got["entry"] == "") != (tt.user == "") {
			t.Errorf("%s: heard %v", tt.name, got)
		}
		for _, d := range dialects {
			rec := httptest.NewRecorder()
			d.WriteError(rec, e)
			answers[fmt.Sprint(rec.Code, rec.Header(), rec.Body)]++
			if got := rec.Header().Get("WWW-Authenticate"); got != suRealm {
				t.Errorf("%s: challenge %s", tt.name, got)
			}
		}
	}
	if len(answers) != len(dialects) {
		t.Errorf("got %v", answers)
	}
}

// Over plain HTTP nobody is let in, and the password is not even tried: that it
// is right must not be told to those who listen.
func TestOnlyOverTLS(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) {
		c.Guesses.Burst = -1
		c.ServiceAccounts = []ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}
	})
	proxies := keywright.TrustProxies(netip.MustParsePrefix("10.0.0.0/8"))
	for _, tt := range []struct {
		name, from, forwarded, scheme string
		tls, secure                   bool
	}{
		{"TLS", "192.0.2.1", "", "", true, true},
		{"none", "192.0.2.1", "", "", false, false},
		{"a stranger who says https", "192.0.2.1", "198.51.100.1", "https", false, false},
		{"this machine", "127.0.0.1", "", "", false, true},
		{"this machine, IPv6", "::1", "", "", false, true},
		{"a proxy on this machine that nobody trusts", "127.0.0.1", "198.51.100.1", "https", false, false},
		{"a trusted proxy with TLS", "10.0.0.1", "198.51.100.1", "https", false, true},
		{"a trusted proxy without", "10.0.0.1", "198.51.100.1", "http", true, false},
	} {
		for _, authorization := range []string{suBasic("admin", suPassword), suBasic("admin", "wrong"), "Bearer eyJhIjoxfQ.e30.x"} {
			r := suFrom(suRequest(authorization), tt.from)
			if !tt.tls {
				r.TLS = nil
			}
			if tt.scheme != "" {
				r.Header.Set("X-Forwarded-For", tt.forwarded)
				r.Header.Set("X-Forwarded-Proto", tt.scheme)
			}
			before := w.passwords.calls.Load()
			var err error
			proxies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, err = w.Authenticate(r) })).ServeHTTP(httptest.NewRecorder(), r)
			if insecure := keywright.AsError(err).Code == keywright.CodeInsufficientScope; insecure == tt.secure {
				t.Errorf("%s: got %v", tt.name, err)
			}
			if verified := w.passwords.calls.Load() > before; verified && !tt.secure {
				t.Errorf("%s: the password was verified", tt.name)
			}
			if !tt.secure && (!strings.Contains(keywright.AsError(err).Detail, "only over TLS") || !strings.Contains(w.last().Detail, "without TLS")) {
				t.Errorf("%s: told %v, heard %+v", tt.name, err, w.last())
			}
		}
	}
}

func TestNetworks(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) {
		c.Networks = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
		c.ServiceAccounts = []ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}
	})
	for addr, ok := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "2001:db8::1%eth0": true, "10.2.0.1": false, "2001:db9::1": false, "::1": false, "127.0.0.1": false,
	} {
		good := suFrom(suRequest(suBasic("admin", suPassword)), addr)
		if ok {
			w.wantIn(addr, good)
			continue
		}
		e := w.wantOut(addr, good, keywright.CodeInvalidToken, "none of the networks")
		if e.Header.Get("Www-Authenticate") != suRealm {
			t.Errorf("%s: got %v", addr, e.Header)
		}
		w.wantOut(addr, suFrom(suRequest("Bearer eyJhIjoxfQ.e30.x"), addr), keywright.CodeInvalidToken, "none of the networks")
	}
	if w.passwords.calls.Load() != 3 {
		t.Errorf("%d passwords verified, want 3", w.passwords.calls.Load())
	}
	for range 10 {
		w.Authenticate(suFrom(suRequest(suBasic("admin", suPassword)), "10.9.9.9"))
	}
	w.wantOut("ten times", suFrom(suRequest(suBasic("admin", suPassword)), "10.9.9.9"), keywright.CodeRateLimited, "")
	r := suRequest(suBasic("admin", suPassword))
	r = r.WithContext(keywright.WithRemoteAddr(r.Context(), "10.1.0.1"))
	w.wantIn("as the host's middleware says", r)
	r = r.WithContext(keywright.WithRemoteAddr(r.Context(), "somewhere"))
	w.wantOut("no address", r, keywright.CodeInvalidToken, "none of the networks")
}

// PRV-03: never two.
func TestMoreThanOneCredential(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) {
		c.ServiceAccounts = []ServiceAccount{{Issuer: "https://idp.example", Subject: "s", Name: "n"}}
	})
	good := suBasic("admin", suPassword)
	for name, r := range map[string]*http.Request{
		"two fields": suRequest(good, good), "and a key": suRequest(good, "Bearer x"), "a key first": suRequest("Bearer x", good), "a list": suRequest(good + ", " + good),
	} {
		w.wantOut(name, r, keywright.CodeInvalidRequest, "more than one credential")
	}
	for _, authorization := range []string{good, "Bearer eyJhIjoxfQ.e30.x"} {
		r := suRequest(authorization)
		r.Header.Set("X-API-Key", "x")
		w.wantOut("X-API-Key", r, keywright.CodeInvalidRequest, "more than one credential")
		r = suRequest(authorization)
		r.URL.RawQuery = "access_token=x"
		w.wantOut("access_token", r, keywright.CodeInvalidRequest, "more than one credential")
		r.URL.RawQuery = "limit=1"
		if _, err := w.Authenticate(r); keywright.AsError(err).Code == keywright.CodeInvalidRequest {
			t.Errorf("another parameter: %v", err)
		}
	}
	if w.passwords.calls.Load() != 1 {
		t.Errorf("%d passwords verified", w.passwords.calls.Load())
	}
}

// What is no clear no is trouble, and no reason to let anybody in.
func TestTroubleWithPasswords(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) { c.Guesses.Burst = 1 })
	broken := errors.New("the directory is away")
	for name, do := range map[string]func(context.Context, string, string) (string, error){
		"an error": func(context.Context, string, string) (string, error) { return "admin", broken },
		"another code": func(context.Context, string, string) (string, error) {
			return "admin", keywright.Wrap(keywright.CodeNotFound, broken)
		},
		"nobody":               func(context.Context, string, string) (string, error) { return "", nil },
		"a name with a colon":  func(context.Context, string, string) (string, error) { return "a:b", nil },
		"a name with controls": func(context.Context, string, string) (string, error) { return "a\nb", nil },
	} {
		w.passwords.do = do
		w.wantOut(name, suRequest(suBasic("admin", suPassword)), keywright.CodeUnavailable, "ZeroTouch.Passwords")
	}
	w.passwords.do = func(context.Context, string, string) (string, error) {
		return "", fmt.Errorf("ldap: %w", keywright.Errorf(keywright.CodeInvalidToken, "no"))
	}
	w.wantOut("a wrapped no", suRequest(suBasic("admin", suPassword)), keywright.CodeInvalidToken, "no")
}
