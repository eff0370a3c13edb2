package exchange_test

import (
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/store"
)

func (w *world) revoke(text string) answer {
	w.t.Helper()
	return w.send("POST", exchange.RevokePath, "", url.Values{"token": {text}, "token_type_hint": {"access_token"}})
}

// RFC 7009: a key that a job has done with ends at once.
func TestRevoke(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	key, other := w.wantKey(token), w.wantKey(w.issuer.GitHub(nil))
	before := w.records()
	a := w.revoke(key)
	w.checkOAuth("own key", a)
	w.checkSecret("own key", a, key)
	if a.status != 200 || w.works(key) || !w.works(other) {
		t.Errorf("got %d %s; the key works: %v, another: %v", a.status, a.body, w.works(key), w.works(other))
	}
	before[keywright.KindKey]--
	before[keywright.KindEvent]++
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Errorf("the store (-want +got):\n%s", diff)
	}
	if e := w.events("key.deleted"); len(e) != 1 || e[0].Actor != e[0].Target || e[0].Remote != "127.0.0.1" {
		t.Errorf("heard %+v, want that the key has ended itself", e)
	}
	w.wantRefused("the token is used up all the same", token, "")
	first := a.body
	expiring := w.wantKey(w.issuer.GitHub(nil))
	disabled := w.wantKey(w.issuer.GitHub(nil))
	id, _ := w.host.Keys.ID(disabled)
	if err := w.host.Keys.Disable(t.Context(), operator, id); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(15 * time.Minute)
	before = w.records()
	for name, text := range map[string]string{
		"twice": key, "unknown": "kw_ci_" + strings.Repeat("0", 45), "of another host": "other_" + strings.Repeat("0", 45), "nonsense": "x", "an identity token": token,
		"expired": expiring, "disabled": disabled, "changed": other[:len(other)-1] + "!", "of another kind by its prefix": "kw_admin" + strings.TrimPrefix(other, "kw_ci"),
		"with a line break": other + "\n", "1,000 bytes": strings.Repeat("a", 1000), "control characters": "\x00\x1b[31m",
	} {
		a := w.revoke(text)
		if a.status != 200 || a.body != first {
			t.Errorf("%s: got %d %s, want 200 %s", name, a.status, a.body, first)
		}
		w.checkSecret(name, a, text)
	}
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
}

// Keys that are not of this package are named, and go on working.
func TestRevokeOfOtherKeys(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	admin := strings.TrimPrefix(w.adminKey(), "Bearer ")
	issue := func(kind string, m keywright.Method) string {
		minted, err := w.host.Keys.Issue(t.Context(), operator, keywright.KeySpec{Kind: kind, Method: m, Subject: "s"})
		if err != nil {
			t.Fatal(err)
		}
		return minted.Text
	}
	for name, key := range map[string]string{
		"an admin key": admin, "a key of the host's own": issue("ci", keywright.MethodHost), "an exchanged key of another kind": issue("admin", keywright.MethodExchange),
	} {
		a := w.revoke(key)
		w.checkOAuth(name, a)
		if a.status != 400 || a.text("error") != "unsupported_token_type" || !w.works(key) {
			t.Errorf("%s: got %d %s; it works: %v", name, a.status, a.body, w.works(key))
		}
		w.checkSecret(name, a, key)
	}
	if n := len(w.events("exchange.revoke.refused")); n != 3 {
		t.Errorf("%d events, want 3", n)
	}
}

func TestRevocationRequest(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	key := w.wantKey(w.issuer.GitHub(nil))
	for name, body := range map[string]url.Values{
		"none": {}, "empty": {"token": {""}}, "twice": {"token": {key, key}}, "a hint twice": {"token": {key}, "token_type_hint": {"a", "b"}}, "another name": {"Token": {key}},
	} {
		a := w.send("POST", exchange.RevokePath, "", body)
		w.checkOAuth(name, a)
		if a.status != 400 || a.text("error") != invalidRequest {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	a := w.send("POST", exchange.RevokePath+"?token="+key, "", url.Values{"x": {"y"}})
	b := w.send("POST", exchange.RevokePath, "", map[string]string{"token": key})
	if a.status != 400 || b.status != 400 || !strings.Contains(b.text("error_description"), "must be of type") || !w.works(key) {
		t.Errorf("in the query: %d %s; as JSON: %d %s", a.status, a.body, b.status, b.body)
	}
	for _, hint := range []string{"refresh_token", "nonsense", ""} { // the RFC wants the search to go on
		key := w.wantKey(w.issuer.GitHub(nil))
		a := w.send("POST", exchange.RevokePath, "Bearer nonsense", url.Values{"token": {key}, "token_type_hint": {hint}, "client_id": {"x"}})
		if a.status != 200 || w.works(key) {
			t.Errorf("hint %q: got %d %s", hint, a.status, a.body)
		}
	}
}

func TestRevokeRaceAndTrouble(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	key := w.wantKey(w.issuer.GitHub(nil))
	w.db.reads.Store(&errAway)
	if a := w.revoke(key); a.status != 503 || a.text("error") != "temporarily_unavailable" {
		t.Errorf("no reads: got %d %s", a.status, a.body)
	}
	w.db.reads.Store(nil)
	w.db.fault.Store(&errAway)
	if a := w.revoke(key); a.status != 503 || a.text("error") != "temporarily_unavailable" {
		t.Errorf("no writes: got %d %s", a.status, a.body)
	}
	w.db.fault.Store(nil)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			a, err := w.try("POST", exchange.RevokePath, "", url.Values{"token": {key}})
			if err != nil || a.status != 200 {
				t.Errorf("got %d %s, %v", a.status, a.body, err)
			}
		})
	}
	wg.Wait()
	if w.works(key) || len(w.events("key.deleted")) != 1 {
		t.Errorf("it works: %v; heard %d times", w.works(key), len(w.events("key.deleted")))
	}
}

