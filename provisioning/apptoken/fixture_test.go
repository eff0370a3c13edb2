package apptoken_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// t0 is in a zone of its own: what is sent must be UTC all the same.
var t0 = time.Date(2026, 1, 1, 5, 30, 0, 123456789, time.FixedZone("IST", 19800))

// A clock stands still until it is told to go on.
type clock struct{ sinceT0 atomic.Int64 }

func (c *clock) Now() time.Time          { return t0.Add(time.Duration(c.sinceT0.Load())) }
func (c *clock) Advance(d time.Duration) { c.sinceT0.Add(int64(d)) }

// A faulty store fails where it is told to.
type faulty struct {
	store.Store
	commits, reads, lists, adds atomic.Pointer[error]             // what these return instead of trying
	before                      atomic.Pointer[func([]store.Op)]  // runs before each Commit
	noKeys                      atomic.Bool                       // Get fails that begin with a key
	listing                     atomic.Pointer[func(store.Query)] // runs before each List
}

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) error {
	if err := f.commits.Load(); err != nil {
		return *err
	}
	if do := f.before.Load(); do != nil {
		(*do)(ops)
	}
	return f.Store.Commit(ctx, ops...)
}

func (f *faulty) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if err := f.reads.Load(); err != nil {
		return nil, *err
	}
	if f.noKeys.Load() && keys[0].Kind == keywright.KindKey {
		return nil, errDown
	}
	return f.Store.Get(ctx, keys...)
}

func (f *faulty) List(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
	if err := f.lists.Load(); err != nil {
		return func(yield func(store.Record, error) bool) { yield(store.Record{}, *err) }
	}
	if do := f.listing.Load(); do != nil {
		(*do)(q)
	}
	return f.Store.List(ctx, q)
}

func (f *faulty) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if err := f.adds.Load(); err != nil {
		return 0, *err
	}
	return f.Store.Add(ctx, counter, n, until)
}

// once runs do before the next Commit that op picks.
func (f *faulty) once(op func(store.Op) bool, do func()) {
	var done atomic.Bool
	hook := func(ops []store.Op) {
		if slices.ContainsFunc(ops, op) && done.CompareAndSwap(false, true) {
			do()
		}
	}
	f.before.Store(&hook)
}

// makesToken picks the op by which a token comes to be.
func makesToken(op store.Op) bool {
	return op.Action == store.ActionInsert && op.Record.Kind == apptoken.KindToken
}

var errDown = errors.New("the database is on fire")

// A world is a server with an apptoken.Handler and a route of its own.
type world struct {
	*apptoken.Handler
	t     testing.TB
	host  keywright.Host
	db    *faulty
	clock *clock
	url   string
	log   *buffer

	mu    sync.Mutex
	heard []keywright.Event // guarded by mu; by Hooks.Audit
}

// directory has two organisations with two applications each. Subjects of keys
// of the kind "person" are its people.
func directory() apptoken.Static {
	return apptoken.Static{Organizations: map[string]apptoken.Organization{
		"myorg": {
			Applications: map[string]string{"app123": "builder", "app456": "deployer"},
			Admins:       []apptoken.Member{{Subject: "alice"}}, Readers: []apptoken.Member{{Subject: "rita"}},
		},
		"other": {Applications: map[string]string{"app123": "theirs"}, Admins: []apptoken.Member{{Subject: "oscar"}}},
	}}
}

func newWorld(t testing.TB, edit ...func(*apptoken.Config)) *world {
	t.Helper()
	c := new(clock)
	return worldOn(t, &store.Memory{Now: c.Now}, c, edit...)
}

func worldOn(t testing.TB, db store.Store, c *clock, edit ...func(*apptoken.Config)) *world {
	t.Helper()
	w := &world{t: t, db: &faulty{Store: db}, clock: c, log: new(buffer)}
	mux := http.NewServeMux()
	srv := httptest.NewServer(keywright.NoRedirect(mux))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	external, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	w.host, err = keywright.NewHost(keywright.HostConfig{
		Store: w.db, URL: external, Kinds: map[string]string{"app": "quay_oat", "admin": "kw_admin", "person": "kw_person", "runner": "ck_runner"},
		ImportedKeys: true,
		Hooks:        keywright.Hooks{Now: c.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Audit: w.audit},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := apptoken.Config{
		Host: w.host, Directory: directory(), Callers: w.host.Keys.Of("admin", "person"), Failures: apptoken.FailureLimit{Burst: -1},
	}
	for _, e := range edit {
		e(&cfg)
	}
	if w.Handler, err = apptoken.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.Register(mux, "")
	mux.Handle("GET /whoami", keywright.Require(w.host.Keys.Of("app"))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := keywright.FromContext(r.Context())
		json.NewEncoder(w).Encode(p)
	})))
	return w
}

