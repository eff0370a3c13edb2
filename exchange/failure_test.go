package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
)

var errAway = errors.New("the database is away: secret-dsn")

// serve asks the handler itself, as if from an address.
func (w *world) serve(addr, path, body string) answer {
	w.t.Helper()
	return w.serveContext(w.t.Context(), addr, path, body)
}

func (w *world) serveContext(ctx context.Context, addr, path, body string) answer {
	w.t.Helper()
	mux := http.NewServeMux()
	w.Register(mux, "")
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", formType)
	rec := httptest.NewRecorder()
	mux.ServeHTTP(rec, r.WithContext(keywright.WithRemoteAddr(ctx, addr)))
	return answerOf(rec.Result(), rec.Body.Bytes())
}

func (w *world) want503(name string, a answer) {
	w.t.Helper()
	w.checkOAuth(name, a)
	if a.status != 503 || a.text("error") != "temporarily_unavailable" || strings.Contains(a.body, "secret") {
		w.t.Errorf("%s: got %d %s, want 503", name, a.status, a.body)
	}
}

// A store in trouble leaves nothing behind, and the same token works later.
func TestStoreInTrouble(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	for _, fresh := range []bool{true, false} { // before and after the publishers were read
		before := w.records()
		w.db.reads.Store(&errAway)
		w.want503("no reads", w.post(token))
		w.db.reads.Store(nil)
		w.db.fault.Store(&errAway)
		a := w.post(token)
		w.want503("no writes", a)
		w.checkSecret("no writes", a, token)
		w.db.fault.Store(nil)
		if diff := cmp.Diff(before, w.records()); diff != "" {
			t.Errorf("fresh %v: the store has changed (-before +after):\n%s", fresh, diff)
		}
		if !strings.Contains(w.last().Detail, "secret-dsn") || !strings.Contains(w.log.String(), "secret-dsn") {
			t.Errorf("fresh %v: the operator does not learn the cause: %+v", fresh, w.last())
		}
		w.wantKey(token)
		token = w.issuer.GitHub(nil)
	}
}

// bySubject takes the account from the token: the host has to know it.
func bySubject(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "actor" }

// A change of others between reading and writing is not the job's trouble,
// unless it goes on.
func TestOthersChangeThePublisher(t *testing.T) {
	var w *world
	var asked, until atomic.Int64
	w = newWorld(t, nil, func(c *exchange.Config) {
		c.Account = func(ctx context.Context, _ keywright.Principal) (bool, error) {
			if asked.Add(1) > until.Load() {
				return true, nil
			}
			p := w.own(github(bySubject))
			p.Description = fmt.Sprint("change ", asked.Load())
			_, err := w.Replace(ctx, operator, p, "")
			return true, err
		}
	})
	if _, err := w.Create(t.Context(), operator, w.own(github(bySubject))); err != nil {
		t.Fatal(err)
	}
	until.Store(2)
	if a := w.post(w.issuer.GitHub(nil)); a.status != 200 || asked.Load() != 3 {
		t.Errorf("two changes: got %d %s after %d tries", a.status, a.body, asked.Load())
	}
	until.Store(1000)
	token := w.issuer.GitHub(nil)
	keys := w.count(keywright.KindKey)
	w.want503("changes all the time", w.post(token))
	if asked.Load() != 6 || w.count(keywright.KindKey) != keys {
		t.Errorf("%d tries, want 3 more; %d keys, want %d", asked.Load(), w.count(keywright.KindKey), keys)
	}
	until.Store(0)
	w.wantKey(token)
}

// Trust ends while a request is under way. A publisher that has changed gets no
// more keys; an issuer's record is not checked, so its key is made and never works.
func TestTrustEndsMeanwhile(t *testing.T) {
	for name, end := range map[string]func(context.Context, *world) error{
		"issuer":           func(ctx context.Context, w *world) error { return w.DisableIssuer(ctx, operator, w.issuer.URL()) },
		"publisher":        func(ctx context.Context, w *world) error { _, err := w.Disable(ctx, operator, "deploy"); return err },
		"publisher's life": func(ctx context.Context, w *world) error { return w.Delete(ctx, operator, "deploy") },
	} {
		var w *world
		w = newWorld(t, nil, func(c *exchange.Config) {
			c.Account = func(ctx context.Context, _ keywright.Principal) (bool, error) { return true, end(ctx, w) }
		})
		if _, err := w.Create(t.Context(), operator, w.own(github(bySubject))); err != nil {
			t.Fatal(err)
		}
		a := w.post(w.issuer.GitHub(nil))
		if name == "issuer" {
			if a.status == 200 && w.works(a.key()) {
				t.Error("a key works whose issuer was disabled before it was made")
			}
			continue
		}
		if a.status != 400 || a.text("error") != "invalid_grant" || w.count(keywright.KindKey) != 0 || w.count(exchange.KindToken) != 0 {
			t.Errorf("%s: got %d %s; %v", name, a.status, a.body, w.records())
		}
	}
}