// from posts to an endpoint from an address.
func from(addr string, w *world, path string, body url.Values) answer {
	w.t.Helper()
	return w.serve(addr, path, body.Encode())
}

func TestFailureLimit(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) {
		c.Failures = exchange.FailureLimit{Burst: 3, PerMinute: 6}
	})
	const bad, neighbour, stranger = "2001:db8::1", "2001:db8::2", "192.0.2.1"
	for range 50 { // success is not counted, whatever the number
		if a := from(bad, w, exchange.TokenPath, form(w.issuer.GitHub(nil))); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	w.db.fault.Store(&errAway)
	for range 20 { // nor is trouble of ours
		if a := from(bad, w, exchange.TokenPath, form(w.issuer.GitHub(nil))); a.status != 503 {
			t.Fatalf("got %d %s, want 503", a.status, a.body)
		}
	}
	w.db.fault.Store(nil)
	failures := []url.Values{form("x"), {}, form(w.issuer.GitHub(map[string]any{"repository_id": "1"}))}
	for _, f := range failures {
		if a := from(bad, w, exchange.TokenPath, f); a.status != 400 {
			t.Fatalf("got %d %s, want 400", a.status, a.body)
		}
	}
	good := w.issuer.GitHub(nil)
	key := w.wantKey(w.issuer.GitHub(nil)) // from 127.0.0.1
	for _, addr := range []string{bad, neighbour} {
		for path, body := range map[string]url.Values{exchange.TokenPath: form(good), exchange.CredentialsPath: form(good), exchange.RevokePath: {"token": {key}}} {
			a := from(addr, w, path, body)
			w.checkOAuth("limited", a)
			if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || a.text("error") != "temporarily_unavailable" || !strings.Contains(a.text("error_description"), "from this address were refused") || err != nil || seconds != 10 {
				t.Errorf("%s %s: got %d %s, Retry-After %q, want 429 and 10", addr, path, a.status, a.body, a.header.Get("Retry-After"))
			}
			w.checkSecret("limited", a, good)
		}
	}
	if !w.works(key) {
		t.Error("a request that was not admitted has ended a key")
	}
	if a := from(stranger, w, exchange.TokenPath, form(w.issuer.GitHub(nil))); a.status != 200 {
		t.Errorf("another address: got %d %s", a.status, a.body)
	}
	w.clock.Advance(10*time.Second - 1)
	if a := from(bad, w, exchange.TokenPath, form(good)); a.status != 429 || a.header.Get("Retry-After") != "1" {
		t.Errorf("a moment too early: got %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
	}
	w.clock.Advance(1)
	if a := from(bad, w, exchange.TokenPath, form(good)); a.status != 200 {
		t.Errorf("after the wait: got %d %s", a.status, a.body)
	}
}

// A defect of ours is not counted either.
func TestDefectsAreNotFailures(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) { c.Failures = exchange.FailureLimit{Burst: 1} })
	key := w.wantKey(w.issuer.GitHub(nil))
	id, _ := w.host.Keys.ID(key)
	if err := w.db.Commit(t.Context(), store.Put(store.Record{Kind: keywright.KindKey, ID: id, Data: []byte("no JSON")})); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if a := w.revoke(key); a.status != 500 || a.text("error") != "server_error" {
			t.Errorf("got %d %s, want 500", a.status, a.body)
		}
	}
}

// Revocation counts what it refuses, and a request that cannot be read counts.
func TestFailuresOfEveryKind(t *testing.T) {
	for name, fail := range map[string]func(*world) answer{
		"a form that is none": func(w *world) answer { return from("192.0.2.1", w, exchange.TokenPath, url.Values{"x": {"y"}}) },
		"too large": func(w *world) answer {
			return from("192.0.2.1", w, exchange.TokenPath, url.Values{"x": {strings.Repeat("y", 70000)}})
		},
		"no token to revoke": func(w *world) answer { return from("192.0.2.1", w, exchange.RevokePath, url.Values{}) },
		"a key of somebody else's": func(w *world) answer {
			return from("192.0.2.1", w, exchange.RevokePath, url.Values{"token": {strings.TrimPrefix(w.adminKey(), "Bearer ")}})
		},
	} {
		w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) { c.Failures = exchange.FailureLimit{Burst: 1, PerMinute: 1} })
		if a := fail(w); a.status/100 != 4 || a.status == 429 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
		if a := fail(w); a.status != 429 || a.header.Get("Retry-After") != "60" {
			t.Errorf("%s: the second: got %d %s", name, a.status, a.body)
		}
	}
}

// A zero limit is 100 at once and one a second; a negative one is none.
func TestFailureLimitDefaults(t *testing.T) {
	for _, tt := range []struct{ burst, failures, then int }{{0, 100, 429}, {-1, 300, 400}} {
		w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) { c.Failures = exchange.FailureLimit{Burst: tt.burst} })
		for range tt.failures {
			if a := from("192.0.2.1", w, exchange.TokenPath, form("x")); a.status != 400 {
				t.Fatalf("burst %d: got %d %s", tt.burst, a.status, a.body)
			}
		}
		if a := from("192.0.2.1", w, exchange.TokenPath, form("x")); a.status != tt.then || tt.then == 429 && a.header.Get("Retry-After") != "1" {
			t.Errorf("burst %d: got %d, want %d", tt.burst, a.status, tt.then)
		}
	}
}