func (w *world) audit(_ context.Context, e keywright.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, e)
}

// events returns the audit events with the given name.
func (w *world) events(name string) []keywright.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []keywright.Event
	for _, e := range w.heard {
		if e.Name == name {
			found = append(found, e)
		}
	}
	return found
}

func (w *world) last() keywright.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.heard) == 0 {
		return keywright.Event{}
	}
	return w.heard[len(w.heard)-1]
}

// key issues a key of the host and returns its Authorization.
func (w *world) key(kind, subject string, scopes ...string) string {
	w.t.Helper()
	m, err := w.host.Keys.Issue(w.t.Context(), keywright.Principal{}, keywright.KeySpec{Kind: kind, Method: keywright.MethodHost, Subject: subject, Scopes: scopes})
	if err != nil {
		w.t.Fatal(err)
	}
	return "Bearer " + m.Text
}

func (w *world) admin() string { return w.key("admin", "root", "admin") }
func (w *world) alice() string { return w.key("person", "alice") }

const (
	tokensPath   = "/api/v1/organization/myorg/applications/app123/tokens"
	otherAppPath = "/api/v1/organization/myorg/applications/app456/tokens"
	otherOrgPath = "/api/v1/organization/other/applications/app123/tokens"
	noAppPath    = "/api/v1/organization/myorg/applications/none/tokens"
	noOrgPath    = "/api/v1/organization/none/applications/app123/tokens"
)

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	fields map[string]any
}

func (a answer) text(name string) string {
	s, _ := a.fields[name].(string)
	return s
}

func (a answer) list() []map[string]any {
	var tokens []map[string]any
	all, _ := a.fields["tokens"].([]any)
	for _, one := range all {
		tokens = append(tokens, one.(map[string]any))
	}
	return tokens
}

func (a answer) names() string {
	var names []string
	for _, t := range a.list() {
		names = append(names, t["name"].(string))
	}
	return strings.Join(names, " ")
}

var plainClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// send sends a request and reads the answer. body is JSON as it stands.
func (w *world) send(method, path, authorization, body string, edit ...func(*http.Request)) answer {
	w.t.Helper()
	a, err := w.try(method, path, authorization, body, edit...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// try is send for any goroutine.
func (w *world) try(method, path, authorization, body string, edit ...func(*http.Request)) (answer, error) {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, w.url+path, r)
	if err != nil {
		return answer{}, err
	}
	if r != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	for _, e := range edit {
		e(req)
	}
	res, err := plainClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	a := answer{status: res.StatusCode, header: res.Header, body: string(text)}
	json.Unmarshal(text, &a.fields) // not every answer is an object
	return a, err
}

// create makes a token by way of HTTP and wants it made.
func (w *world) create(authorization, path, body string) answer {
	w.t.Helper()
	a := w.send("POST", path, authorization, body)
	if a.status != 200 || a.text("token") == "" {
		w.t.Fatalf("POST %s: got %d %s, want a token; heard %+v", body, a.status, a.body, w.last())
	}
	return a
}

// works reports whether a token is good for the host's own route.
func (w *world) works(token string) bool {
	w.t.Helper()
	return w.send("GET", "/whoami", "Bearer "+token, "").status == 200
}

// who is the principal that the host's own route sees.
func (w *world) who(token string) keywright.Principal {
	w.t.Helper()
	var p keywright.Principal
	a := w.send("GET", "/whoami", "Bearer "+token, "")
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 200 {
		w.t.Fatalf("whoami: got %d %s", a.status, a.body)
	}
	return p
}

// count returns how many records of a kind live.
func (w *world) count(kind string) int {
	w.t.Helper()
	n := 0
	for _, err := range w.db.Store.List(w.t.Context(), store.Query{Kind: kind}) {
		if err != nil {
			w.t.Fatal(err)
		}
		n++
	}
	return n
}

// want checks an answer that is an error: its status, its code, what its text
// contains, and that it has the one shape.
func (w *world) want(what string, a answer, status int, code keywright.Code, contains string) {
	w.t.Helper()
	if a.status != status || a.text("error_type") != string(code) || !strings.Contains(a.text("detail"), contains) {
		w.t.Errorf("%s: got %d %s, want %d %s with %q", what, a.status, a.body, status, code, contains)
		return
	}
	detail := a.text("detail")
	if a.text("message") != detail || a.text("error_message") != detail || a.text("title") != string(code) || a.fields["status"] != float64(status) ||
		a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("%s: got %v %s, which is not the one shape of errors", what, a.header, a.body)
	}
}

// A buffer is a log for any number of goroutines.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
