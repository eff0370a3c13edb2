package provisioning_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// within calls a handler without a network, so that time can stand still.
type within struct {
	http.Handler
	mu   sync.Mutex
	fail func(r *http.Request, served bool) error // guarded by mu; of the request, before and after it was served
}

func (w *within) setFail(f func(*http.Request, bool) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail = f
}

func (w *within) failing(r *http.Request, served bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail == nil {
		return nil
	}
	return w.fail(r, served)
}

func (w *within) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := w.failing(r, false); err != nil {
		return nil, err
	}
	rec := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w.ServeHTTP(rec, in)
	if err := w.failing(r, true); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// A fleet is a server and a client of it, in one bubble.
type fleet struct {
	host   keywright.Host
	prov   *provisioning.Handler
	net    *within
	client provisioning.Client
	key    string // a provisioning key
}

func newFleet(t *testing.T, c provisioning.Config) *fleet {
	t.Helper()
	u, _ := url.Parse(base)
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{}, URL: u,
		Kinds: map[string]string{"provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Host = host
	prov, err := provisioning.New(c)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	prov.Register(mux, "")
	mux.Handle("GET /work", keywright.Text.Require(prov.Authenticator())(http.HandlerFunc(tell)))
	f := &fleet{host: host, prov: prov, net: &within{Handler: mux}}
	f.client = provisioning.Client{URL: base, HTTP: &http.Client{Transport: f.net}}
	k, err := prov.CreateKey(t.Context(), keywright.Principal{Subject: "root"}, provisioning.KeySettings{ID: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	f.key = k.APIKey
	return f
}

// runner enrols one and returns its key.
func (f *fleet) runner(t *testing.T, name string) string {
	t.Helper()
	p, err := f.client.Provision(t.Context(), f.key, provisioning.ProvisionRequest{Name: name})
	if err == nil {
		err = f.client.Enroll(t.Context(), provisioning.EnrollRequest{Token: p.Token, APIKey: p.APIKey, ID: p.ID, Hostname: "h"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.APIKey
}

func TestClientEnrolsARunner(t *testing.T) {
	f := newFleet(t, provisioning.Config{})
	p, err := f.client.Provision(t.Context(), f.key, provisioning.ProvisionRequest{Name: "sdr-1"})
	if err != nil || p.ID != "sdr-1" || p.ServerURL != base || !strings.Contains(p.ConfigYAML, p.Token) || p.ExpiresAt.Before(time.Now()) {
		t.Fatalf("provision: %+v, %v", p, err)
	}
	req := provisioning.EnrollRequest{Token: p.Token, APIKey: p.APIKey, ID: p.ID, Hostname: "h"}
	for _, when := range []string{"first", "again"} {
		if err := f.client.Enroll(t.Context(), req); err != nil {
			t.Errorf("enrol %s: %v", when, err)
		}
	}
	if s, err := f.client.Check(t.Context(), p.APIKey); err != nil || s.ID != "sdr-1" || !s.Expires.IsZero() || s.Issued.IsZero() {
		t.Errorf("check: %+v, %v", s, err)
	}
	if err := f.client.Enroll(t.Context(), req); err != nil {
		t.Errorf("enrol after the first use: %v", err)
	}
	if err := f.prov.DisableRunner(t.Context(), keywright.Principal{}, "sdr-1"); err != nil {
		t.Fatal(err)
	}
	if e, ok := errors.AsType[*provisioning.StatusError](f.client.Enroll(t.Context(), req)); !ok || e.Status != 403 || e.Code != "insufficient_scope" {
		t.Errorf("enrol when it is disabled: %v", e)
	}
}

func TestClientOfARunnerWithAKeyPair(t *testing.T) {
	f := newFleet(t, provisioning.Config{})
	_, signer, _ := ed25519.GenerateKey(nil)
	p, err := f.client.Provision(t.Context(), f.key, provisioning.ProvisionRequest{Name: "sdr-1", PublicKey: true})
	if err != nil || p.APIKey != "" || p.Challenge == "" {
		t.Fatalf("provision: %+v, %v", p, err)
	}
	jwk, proof, err := provisioning.SignEnrollment(signer, p, time.Now())
	if err == nil {
		err = f.client.Enroll(t.Context(), provisioning.EnrollRequest{Token: p.Token, ID: p.ID, Hostname: "h", PublicKey: jwk, Proof: proof})
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.client.Refresh(t.Context(), signer, "sdr-1", 0)
	if err != nil || r.Sequence != 1 || r.Expires.IsZero() {
		t.Fatalf("refresh: %+v, %v", r, err)
	}
	if s, err := f.client.Check(t.Context(), r.APIKey); err != nil || s.ID != "sdr-1" {
		t.Errorf("check: %+v, %v", s, err)
	}
}

func TestClientErrors(t *testing.T) {
	const secret = "ck_prov_averysecretkey"
	says := func(status int, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			w.Write([]byte(body))
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		status  int
		text    string // in the error
		lost    bool
	}{
		{"a refusal", says(401, `{"error":"Invalid provisioning API key","code":"invalid_token"}`), 401, "invalid_token: Invalid provisioning API key", false},
		{"ChallengeCtl's", says(429, `<html>100 per 1 hour`), 429, "429 Too Many Requests", false},
		{"a wait", says(429, `{"error":"slow"}`, "Retry-After", "7"), 429, "slow", false},
		{"a secret in it", says(400, `{"error":"bad key `+secret+`"}`), 400, "withheld", false},
		{"control characters", says(400, `{"error":"a\u001b[31m\nb"}`), 400, "a[31mb", false},
		{"a redirect", says(307, ``, "Location", "https://evil.example/"), 307, "307", false},
		{"no JSON", says(201, `ok`), 0, "cannot be read", true},
		{"no credentials", says(201, `{"runner_id":"a"}`), 0, "without credentials", true},
		{"another type", says(201, `{"enrollment_token":["`+secret+`"]}`), 0, "another type", true},
		{"too long", says(201, strings.Repeat(" ", 1<<20+1)), 0, "longer than", true},
	} {
		c := provisioning.Client{URL: base, HTTP: &http.Client{Transport: &within{Handler: tt.handler}}}
		_, err := c.Provision(t.Context(), secret, provisioning.ProvisionRequest{Name: "a"})
		e, _ := errors.AsType[*provisioning.StatusError](err)
		if err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), secret) || errors.Is(err, provisioning.ErrLost) != tt.lost || (e != nil) != (tt.status != 0) || e != nil && e.Status != tt.status {
			t.Errorf("%s: got %v", tt.name, err)
		}
		if e != nil && (e.RetryAfter == 7*time.Second) != (tt.name == "a wait") {
			t.Errorf("%s: wait %v", tt.name, e.RetryAfter)
		}
	}
	for _, u := range []string{"", "server.example", "http://server.example", "ftp://server.example", "https://a:b@server.example", "https://server.example/?a", "https://server.example/#a"} {
		c := provisioning.Client{URL: u, HTTP: &http.Client{Transport: &within{Handler: says(500, "")}}}
		if _, err := c.Provision(t.Context(), secret, provisioning.ProvisionRequest{}); err == nil || !strings.Contains(err.Error(), "Client.URL") {
			t.Errorf("%s: %v", u, err)
		}
	}
	if _, err := (provisioning.Client{URL: base}).Provision(t.Context(), "a\nb", provisioning.ProvisionRequest{}); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("a key with a line break: %v", err)
	}
}

// saved is what a runner has on its disk.
type saved struct {
	mu     sync.Mutex
	states []provisioning.KeyState
	fail   error
}

func (s *saved) save(_ context.Context, k provisioning.KeyState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.states = append(s.states, k)
	return nil
}

func (s *saved) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *saved) last() provisioning.KeyState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.states) == 0 {
		return provisioning.KeyState{}
	}
	return s.states[len(s.states)-1]
}

func (f *fleet) keeper(t *testing.T, state provisioning.KeyState, s *saved, failed func(error)) *provisioning.Keeper {
	t.Helper()
	k, err := provisioning.NewKeeper(t.Context(), provisioning.KeeperConfig{Client: f.client, State: state, Save: s.save, Failed: failed})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var living = provisioning.Config{Limits: provisioning.Limits{RunnerKey: 100 * time.Hour, Lifetime: time.Second}}

// A year of requests, one every ten minutes: each has a key that works, and the
// key is replaced at about three quarters of its life.
func TestKeeperKeepsAKeyForAYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		var rotations []time.Time
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, func(err error) { t.Error(err) })
		work := http.Client{Transport: k.Transport(f.net)}
		before := ""
		for range 365 * 24 * 6 {
			time.Sleep(10 * time.Minute)
			if res, err := work.Get(base + "/work"); err != nil || res.StatusCode != 200 {
				t.Fatalf("after %d rotations: %v, %v", len(rotations), res, err)
			}
			synctest.Wait()
			if now := s.last().Key; now != before && s.last().Next == "" {
				before = now
				rotations = append(rotations, time.Now())
			}
		}
		for i := 1; i < len(rotations); i++ {
			if gap := rotations[i].Sub(rotations[i-1]); gap < 70*time.Hour-time.Minute || gap > 80*time.Hour+11*time.Minute {
				t.Errorf("rotation %d after %v, want 70 to 80 hours", i, gap)
			}
		}
		if len(rotations) < 109 || len(rotations) > 126 {
			t.Errorf("%d rotations in a year, want about 117", len(rotations))
		}
	})
}

func TestKeeperRotatesOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
		var asked atomic.Int64
		f.net.setFail(func(r *http.Request, served bool) error {
			if r.Method == "POST" && !served {
				asked.Add(1)
				time.Sleep(time.Second)
			}
			return nil
		})
		time.Sleep(85 * time.Hour)
		for range 50 {
			go func() {
				if _, err := k.Key(t.Context()); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(time.Minute)
		if asked.Load() != 1 {
			t.Errorf("%d rotations, want 1", asked.Load())
		}
	})
}

// Whatever gets lost, the runner ends up with a key that works.
func TestKeeperSurvivesWhatGetsLost(t *testing.T) {
	away := errors.New("connection reset")
	for _, tt := range []struct {
		name string
		fail func(r *http.Request, served bool) error
		save error
	}{
		{"the request to rotate", func(r *http.Request, served bool) error { return lose(r.Method == "POST" && !served, away) }, nil},
		{"its answer", func(r *http.Request, served bool) error { return lose(r.Method == "POST" && served, away) }, nil},
		{"the request to check", func(r *http.Request, served bool) error { return lose(r.Method == "GET" && !served, away) }, nil},
		{"its answer, after the new key was used", func(r *http.Request, served bool) error { return lose(r.Method == "GET" && served, away) }, nil},
		{"the disk", nil, errors.New("disk full")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, s := newFleet(t, living), new(saved)
				var failures atomic.Int64
				first := f.runner(t, "sdr-1")
				k := f.keeper(t, provisioning.KeyState{Key: first}, s, func(error) { failures.Add(1) })
				time.Sleep(85 * time.Hour)
				f.net.setFail(tt.fail)
				s.setFail(tt.save)
				for range 3 {
					if _, err := k.Key(t.Context()); err != nil {
						t.Fatalf("while the old key lives: %v", err)
					}
					time.Sleep(2 * time.Minute)
				}
				if failures.Load() == 0 {
					t.Error("nothing failed")
				}
				f.net.setFail(nil)
				s.setFail(nil)
				for range 12 {
					time.Sleep(10 * time.Minute)
					if key, err := k.Key(t.Context()); err != nil {
						t.Errorf("afterwards: %v", err)
					} else if _, err := f.client.Check(t.Context(), key); err != nil {
						t.Errorf("afterwards: the key does not work: %v", err)
					}
				}
				if state := s.last(); state.Key == first || state.Next != "" {
					t.Error("the key was not replaced in two hours")
				}
			})
		})
	}
}

