package exchange_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

const audience = "https://connect.example"

// t0 is the time of vectors/attacks.
var t0 = time.Unix(1767225600, 0)

// A clock stands still until it is told to go on.
type clock struct{ sinceT0 atomic.Int64 }

func (c *clock) Now() time.Time          { return t0.Add(time.Duration(c.sinceT0.Load())) }
func (c *clock) Advance(d time.Duration) { c.sinceT0.Add(int64(d)) }

// A faulty store fails where it is told to.
type faulty struct {
	store.Store
	fault atomic.Pointer[error] // what Commit returns instead of trying
	reads atomic.Pointer[error] // and Get
}

func (f *faulty) Commit(ctx context.Context, ops ...store.Op) error {
	if err := f.fault.Load(); err != nil {
		return *err
	}
	return f.Store.Commit(ctx, ops...)
}

func (f *faulty) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if err := f.reads.Load(); err != nil {
		return nil, *err
	}
	return f.Store.Get(ctx, keys...)
}

// A world is a server with an exchange, and a CI system.
type world struct {
	*exchange.Handler
	t      testing.TB
	host   keywright.Host
	db     *faulty
	clock  *clock
	issuer *exchangetest.Issuer
	url    string
	log    *buffer
	prefix string

	mu    sync.Mutex
	heard []keywright.Event // guarded by mu; by Hooks.Audit
}

// newWorld makes a world that trusts publishers, whose Issuer, where empty, is
// the world's own. edit changes the configuration.
func newWorld(t testing.TB, publishers []exchange.Publisher, edit ...func(*exchange.Config)) *world {
	t.Helper()
	c := new(clock)
	issuer := exchangetest.NewIssuer(t)
	issuer.Now, issuer.Audience = c.Now, audience
	return worldOn(t, &store.Memory{Now: c.Now}, c, issuer, "", publishers, edit...)
}

func worldOn(t testing.TB, db store.Store, c *clock, issuer *exchangetest.Issuer, prefix string, publishers []exchange.Publisher, edit ...func(*exchange.Config)) *world {
	t.Helper()
	w := &world{t: t, db: &faulty{Store: db}, clock: c, issuer: issuer, log: new(buffer), prefix: prefix}
	mux := http.NewServeMux()
	srv := httptest.NewServer(keywright.NoRedirect(mux))
	t.Cleanup(srv.Close)
	w.url = srv.URL + prefix
	external, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	w.host, err = keywright.NewHost(keywright.HostConfig{
		Store: w.db, URL: external, Kinds: map[string]string{"ci": "kw_ci", "admin": "kw_admin"},
		Hooks: keywright.Hooks{Now: c.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Audit: w.audit},
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := exchange.Config{
		Host: w.host, Audience: audience, Network: exchange.Network{InsecureLoopback: true}, Admin: w.host.Keys.Of("admin"),
		Failures: exchange.FailureLimit{Burst: -1},
	}
	for _, p := range publishers {
		cfg.Publishers = append(cfg.Publishers, w.own(p))
	}
	for _, e := range edit {
		e(&cfg)
	}
	if w.Handler, err = exchange.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.Register(mux, prefix)
	mux.Handle("GET "+prefix+"/whoami", keywright.Require(w.host.Keys.Of("ci", "admin"))(http.HandlerFunc(whoami)))
	return w
}

func whoami(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	json.NewEncoder(w).Encode(p)
}

// own gives a publisher without an issuer the world's.
func (w *world) own(p exchange.Publisher) exchange.Publisher {
	if p.Issuer == "" {
		p.Issuer = w.issuer.URL()
	}
	return p
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

// github is a publisher for the tokens of exchangetest's GitHub.
func github(edit ...func(*exchange.Publisher)) exchange.Publisher {
	claims := exchangetest.GitHubClaims()
	p := exchange.Publisher{
		ID: "deploy", Provider: exchange.GitHub, Subject: "deployer", Scopes: []string{"deploy", "read"},
		Claims: map[string]exchange.Values{
			"repository": {claims["repository"].(string)}, "repository_id": {claims["repository_id"].(string)},
			"repository_owner_id": {claims["repository_owner_id"].(string)},
		},
	}
	for _, e := range edit {
		e(&p)
	}
	return p
}

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

func (a answer) key() string { return a.text("access_token") }

// form is what rsconnect-python posts.
func form(token string) url.Values {
	return url.Values{
		"grant_type":           {"urn:ietf:params:oauth:grant-type:token-exchange"},
		"subject_token_type":   {"urn:ietf:params:oauth:token-type:id_token"},
		"requested_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
		"subject_token":        {token},
	}
}

var plainClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// send sends a request and reads the answer. Its body is nil, a url.Values or
// anything that becomes JSON.
func (w *world) send(method, path, authorization string, body any) answer {
	w.t.Helper()
	a, err := w.try(method, path, authorization, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// try is send for any goroutine.
func (w *world) try(method, path, authorization string, body any) (answer, error) {
	var r io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case url.Values:
		r, contentType = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, w.url+path, r)
	if err != nil {
		return answer{}, err
	}
	if r != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
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

func (w *world) post(token string) answer {
	w.t.Helper()
	return w.send("POST", exchange.TokenPath, "", form(token))
}

// wantKey posts a token and wants a key that works.
func (w *world) wantKey(token string) string {
	w.t.Helper()
	a := w.post(token)
	if a.status != 200 || a.key() == "" {
		w.t.Fatalf("got %d %s, want a key; heard %+v", a.status, a.body, w.last())
	}
	if me := w.send("GET", "/whoami", "Bearer "+a.key(), nil); me.status != 200 {
		w.t.Fatalf("whoami: got %d %s", me.status, me.body)
	}
	return a.key()
}

// last is the latest audit event.
func (w *world) last() keywright.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.heard) == 0 {
		return keywright.Event{}
	}
	return w.heard[len(w.heard)-1]
}

// wantRefused posts a token and wants invalid_grant of one class: "ambiguous",
// "verif" or "" for neither word.
func (w *world) wantRefused(name, token, class string) answer {
	w.t.Helper()
	a := w.post(token)
	w.checkRefused(name, a, class)
	return a
}

func (w *world) checkRefused(name string, a answer, class string) {
	w.t.Helper()
	description := strings.ToLower(a.text("error_description"))
	if a.status != 400 || a.text("error") != "invalid_grant" || a.key() != "" {
		w.t.Errorf("%s: got %d %s, want 400 invalid_grant", name, a.status, a.body)
	}
	for _, word := range []string{"ambiguous", "verif"} {
		if strings.Contains(description, word) != (word == class) {
			w.t.Errorf("%s: description %q, want class %q", name, description, class)
		}
	}
}

// admin issues an admin key and returns its Authorization.
func (w *world) adminKey() string {
	w.t.Helper()
	m, err := w.host.Keys.Issue(w.t.Context(), keywright.Principal{}, keywright.KeySpec{Kind: "admin", Method: keywright.MethodHost, Subject: "root", Scopes: []string{"admin"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return "Bearer " + m.Text
}

var operator = keywright.Principal{Credential: "operator"}

// count returns how many records of a kind live.
func (w *world) count(kind string) int {
	w.t.Helper()
	n := 0
	for _, err := range w.db.List(w.t.Context(), store.Query{Kind: kind}) {
		if err != nil {
			w.t.Fatal(err)
		}
		n++
	}
	return n
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