// Config.Account decides which accounts exist, and gets what it needs for it.
func TestAccount(t *testing.T) {
	var got keywright.Principal
	exists, trouble := true, error(nil)
	w := newWorld(t, []exchange.Publisher{github(bySubject)}, func(c *exchange.Config) {
		c.Account = func(ctx context.Context, p keywright.Principal) (bool, error) {
			got = p
			p.Attrs["publisher"], p.Attrs["injected"], p.Scopes[0] = "another", "x", "admin"
			if keywright.RemoteAddr(ctx) != "127.0.0.1" {
				t.Errorf("called for %q", keywright.RemoteAddr(ctx))
			}
			return exists, trouble
		}
	})
	token := w.issuer.GitHub(nil)
	trouble = errAway
	before := w.records()
	w.want503("trouble", w.post(token))
	if !strings.Contains(w.last().Detail, "Config.Account: "+errAway.Error()) {
		t.Errorf("heard %+v", w.last())
	}
	trouble, exists = nil, false
	a := w.wantRefused("no account", token, "")
	if other := w.wantRefused("no match", w.issuer.GitHub(changes{"repository_id": "1"}), ""); other.body != a.body {
		t.Errorf("an account that is none: %s, no match: %s; want the same", a.body, other.body)
	}
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
	exists = true
	key := w.wantKey(token)
	var c map[string]any
	if err := json.Unmarshal(got.Claims, &c); err != nil || c["run_id"] == "" || got.Subject != "octocat" || got.Issuer != w.issuer.URL() || got.Method != keywright.MethodExchange || !got.Expires.Equal(t0.Add(15*time.Minute)) {
		t.Errorf("asked about %+v, %v", got, err)
	}
	info, err := w.host.Keys.Check(t.Context(), key)
	if err != nil || info.Subject != "octocat" || info.Issuer != w.issuer.URL() || info.Attrs["publisher"] != "deploy" || info.Attrs["injected"] != "" || info.Scopes[0] != "deploy" {
		t.Errorf("got %+v, %v: what the hook does to its argument must not count", info, err)
	}
}

// Subjects that are none, or that nobody would find again.
func TestOddSubjects(t *testing.T) {
	called := 0
	w := newWorld(t, []exchange.Publisher{github(bySubject)}, func(c *exchange.Config) {
		c.Account = func(context.Context, keywright.Principal) (bool, error) { called++; return true, nil }
	})
	for name, value := range map[string]any{
		"none": nil, "empty": "", "null": json.RawMessage("null"), "a number": 12, "a list": []string{"octocat"}, "true": true, "an object": changes{"a": "b"},
		"with a line break": "octo\ncat", "with a NUL": "octo\x00cat", "with DEL": "octo\x7fcat", "513 bytes": strings.Repeat("o", 513), "a replacement character": "octo\ufffdcat",
	} {
		w.wantClass(name, w.issuer.GitHub(changes{"actor": value}), "")
	}
	if called != 0 {
		t.Errorf("the host was asked %d times about what is no name", called)
	}
	for _, value := range []string{"octocat", strings.Repeat("o", 512), "o'; DROP TABLE keys; --", "\u00e9", "../x"} {
		key := w.wantKey(w.issuer.GitHub(changes{"actor": value}))
		if info, err := w.host.Keys.Check(t.Context(), key); err != nil || info.Subject != value {
			t.Errorf("got %q, %v, want %q", info.Subject, err, value)
		}
	}
	if _, err := exchange.New(exchange.Config{Host: w.host, Publishers: []exchange.Publisher{w.own(github(bySubject))}, Network: exchange.Network{InsecureLoopback: true}}); err == nil {
		t.Error("without Config.Account: want an error")
	}
}