func lose(when bool, err error) error {
	if when {
		return err
	}
	return nil
}

// A process that begins with what another had saved goes on with it.
func TestKeeperOfTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
		f.net.setFail(func(r *http.Request, served bool) error {
			return lose(r.Method == "GET" && served, errors.New("killed"))
		})
		time.Sleep(85 * time.Hour)
		if _, err := k.Key(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		state := s.last()
		if state.Next == "" {
			t.Fatal("the new key was not saved before it was used")
		}
		f.net.setFail(nil)
		k = f.keeper(t, state, s, nil)
		if key, err := k.Key(t.Context()); err != nil || key != state.Next {
			t.Errorf("the next process: another key, or %v", err)
		}
	})
}

func TestKeeperWaitsForANewKeyWhenTheOldOneHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
		time.Sleep(200 * time.Hour)
		_, err := k.Key(t.Context())
		if e, ok := errors.AsType[*provisioning.StatusError](err); !ok || e.Status != 401 {
			t.Errorf("long after its end: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(2 * time.Hour)
		f.net.setFail(func(*http.Request, bool) error { time.Sleep(time.Second); return nil })
		if _, err := k.Key(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestKeeperOfAKeyWithoutAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, provisioning.Config{}), new(saved)
		key := f.runner(t, "sdr-1")
		k := f.keeper(t, provisioning.KeyState{Key: key}, s, nil)
		time.Sleep(10 * 365 * 24 * time.Hour)
		if got, err := k.Key(t.Context()); err != nil || got != key || len(s.states) != 0 {
			t.Errorf("got another key or %v, saved %d times", err, len(s.states))
		}
	})
}

