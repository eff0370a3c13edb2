package apptoken_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// The place where zero-touch bootstrap and tokens meet.

// A verifier knows one super user.
type verifier struct{}

func (verifier) VerifyPassword(_ context.Context, name, password string) (string, error) {
	if name != "ann" || password != "pw" {
		return "", keywright.Wrap(keywright.CodeInvalidToken, context.Canceled)
	}
	return name, nil
}

func zeroTouch(edit ...func(*apptoken.ZeroTouch)) func(*apptoken.Config) {
	return func(c *apptoken.Config) {
		c.ZeroTouch.Enabled, c.ZeroTouch.Passwords = true, verifier{}
		for _, e := range edit {
			e(&c.ZeroTouch)
		}
	}
}

// The first curl line of the guide runs as it stands, and what it makes makes more.
func TestFirstTokenByPassword(t *testing.T) {
	w := newWorld(t, zeroTouch())
	singular := strings.Replace(tokensPath, "applications", "application", 1)
	first := w.create(basic("ann"), singular, `{"name": "bootstrap-token", "expiration": "365d", "scopes": ["org:admin"]}`)
	if first.text("expires_at") != "2027-01-01T00:00:00Z" || first.text("created_by") != "ann" {
		t.Errorf("got %s", first.body)
	}
	if e := w.events("apptoken.created"); len(e) != 1 || e[0].Attrs["auth_method"] != "Basic" || e[0].Attrs["created_by"] != "ann" {
		t.Errorf("events: %+v", e)
	}
	w.create("Bearer "+first.text("token"), singular, `{"name": "second", "expiration": "1h", "scopes": ["org:admin"]}`)
	a := w.send("POST", singular, "", request())
	if got := strings.Join(a.header.Values("WWW-Authenticate"), ", "); a.status != 401 || !strings.Contains(got, "Bearer") || !strings.Contains(got, "Basic realm=") {
		t.Errorf("without a credential: got %d %s", a.status, got)
	}
}

// Who came by password has tokens that last no longer than ZeroTouch says.
func TestPasswordsCapLifetimes(t *testing.T) {
	w := newWorld(t, zeroTouch(func(z *apptoken.ZeroTouch) { z.MaxLifetime = time.Hour }), func(c *apptoken.Config) { c.Policy.AllowNever = true })
	for _, e := range []string{"3601", `"2h"`, `"never"`} {
		w.want(e, w.send("POST", tokensPath, basic("ann"), request("expiration", e)), 400, "invalid_request", "'expiration'")
	}
	for _, e := range []string{`"1h"`, "-"} {
		if a := w.create(basic("ann"), tokensPath, request("expiration", e)); a.text("expires_at") != "2026-01-01T01:00:00Z" {
			t.Errorf("%s: got %s", e, a.body)
		}
	}
	w.create(w.admin(), tokensPath, request("expiration", `"2h"`))
}

// A window that closes after the first token closes exactly then.
func TestOneShot(t *testing.T) {
	oneShot := zeroTouch(func(z *apptoken.ZeroTouch) { z.OneShot = true })
	w := newWorld(t, oneShot)
	twin := w.twin(oneShot)
	w.want("a request that is refused", w.send("POST", tokensPath, basic("ann"), request("scope", `"nothing"`)), 400, "invalid_scope", "")
	var made, refused atomic.Int32
	atOnce(16, func(i int) {
		a, err := []*world{w, twin}[i%2].try("POST", tokensPath, basic("ann"), request())
		switch {
		case err == nil && a.status == 200:
			made.Add(1)
		case err == nil && (a.status == 401 || a.status == 403):
			refused.Add(1)
		default:
			t.Errorf("got %d %s, %v", a.status, a.body, err)
		}
	})
	if made.Load() != 1 || refused.Load() != 15 || w.count(apptoken.KindToken) != 1 {
		t.Errorf("made %d, refused %d", made.Load(), refused.Load())
	}
	w.create(w.admin(), tokensPath, request())
}
