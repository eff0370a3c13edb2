package bootstrap_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/store"
)

// secret is the one of testdata/attacks/bootstrap.json, t0 its clock.
const secret = "m7q0/O2STCFf0dxyqbuRhWrCcanwInegWRaXQWzD+to="

var t0 = time.Unix(1767225600, 0)

// A clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A fixture is a host on a store in memory, with everything it says recorded.
type fixture struct {
	*testing.T
	clock *clock
	store store.Store
	host  keywright.Host
	log   lockedBuffer // of slog, and of every event

	mu     sync.Mutex
	events []keywright.Event // guarded by mu
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, clock: &clock{now: t0}}
	f.setStore(&store.Memory{Now: f.clock.Now})
	return f
}

func (f *fixture) setStore(s store.Store) {
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: s,
		Kinds: map[string]string{"admin": "kw_admin", "runner": "kw_runner"},
		Hooks: keywright.Hooks{
			Now:    f.clock.Now,
			Logger: slog.New(slog.NewJSONHandler(&f.log, nil)),
			Audit:  f.audit,
		},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.store, f.host = s, host
}

func (f *fixture) audit(_ context.Context, e keywright.Event) {
	json.NewEncoder(&f.log).Encode(e)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
}

// lastDetail is why the last request was refused.
func (f *fixture) lastDetail() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.events) == 0 {
		return ""
	}
	return f.events[len(f.events)-1].Detail
}

// config is a complete Config; tests change what they are about.
func (f *fixture) config() bootstrap.Config {
	return bootstrap.Config{Host: f.host, Secret: secret, Key: bootstrap.AdminKey{Scopes: []string{"admin"}}}
}

// serve mounts the endpoint and /whoami.
func (f *fixture) serve(c bootstrap.Config) *httptest.Server {
	f.Helper()
	h, err := bootstrap.New(c)
	if err != nil {
		f.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Register(mux, "")
	admin := keywright.Require(c.Host.Keys.Of("admin"))
	mux.Handle("GET /whoami", admin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := keywright.FromContext(r.Context())
		io.WriteString(w, p.Subject)
	})))
	srv := httptest.NewServer(keywright.NoRedirect(mux))
	f.Cleanup(srv.Close)
	return srv
}

// token makes a good token as of now.
func (f *fixture) token() string {
	f.Helper()
	tok, err := bootstrap.Client{Secret: secret}.Token(f.clock.Now())
	if err != nil {
		f.Fatal(err)
	}
	return tok
}

// An answer is what a client saw.
type answer struct {
	status int
	header http.Header
	body   string
}

// key is the api_key of the answer, or "".
func (a answer) key() string {
	var r struct {
		APIKey string `json:"api_key"`
	}
	json.Unmarshal([]byte(a.body), &r)
	return r.APIKey
}

// code is the machine-readable cause in a problem document.
func (a answer) code() string {
	var r struct {
		Code string `json:"code"`
	}
	json.Unmarshal([]byte(a.body), &r)
	return r.Code
}

// post sends each of authorization as a header field of its own.
func (f *fixture) post(srv *httptest.Server, authorization ...string) answer {
	f.Helper()
	req, err := http.NewRequest(http.MethodPost, srv.URL+bootstrap.Path, nil)
	if err != nil {
		f.Fatal(err)
	}
	req.Header["Authorization"] = authorization
	return f.do(req)
}

// redeem sends a token as clients do.
func (f *fixture) redeem(srv *httptest.Server, token string) answer {
	f.Helper()
	return f.post(srv, "Connect-Bootstrap "+token)
}

// whoami reports the status with which a key is met.
func (f *fixture) whoami(srv *httptest.Server, key string) int {
	f.Helper()
	req, err := http.NewRequest(http.MethodGet, srv.URL+"/whoami", nil)
	if err != nil {
		f.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	return f.do(req).status
}

func (f *fixture) do(req *http.Request) answer {
	f.Helper()
	res, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, string(body)}
	if a.status != http.StatusOK && strings.Contains(a.body, "api_key") {
		f.Errorf("an answer with status %d names api_key: %s", a.status, a.body)
	}
	return a
}

// records counts what the store holds of a kind.
func (f *fixture) records(kind string) int {
	f.Helper()
	n := 0
	for _, err := range f.store.List(context.Background(), store.Query{Kind: kind}) {
		if err != nil {
			f.Fatal(err)
		}
		n++
	}
	return n
}

// wantUntouched fails when a refused request has left anything behind.
func (f *fixture) wantUntouched() {
	f.Helper()
	for _, kind := range []string{bootstrap.KindClaim, bootstrap.KindGeneration, bootstrap.KindToken, keywright.KindKey, keywright.KindEvent} {
		if n := f.records(kind); n != 0 {
			f.Errorf("%d records of kind %q after a refusal, want none", n, kind)
		}
	}
}

// signed makes a token by hand, with the secret's HMAC whatever the header says.
func signed(t *testing.T, header string, payload any) string {
	t.Helper()
	body, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(body)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// serveDirectly calls a handler without a network in between.
func serveDirectly(h http.Handler, token string) answer {
	r := httptest.NewRequest(http.MethodPost, bootstrap.Path, nil)
	r.Header.Set("Authorization", "Connect-Bootstrap "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// holds reports whether a record of a kind has text in it.
func (f *fixture) holds(kind, text string) bool {
	f.Helper()
	for r, err := range f.store.List(context.Background(), store.Query{Kind: kind}) {
		if err != nil {
			f.Fatal(err)
		}
		if strings.Contains(string(r.Data), text) {
			return true
		}
	}
	return false
}

// wantNoneOf looks for secrets in all records of a kind.
func (f *fixture) wantNoneOf(kind string, secrets ...string) {
	f.Helper()
	for r, err := range f.store.List(context.Background(), store.Query{Kind: kind}) {
		if err != nil {
			f.Fatal(err)
		}
		for _, s := range secrets {
			if strings.Contains(string(r.Data)+r.ID, s) {
				f.Errorf("record %s/%s holds a secret", r.Kind, r.ID)
			}
		}
	}
}
