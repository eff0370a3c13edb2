package provisioning_test

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
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

func (f *fleet) keeper(t *testing.T, state provisioning.KeyState, s *saved, failed func(error)) *provisioning.Keeper {
	t.Helper()
	k, err := provisioning.NewKeeper(t.Context(), provisioning.KeeperConfig{Client: f.client, State: state, Save: s.save, Failed: failed})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A server that binds runners to their machines knows ours.
func TestClientOfABoundRunner(t *testing.T) {
	f, s := newFleet(t, provisioning.Config{Binding: provisioning.Bind, Limits: unhurried.Limits}), new(saved)
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