func TestNewKeeper(t *testing.T) {
	f, s := newFleet(t, living), new(saved)
	key := f.runner(t, "sdr-1")
	newer, err := f.client.Rotate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	k := f.keeper(t, provisioning.KeyState{Key: key, Next: newer.APIKey}, s, nil)
	if got, err := k.Key(t.Context()); err != nil || got != newer.APIKey || s.last() != (provisioning.KeyState{Key: newer.APIKey}) {
		t.Errorf("with a newer key that works: %v, saved %v", err, len(s.states))
	}
	k = f.keeper(t, provisioning.KeyState{Key: newer.APIKey, Next: key[:len(key)-1] + "x"}, s, nil)
	if got, err := k.Key(t.Context()); err != nil || got != newer.APIKey {
		t.Errorf("with a newer key that does not work: %v", err)
	}
	for name, c := range map[string]provisioning.KeeperConfig{
		"no key":           {Client: f.client, Save: s.save},
		"nothing to save":  {Client: f.client, State: provisioning.KeyState{Key: key}},
		"a key of nobody":  {Client: f.client, State: provisioning.KeyState{Key: "ck_runner_x"}, Save: s.save},
		"an unknown state": {Client: provisioning.Client{URL: "https://away.invalid"}, State: provisioning.KeyState{Key: key, Next: key}, Save: s.save},
	} {
		if _, err := provisioning.NewKeeper(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A server that binds runners to their machines knows ours.
func TestClientOfABoundRunner(t *testing.T) {
	f, s := newFleet(t, provisioning.Config{Binding: provisioning.Bind, Limits: living.Limits}), new(saved)
	f.client.MAC, f.client.MachineID = "aa:bb:cc:dd:ee:ff", "m1"
	key := f.runner(t, "sdr-1")
	k := f.keeper(t, provisioning.KeyState{Key: key}, s, nil)
	if res, err := (&http.Client{Transport: k.Transport(f.net)}).Get(base + "/work"); err != nil || res.StatusCode != 200 {
		t.Errorf("work: %v, %v", res, err)
	}
	if _, err := f.client.Rotate(t.Context(), key); err != nil {
		t.Errorf("rotate: %v", err)
	}
	f.client.MachineID = "m2"
	if _, err := f.client.Check(t.Context(), key); err == nil {
		t.Error("another machine is let in")
	}
}

// An answer that got lost long ago locks nobody out.
func TestClientRotatesLongAfterAnAnswerGotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, provisioning.Config{Limits: provisioning.Limits{RunnerKey: 2000 * time.Hour, Lifetime: time.Second}})
		key := f.runner(t, "sdr-1")
		if _, err := f.client.Rotate(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1000 * time.Hour)
		if _, err := f.client.Check(t.Context(), key); err != nil {
			t.Errorf("the old key: %v", err)
		}
		if made, err := f.client.Rotate(t.Context(), key); err != nil {
			t.Errorf("again: %v", err)
		} else if _, err := f.client.Check(t.Context(), made.APIKey); err != nil {
			t.Errorf("the new key: %v", err)
		}
		time.Sleep(time.Hour)
		if _, err := f.client.Check(t.Context(), key); err == nil {
			t.Error("the old key works an hour after the first use of the new one")
		}
	})
}

func TestKeeperSendsTheKeyToNobodyElse(t *testing.T) {
	f, s := newFleet(t, living), new(saved)
	k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
	c := http.Client{Transport: k.Transport(&within{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("sent to %s", r.URL)
	})})}
	for _, u := range []string{"https://evil.example/", "http://server.example/", "https://server.example:444/"} {
		if _, err := c.Post(u, "text/plain", strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "not the runner's server") {
			t.Errorf("%s: %v", u, err)
		}
	}
	req, _ := http.NewRequest("GET", base+"/work", nil)
	res, err := k.Transport(f.net).RoundTrip(req)
	if err != nil || res.StatusCode != 200 || len(req.Header) != 0 {
		t.Errorf("the server: %v, %v, the caller's header %v", res, err, req.Header)
	}
	var p keywright.Principal
	if json.NewDecoder(res.Body).Decode(&p); p.Subject != "sdr-1" {
		t.Errorf("came as %q", p.Subject)
	}
}
