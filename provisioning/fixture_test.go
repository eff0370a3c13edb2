package provisioning_test

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
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const base = "https://server.example"

// A clock stands still until it is told to go on.
type clock struct{ sinceEpoch atomic.Int64 }

func (c *clock) Now() time.Time          { return epoch.Add(time.Duration(c.sinceEpoch.Load())) }
func (c *clock) Advance(d time.Duration) { c.sinceEpoch.Add(int64(d)) }

// A world is a server with provisioning, reached over HTTP.
type world struct {
	t     testing.TB
	host  keywright.Host
	prov  *provisioning.Handler
	clock *clock
	db    *store.Memory
	url   string
	admin string // a key that Config.Admin lets in
	log   *buffer

	mu    sync.Mutex
	heard []keywright.Event // guarded by mu; by Hooks.Audit
}

// setup is what a test may change before the world is made.
type setup struct {
	host   keywright.HostConfig
	config provisioning.Config
	middle func(http.Handler) http.Handler
}

func newWorld(t testing.TB, edit ...func(*setup)) *world {
	t.Helper()
	w := &world{t: t, clock: new(clock), log: new(buffer)}
	w.db = &store.Memory{Now: w.clock.Now}
	u, _ := url.Parse(base)
	s := setup{host: keywright.HostConfig{
		Store: w.db, URL: u,
		Kinds: map[string]string{"admin": "kw_admin", "provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll", "app": "kw_app"},
		Hooks: keywright.Hooks{Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Audit: w.hear},
	}}
	for _, f := range edit {
		f(&s)
	}
	var err error
	if w.host, err = keywright.NewHost(s.host); err != nil {
		t.Fatal(err)
	}
	s.config.Host = w.host
	if s.config.Admin == nil {
		s.config.Admin = w.host.Keys.Of("admin")
	}
	if w.prov, err = provisioning.New(s.config); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	w.prov.Register(mux, "")
	mux.Handle("GET /runner", keywright.Text.Require(w.prov.Authenticator())(http.HandlerFunc(tell)))
	mux.Handle("GET /any", keywright.Text.Require(w.host.Keys.Of(w.host.Keys.Kinds()...))(http.HandlerFunc(tell)))
	var handler http.Handler = mux
	if s.middle != nil {
		handler = s.middle(mux)
	}
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.admin = w.issue(keywright.KeySpec{Kind: "admin", Method: keywright.MethodBootstrap, Subject: "root", Scopes: []string{"admin"}})
	return w
}

// tell answers with who came.
func tell(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	json.NewEncoder(w).Encode(p)
}

func (w *world) hear(_ context.Context, e keywright.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, e)
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

func (w *world) issue(spec keywright.KeySpec) string {
	w.t.Helper()
	m, err := w.host.Keys.Issue(w.t.Context(), keywright.Principal{Subject: "test"}, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return m.Text
}

// An answer is what the server said.
type answer struct {
	status int
	body   string
	header http.Header
}

// field returns a member of the body that is a string.
func (a answer) field(name string) string {
	var m map[string]any
	json.Unmarshal([]byte(a.body), &m)
	s, _ := m[name].(string)
	return s
}

// call sends a request with a bearer, if any, and a JSON body, if any.
func (w *world) call(method, path, bearer, body string, header ...string) answer {
	w.t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, r)
	if err != nil {
		w.t.Error(err)
		return answer{}
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return w.send(req)
}

// crowd lets many requests wait for each other's connections.
var crowd = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 100, MaxIdleConnsPerHost: 100}}

// send is for requests that call cannot make. Any goroutine may use both.
func (w *world) send(req *http.Request) answer {
	w.t.Helper()
	resp, err := crowd.Do(req)
	if err != nil {
		w.t.Error(err)
		return answer{}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Error(err)
	}
	return answer{resp.StatusCode, strings.TrimSuffix(string(b), "\n"), resp.Header}
}

// makeKey makes a provisioning key; settings are further members, such as `"max_uses":1`.
func (w *world) makeKey(id string, settings ...string) string {
	w.t.Helper()
	members := append([]string{`"key_id":"` + id + `"`}, settings...)
	a := w.call("POST", "/api/provisioning/keys", w.admin, "{"+strings.Join(members, ",")+"}")
	if a.status != 201 {
		w.t.Fatalf("create key %s: %d %s", id, a.status, a.body)
	}
	return a.field("api_key")
}

// provision makes the credentials of a runner.
func (w *world) provision(key, name string) (token, apiKey string) {
	w.t.Helper()
	a := w.call("POST", "/api/provisioning/provision", key, `{"runner_name":"`+name+`"}`)
	if a.status != 201 {
		w.t.Fatalf("provision %s: %d %s", name, a.status, a.body)
	}
	return a.field("enrollment_token"), a.field("api_key")
}

func enrollment(token, key, id string) string {
	b, _ := json.Marshal(map[string]any{"enrollment_token": token, "api_key": key, "runner_id": id, "hostname": "host-1", "devices": []any{}, "mac_address": "aa:bb:cc:dd:ee:ff", "machine_id": "m1"})
	return string(b)
}

func (w *world) enroll(token, key, id string) answer {
	w.t.Helper()
	return w.call("POST", "/api/enrollment/enroll", "", enrollment(token, key, id))
}

// want checks the status, and the text of an error.
func (w *world) want(name string, a answer, status int, text string) {
	w.t.Helper()
	if a.status != status || text != "" && a.field("error") != text {
		w.t.Errorf("%s: got %d %s, want %d %s", name, a.status, a.body, status, text)
	}
}

// A buffer is safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
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
