package apptoken_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// A key that may little hands out no more, whatever its owner may.
func TestKeyWithScopesHandsOutNoMore(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name, caller, scope string
		status              int
	}{
		{"what it has", w.key("person", "alice", "repo:write"), "repo:read repo:write", 200},
		{"more than it has", w.key("person", "alice", "repo:read"), "repo:write", 403},
		{"more among others", w.key("person", "alice", "repo:read"), "repo:read org:admin", 403},
		{"a super user's", w.key("admin", "root", "admin", "repo:read"), "super:user", 403},
		{"with scopes of another kind", w.key("person", "alice", "deploy"), "repo:write", 200},
	} {
		if a := w.send("POST", tokensPath, tt.caller, request("scope", quote(tt.scope))); a.status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
	}
}

// The cap of a password holds for all that goes back to it, with the flag on
// and off again.
func TestLifetimeCapIsInherited(t *testing.T) {
	w := newWorld(t, zeroTouch(func(z *apptoken.ZeroTouch) { z.MaxLifetime = time.Hour }), func(c *apptoken.Config) { c.Policy.AllowNever = true })
	first := "Bearer " + w.create(basic("ann"), tokensPath, request("scope", `"org:admin"`)).text("token")
	second := "Bearer " + w.create(first, tokensPath, request("scope", `"org:admin"`, "expiration", "3600")).text("token")
	for name, caller := range map[string]string{"of a password": basic("ann"), "of its token": first, "of that one's": second} {
		for _, life := range []string{"3601", `"never"`, "null"} {
			w.want(name, w.send("POST", tokensPath, caller, request("scope", `"org:admin"`, "expiration", life)), 400, "invalid_request", "")
		}
	}
	w.create(w.admin(), tokensPath, request("expiration", `"never"`))

	off, err := apptoken.New(apptoken.Config{Host: w.host, Directory: directory(), Policy: apptoken.Policy{AllowNever: true}, ZeroTouch: apptoken.ZeroTouch{MaxLifetime: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.host.Keys.Of("app").Authenticate(&http.Request{Header: http.Header{"Authorization": {second}}, URL: w.request(t).URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := off.Create(t.Context(), p, "myorg", "app123", apptoken.Spec{Name: "x", Scopes: []string{"org:admin"}, Never: true}); keywright.AsError(err).Code != keywright.CodeInvalidRequest {
		t.Errorf("with the flag off: %v", err)
	}
}

func (w *world) request(t *testing.T) *http.Request {
	r, err := http.NewRequest("GET", w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// slow answers when the context ends, as a directory does whose connection is
// closed under it.
type slow struct{ asked chan struct{} }

func (s slow) VerifyPassword(ctx context.Context, _, _ string) (string, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return "", keywright.Wrap(keywright.CodeUnavailable, ctx.Err())
}

// Who hangs up before the answer has guessed all the same.
func TestHangingUpIsAGuess(t *testing.T) {
	s := slow{make(chan struct{}, 100)}
	w := newWorld(t, func(c *apptoken.Config) { c.ZeroTouch = apptoken.ZeroTouch{Enabled: true, Passwords: s} })
	guess := func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := w.request(t).WithContext(ctx)
		r.URL.Path = tokensPath
		r.Header.Set("Authorization", basic("ann"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if res, err := http.DefaultClient.Do(r); err == nil {
				res.Body.Close()
			}
		}()
		select {
		case <-s.asked:
		case <-done: // refused before the directory was asked
		}
		cancel()
		<-done
	}
	for range 60 {
		before := len(w.events("apptoken.super_user_refused"))
		guess()
		for len(w.events("apptoken.super_user_refused")) == before {
			time.Sleep(time.Millisecond)
		}
	}
	last := w.events("apptoken.super_user_refused")[59]
	if len(last.Detail) < 12 || last.Detail[:12] != "rate_limited" {
		t.Errorf("after 60 guesses: %s", last.Detail)
	}
}

// What is no longer in the configuration ends when the server starts.
func TestSync(t *testing.T) {
	w := newWorld(t)
	gone := w.create(w.admin(), tokensPath, request("scope", `"org:admin super:user"`)).text("token")
	stays := w.create(w.admin(), otherAppPath, request("scope", `"org:admin"`)).text("token")
	less := directory()
	delete(less.Organizations["myorg"].Applications, "app123")
	handler := func(d apptoken.Directory) *apptoken.Handler {
		h, err := apptoken.New(apptoken.Config{Host: w.host, Directory: d})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	works := func(text string) bool { _, err := w.host.Keys.Check(t.Context(), text); return err == nil }

	// Even before it is told, a token of an application that is gone manages nothing.
	p, err := w.host.Keys.Of("app").Authenticate(&http.Request{Header: http.Header{"Authorization": {"Bearer " + gone}}, URL: w.request(t).URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handler(less).List(t.Context(), p, "other", "app123", apptoken.Page{}); keywright.AsError(err).Code != keywright.CodeInsufficientScope {
		t.Errorf("a token of an application that is gone: %v", err)
	}
	for range 2 {
		if err := handler(less).Sync(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		if works(gone) || !works(stays) {
			t.Errorf("of the application that is gone: works %v; of the other: %v", works(gone), works(stays))
		}
	}
	if err := handler(directory()).Sync(t.Context(), root); err != nil || works(gone) {
		t.Errorf("it is there again: %v, and its old token works: %v", err, works(gone))
	}
	if fresh := w.create(w.admin(), tokensPath, request()).text("token"); !works(fresh) {
		t.Error("a new token does not work")
	}
}

func TestNamesThatAreNone(t *testing.T) {
	w := newWorld(t)
	for name, do := range map[string]func(context.Context, keywright.Principal, string, string) error{
		"disable": w.DisableApplication, "enable": w.EnableApplication, "delete": w.DeleteApplication,
	} {
		for _, bad := range []string{"", "\x00", "a\nb"} {
			if err := do(t.Context(), root, "myorg", bad); keywright.AsError(err).Code != keywright.CodeNotFound {
				t.Errorf("%s %q: %v", name, bad, err)
			}
		}
	}
}
