package keywright_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A clock stands still until it is told to go on.
type clock struct{ sinceEpoch atomic.Int64 }

func (c *clock) Now() time.Time          { return epoch.Add(time.Duration(c.sinceEpoch.Load())) }
func (c *clock) Advance(d time.Duration) { c.sinceEpoch.Add(int64(d)) }

// A world is a host on a store that can be watched.
type world struct {
	keywright.Host
	db    *probe
	clock *clock
	log   *buffer

	mu    sync.Mutex
	heard []keywright.Event // guarded by mu; by Hooks.Audit
}

var kinds = map[string]string{"admin": "kw_admin", "prov": "ck_prov"}

// newWorld makes a world on an empty store; edit, if any, changes what it is
// made of.
func newWorld(t testing.TB, edit ...func(*keywright.HostConfig)) *world {
	t.Helper()
	c := new(clock)
	return worldOn(t, &store.Memory{Now: c.Now}, c, edit...)
}

func worldOn(t testing.TB, db store.Store, c *clock, edit ...func(*keywright.HostConfig)) *world {
	t.Helper()
	w := &world{db: &probe{Store: db}, clock: c, log: new(buffer)}
	config := keywright.HostConfig{
		Store: w.db, Kinds: kinds,
		Hooks: keywright.Hooks{
			Now:    c.Now,
			Logger: slog.New(slog.NewTextHandler(w.log, nil)),
			Audit: func(_ context.Context, e keywright.Event) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.heard = append(w.heard, e)
			},
		},
	}
	for _, f := range edit {
		f(&config)
	}
	var err error
	if w.Host, err = keywright.NewHost(config); err != nil {
		t.Fatal(err)
	}
	return w
}

// events returns what Hooks.Audit has heard of that name.
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

// operator is who acts in these tests.
var operator = keywright.Principal{Method: keywright.MethodHost, Subject: "operator", Credential: "operator0001"}

func adminSpec() keywright.KeySpec {
	return keywright.KeySpec{
		Kind: "admin", Method: keywright.MethodHost, Issuer: "here", Subject: "ci",
		Scopes: []string{"read", "write"}, Attrs: map[string]string{"repository": "a/b"},
	}
}

func (w *world) issue(t testing.TB, spec keywright.KeySpec) keywright.MintedKey {
	t.Helper()
	m, err := w.Keys.Issue(t.Context(), operator, spec)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// settle waits for last uses under way.
func (w *world) settle(t testing.TB) {
	t.Helper()
	if err := w.Keys.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// use authenticates with a key as a route for admin and prov keys does, and
// returns the code of the refusal or "".
func (w *world) use(text string) keywright.Code {
	_, err := w.Keys.Of("admin", "prov").Authenticate(bearer(text))
	switch {
	case err == nil:
		return ""
	case errors.Is(err, keywright.ErrNoCredential):
		return keywright.CodeInvalidToken // as Require has it
	}
	return keywright.AsError(err).Code
}

// wantUse fails the test unless using each text ends in code.
func (w *world) wantUse(t testing.TB, code keywright.Code, texts ...string) {
	t.Helper()
	for i, text := range texts {
		if got := w.use(text); got != code {
			t.Errorf("use of key %d of %d: got code %q, want %q", i+1, len(texts), got, code)
		}
	}
}

func bearer(text string) *http.Request {
	r := httptest.NewRequest("GET", "/whoami", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	return r
}

// wantCode fails the test unless err is an Error of that code.
func wantCode(t testing.TB, what string, err error, code keywright.Code) {
	t.Helper()
	if err == nil || keywright.AsError(err).Code != code {
		t.Errorf("%s: got %v, want code %s", what, err, code)
	}
}

// An answer is what a client sees of a response.
type answer struct {
	Status int
	Header http.Header // without Date
	Body   string
}

// ask sends a request over the network, with each of the Authorization fields.
func ask(t testing.TB, method, url string, authorization ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != nil {
		req.Header["Authorization"] = authorization
	}
	return send(t, req)
}

func send(t testing.TB, req *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Header.Del("Date")
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// serve runs h on a port of its own until the test ends.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// whoami answers with the subject and the credential of the caller.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, ok := keywright.FromContext(r.Context())
	if !ok {
		http.Error(w, "no principal", http.StatusInternalServerError)
		return
	}
	io.WriteString(w, p.Subject+" "+p.Credential)
})

// A buffer is a strings.Builder for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