// E17: what strangers choose cannot break a line of the log, nor an answer.
func TestInjection(t *testing.T) {
	const evil = "x\nlevel=ERROR msg=forged \"\\\r\u2028\x1b[31m\u0085verif\x00"
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Claims["ref"] = exchange.Values{"refs/heads/main", "evil"} })})
	evilIssuer := w.issuer.GitHub(changes{"iss": evil})
	for name, a := range map[string]answer{
		"claims that do not match": w.post(w.issuer.GitHub(changes{"ref": evil, "environment": evil, "sub": evil, "run_id": evil})),
		"issuer":                   w.post(evilIssuer),
		"aud":                      w.post(w.issuer.GitHub(changes{"aud": evil})),
		"exp":                      w.post(w.issuer.GitHub(changes{"exp": evil})),
		"jti":                      w.post(w.issuer.GitHub(changes{"jti": changes{evil: 1}})),
		"kid":                      w.post(w.issuer.RawToken(mustJSON(changes{"alg": "RS256", "kid": evil}), payload(evilIssuer))),
		"alg":                      w.post(w.issuer.RawToken(mustJSON(changes{"alg": evil}), payload(evilIssuer))),
		"a member of the header":   w.post(w.issuer.RawToken(mustJSON(changes{"alg": "RS256", evil: 1}), payload(evilIssuer))),
		"a claim twice":            w.post(w.issuer.RawToken(w.header(""), []byte(`{"`+"a\\n\\u0085"+`":1,"`+"a\\n\\u0085"+`":1}`))),
		"a good token":             w.post(w.issuer.GitHub(changes{"actor": evil, "sub": evil, "run_id": evil, "workflow": evil})),
	} {
		w.checkOAuth(name, a)
		if a.status != 200 && a.status != 400 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	for _, name := range []string{evil, "a\nb", strings.Repeat("\u00e9", 100)} {
		body := form("x")
		body[name] = []string{"1", "2"}
		a := w.send("POST", exchange.TokenPath, "", body)
		w.checkOAuth(name, a)
		if a.status != 400 {
			t.Errorf("%q: got %d %s", name, a.status, a.body)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := strings.Split(strings.TrimSuffix(w.log.String(), "\n"), "\n")
	for _, e := range w.heard {
		texts = append(texts, e.Detail, e.Actor, e.Target, e.Remote)
		for _, v := range e.Attrs {
			texts = append(texts, v)
		}
	}
	for _, text := range texts {
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' }) || strings.HasPrefix(text, "level=") {
			t.Errorf("a control character in %q", text)
		}
		if len(text) > 1500 {
			t.Errorf("%d bytes of a stranger's text", len(text))
		}
	}
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// XC-07: failures of any kind leave nothing running and nothing open.
func TestFailuresLeaveNothingBehind(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.wantKey(w.issuer.GitHub(nil))
	gone := newWorld(t, []exchange.Publisher{github()})
	gone.issuer.SetFault(1) // exchangetest.Down
	for name, fail := range map[string]func() answer{
		"malformed": func() answer { return w.serve("192.0.2.1", exchange.TokenPath, form("x").Encode()) },
		"no form":   func() answer { return w.serve("192.0.2.1", exchange.TokenPath, "%zz") },
		"too large": func() answer { return w.serve("192.0.2.1", exchange.TokenPath, strings.Repeat("a", 65<<10)) },
		"no match":  func() answer { return w.serve("192.0.2.1", exchange.TokenPath, form(noMatch(w)).Encode()) },
		"no keys": func() answer {
			gone.clock.Advance(time.Minute)
			return gone.serve("192.0.2.1", exchange.TokenPath, form(noMatch(gone)).Encode())
		},
		"unknown kid": func() answer {
			w.clock.Advance(time.Minute)
			return w.serve("192.0.2.1", exchange.TokenPath, form(w.issuer.RawToken([]byte(`{"alg":"RS256","kid":"x"}`), payload(noMatch(w)))).Encode())
		},
		"revocation": func() answer { return w.serve("192.0.2.1", exchange.RevokePath, "token=") },
	} {
		n := 1000
		if name == "no keys" || name == "unknown kid" {
			n = 200 // each makes a request of ours
		}
		fail()
		goroutines, files := leaks()
		for range n {
			if a := fail(); a.status < 400 {
				t.Fatalf("%s: got %d %s", name, a.status, a.body)
			}
		}
		for wait := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			g, f := leaks()
			if g <= goroutines+2 && f <= files+2 {
				break
			}
			if time.Now().After(wait) {
				t.Errorf("%s: %d goroutines and %d files, before %d and %d", name, g, f, goroutines, files)
				break
			}
		}
	}
}

func noMatch(w *world) string { return w.issuer.GitHub(changes{"repository_id": "1"}) }

// leaks counts goroutines and, where that can be seen, open files.
func leaks() (goroutines, files int) {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		open = nil
	}
	return runtime.NumGoroutine(), len(open)
}

// What a refusal costs is bounded, whatever was sent (invariant 4).
func TestCostOfRefusals(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.wantKey(w.issuer.GitHub(nil))
	const room = 4 << 10 // of a token, before base64
	pairs := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "&%x", i)
		}
		return b.String()
	}
	nested := changes{"deep": json.RawMessage(strings.Repeat("[", room/2) + strings.Repeat("]", room/2))}
	many := changes{"many": json.RawMessage("[" + strings.Repeat("0,", room/2) + "0]"), "repository_id": "1"}
	for name, body := range map[string]string{
		"9,000 parameters":   form("x").Encode() + pairs(9000),
		"12,000 parameters":  form("x").Encode() + pairs(12000),
		"a long scope":       form("x").Encode() + "&scope=" + strings.Repeat("a+", 30000),
		"many audiences":     form("x").Encode() + strings.Repeat("&audience=a", 5000),
		"64 KiB of dots":     form(strings.Repeat(".", 60000)).Encode(),
		"a deep claim":       form(w.issuer.RawToken(w.header(""), mustJSON(nested))).Encode(),
		"a long claim":       form(w.issuer.GitHub(many)).Encode(),
		"escapes everywhere": strings.Repeat("%41", 21000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		a := w.serve("192.0.2.1", exchange.TokenPath, body)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; a.status != 400 || spent > 2<<20 || took > time.Second {
			t.Errorf("%s: got %d %s; %d KiB and %v, want 2 MiB at most", name, a.status, a.body, spent>>10, took)
		}
	}
}
