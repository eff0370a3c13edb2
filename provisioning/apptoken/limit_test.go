package apptoken_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// Each caller has its calls in an hour, counted by all processes.
func TestRate(t *testing.T) {
	rate := func(c *apptoken.Config) { c.Rate = 3 }
	w := newWorld(t, rate)
	twin, admin, alice := w.twin(rate), w.admin(), w.alice()
	for i, on := range []*world{w, twin, w} {
		a := on.send("GET", tokensPath, admin, "")
		if left := fmt.Sprintf(`"default";r=%d;t=3600`, 2-i); a.status != 200 || a.header.Get("RateLimit") != left || a.header.Get("Retry-After") != "" {
			t.Errorf("call %d: got %d, RateLimit %q, want %q", i, a.status, a.header.Get("RateLimit"), left)
		}
	}
	for _, method := range []string{"GET", "POST"} {
		a := twin.send(method, tokensPath, admin, "")
		twin.want(method+" beyond", a, 429, "rate_limited", "caller")
		if a.header.Get("Retry-After") != "3600" || a.header.Get("RateLimit") != `"default";r=0;t=3600` || a.header.Get("RateLimit-Policy") != `"default";q=3;w=3600` {
			t.Errorf("%s beyond: got %v", method, a.header)
		}
	}
	if e := twin.last(); e.Name != "apptoken.refused" || e.Attrs["actor"] == "" || e.Attrs["auth_method"] != "host" {
		t.Errorf("audit: got %+v", e)
	}
	if a := w.send("GET", tokensPath, alice, ""); a.status != 200 {
		t.Errorf("another caller: got %d", a.status)
	}
	if a := w.send("GET", noOrgPath, alice, ""); a.status != 403 || a.header.Get("RateLimit") != `"default";r=1;t=3600` {
		t.Errorf("a refusal counts and tells: got %d %v", a.status, a.header)
	}
	w.clock.Advance(time.Hour)
	if a := w.send("GET", tokensPath, admin, ""); a.status != 200 {
		t.Errorf("after an hour: got %d %s", a.status, a.body)
	}
}

// Two tokens of one application are two callers; two logins of one person are one.
func TestRateIsPerToken(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Rate, c.Callers = 1, superUsers{} })
	tokens := w.makeTokens(2, "myorg", "app123")
	for _, tt := range []struct {
		authorization string
		status        int
	}{
		{"Bearer " + tokens[0].Text, 200}, {"Bearer " + tokens[1].Text, 200}, {"Bearer " + tokens[0].Text, 429},
		{basic("ann"), 200}, {basic("ann"), 429}, {basic("bea"), 200},
	} {
		if a := w.send("GET", tokensPath, tt.authorization, ""); a.status != tt.status {
			t.Errorf("%.12s: got %d %s, want %d", tt.authorization, a.status, a.body, tt.status)
		}
	}
}

// Callers that have no credential of their own are told apart by their names.
func TestRateOfSessions(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Rate, c.Callers = 1, people{} })
	for _, tt := range []struct {
		name   string
		status int
	}{{"ann", 403}, {"bea", 403}, {"ann", 429}} {
		if a := w.send("GET", tokensPath, basic(tt.name), ""); a.status != tt.status {
			t.Errorf("%s: got %d, want %d", tt.name, a.status, tt.status)
		}
	}
}

type people struct{}

func (people) Authenticate(r *http.Request) (keywright.Principal, error) {
	name, _, ok := r.BasicAuth()
	if !ok {
		return keywright.Principal{}, keywright.ErrNoCredential
	}
	return keywright.Principal{Method: "session", Subject: name}, nil
}

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":pw"))
}

// superUsers makes the principals that ZeroTouch makes, of any name. Each has
// another Credential, as tokens of an identity provider do.
type superUsers struct{}

var logins atomic.Int64

func (superUsers) Authenticate(r *http.Request) (keywright.Principal, error) {
	name, _, ok := r.BasicAuth()
	if !ok {
		return keywright.Principal{}, keywright.ErrNoCredential
	}
	return keywright.Principal{
		Method: keywright.MethodProvisioning, Subject: name, Scopes: apptoken.Scopes(), Credential: "login-" + strconv.FormatInt(logins.Add(1), 10),
		Attrs: map[string]string{"super_user": "true", "auth_method": "LDAP"},
	}, nil
}

// An address whose credentials are not accepted waits, whatever it sends then;
// refusals of callers who are known do not count.
func TestFailures(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Failures = apptoken.FailureLimit{Burst: 3, PerMinute: 6} })
	admin := w.admin()
	for range 5 {
		w.want("no such application", w.send("GET", noAppPath, admin, ""), 404, "not_found", "")
		w.want("no right", w.send("GET", tokensPath, w.key("person", "bob"), ""), 403, "insufficient_scope", "")
		w.want("another method", w.send("PUT", tokensPath, "", ""), 405, "method_not_allowed", "")
	}
	w.want("nothing", w.send("GET", tokensPath, "", ""), 401, "invalid_token", "")
	w.want("a wrong key", w.send("GET", tokensPath, "Bearer quay_oat_"+strings.Repeat("0", 45), ""), 401, "invalid_token", "")
	w.want("a key of another kind", w.send("GET", tokensPath, w.key("runner", "sdr-1"), ""), 403, "insufficient_scope", "")
	for _, authorization := range []string{"", "Bearer x", admin} {
		a := w.send("GET", tokensPath, authorization, "")
		w.want("beyond", a, 429, "rate_limited", "address")
		if a.header.Get("Retry-After") != "10" {
			t.Errorf("Retry-After: got %q", a.header.Get("Retry-After"))
		}
	}
	if e := w.last(); e.Name != "apptoken.refused" || e.Remote == "" {
		t.Errorf("audit: got %+v", e)
	}
	w.clock.Advance(10 * time.Second)
	if a := w.send("GET", tokensPath, admin, ""); a.status != 200 {
		t.Errorf("later: got %d %s", a.status, a.body)
	}
}

// Without a limit nobody waits; trouble of ours is nobody's failure.
func TestNoFailures(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Failures = apptoken.FailureLimit{Burst: 1} })
	admin := w.admin()
	w.db.reads.Store(&errDown)
	for range 3 {
		w.want("the store is down", w.send("GET", tokensPath, admin, ""), 503, "unavailable", "")
	}
	w.db.reads.Store(nil)
	if a := w.send("GET", tokensPath, admin, ""); a.status != 200 {
		t.Errorf("after it was down: got %d %s", a.status, a.body)
	}
	unlimited := newWorld(t)
	for range 200 {
		if a := unlimited.send("GET", tokensPath, "", ""); a.status != 401 {
			t.Fatalf("got %d", a.status)
		}
	}
	standard := newWorld(t, func(c *apptoken.Config) { c.Failures = apptoken.FailureLimit{} })
	for i := range 101 {
		a := standard.send("GET", tokensPath, "", "")
		if (a.status == 429) != (i == 100) || i == 100 && a.header.Get("Retry-After") != "1" {
			t.Fatalf("failure %d: got %d %v", i, a.status, a.header)
		}
	}
}
