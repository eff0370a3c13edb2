package bootstrap_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/store"
)

// TestStatusTable is the table of answers that rsconnect-python acts on.
func TestStatusTable(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fixture, *bootstrap.Config)
		method string
		path   string
		status int
		header map[string]string
	}{
		{"200 the key", nil, "POST", bootstrap.Path, 200, nil},
		{"401 another secret", func(_ *fixture, c *bootstrap.Config) { c.Secret = bootstrap.NewSecret() }, "POST", bootstrap.Path, 401, nil},
		{"BST-34 403 claimed", func(f *fixture, c *bootstrap.Config) { f.redeem(f.serve(*c), f.token()) }, "POST", bootstrap.Path, 403, nil},
		{"403 the host has administrators", func(_ *fixture, c *bootstrap.Config) {
			c.Claimed = func(context.Context) (bool, error) { return true, nil }
		}, "POST", bootstrap.Path, 403, nil},
		{"404 disabled", func(_ *fixture, c *bootstrap.Config) { c.Disabled = true }, "POST", bootstrap.Path, 404, map[string]string{"Content-Type": "text/plain; charset=utf-8"}},
		{"404 disabled, any method", func(_ *fixture, c *bootstrap.Config) { c.Disabled = true }, "GET", bootstrap.Path, 404, nil},
		{"404 wrong URL", nil, "POST", "/api/v1/experimental/bootstrap", 404, nil},
		{"404 trailing slash", nil, "POST", bootstrap.Path + "/", 404, nil},
		{"200 doubled slash", nil, "POST", "/" + bootstrap.Path, 200, nil},
		{"405 GET", nil, "GET", bootstrap.Path, 405, map[string]string{"Allow": "POST"}},
		{"405 DELETE", nil, "DELETE", bootstrap.Path, 405, map[string]string{"Allow": "POST"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			c := f.config()
			if tt.change != nil {
				tt.change(f, &c)
			}
			srv := f.serve(c)
			req, err := http.NewRequest(tt.method, srv.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Connect-Bootstrap "+f.token())
			got := f.do(req)
			if got.status != tt.status {
				t.Errorf("got %d (%s), want %d", got.status, f.lastDetail(), tt.status)
			}
			for name, want := range tt.header {
				if got.header.Get(name) != want {
					t.Errorf("%s: got %q, want %q", name, got.header.Get(name), want)
				}
			}
			if got.header.Get("Location") != "" {
				t.Errorf("a redirect to %s", got.header.Get("Location"))
			}
		})
	}
}

// TestAuthenticationComesFirst: a stranger cannot tell a claimed server from
// an open one.
func TestAuthenticationComesFirst(t *testing.T) {
	f := newFixture(t)
	srv := f.serve(f.config())
	open := f.redeem(srv, "junk")
	f.redeem(srv, f.token())
	claimed := f.redeem(srv, "junk")
	open.header.Del("Date")
	claimed.header.Del("Date")
	if diff := cmp.Diff(open, claimed, cmp.AllowUnexported(answer{})); diff != "" {
		t.Errorf("the answers to a bad token differ (-open +claimed):\n%s", diff)
	}
}

// TestEndOfTheKeyDoesNotReopen: neither the end of the key nor anything else but a
// reset opens the endpoint again.
func TestEndOfTheKeyDoesNotReopen(t *testing.T) {
	ctx := context.Background()
	tests := map[string]func(f *fixture, id string) error{
		"delete":  func(f *fixture, id string) error { return f.host.Keys.Delete(ctx, keywright.Principal{}, id) },
		"disable": func(f *fixture, id string) error { return f.host.Keys.Disable(ctx, keywright.Principal{}, id) },
		"rotate": func(f *fixture, id string) error {
			_, err := f.host.Keys.Rotate(ctx, keywright.Principal{}, id, keywright.Rotation{})
			return err
		},
		"expire": func(f *fixture, _ string) error { f.clock.advance(2 * time.Hour); return nil },
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.config()
			c.Key.TTL = time.Hour
			srv := f.serve(c)
			key := f.redeem(srv, f.token()).key()
			if got := f.whoami(srv, key); got != 200 {
				t.Fatalf("the new key: got %d, want 200", got)
			}
			id, _ := f.host.Keys.ID(key)
			if err := end(f, id); err != nil {
				t.Fatal(err)
			}
			if got := f.whoami(srv, key); got != 401 {
				t.Errorf("the ended key: got %d, want 401", got)
			}
			if got := f.redeem(srv, f.token()); got.status != 403 || got.code() != "bootstrap_complete" {
				t.Errorf("a good token: got %d %q, want 403 bootstrap_complete", got.status, got.code())
			}
		})
	}
}

func TestPrincipalOfTheKey(t *testing.T) {
	f := newFixture(t)
	c := f.config()
	c.Admin = func(context.Context) (string, error) { return "user-1", nil }
	c.Key = bootstrap.AdminKey{Kind: "admin", Scopes: []string{"admin", "read"}, TTL: time.Hour}
	key := f.redeem(f.serve(c), f.token()).key()
	req, _ := http.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Authorization", "Key "+key)
	got, err := f.host.Keys.Of("admin").Authenticate(req)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := f.host.Keys.ID(key)
	want := keywright.Principal{
		Method: keywright.MethodBootstrap, Subject: "user-1", Scopes: []string{"admin", "read"},
		Credential: id, Expires: t0.Add(time.Hour),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if _, err := f.host.Keys.Of("runner").Authenticate(req); keywright.AsError(err).Code != keywright.CodeInsufficientScope {
		t.Errorf("on a route for another kind: got %v, want insufficient_scope", err)
	}
}

// TestHooks: a hook that fails claims nothing.
func TestHooks(t *testing.T) {
	broken := errors.New("user database is down")
	tests := []struct {
		name   string
		change func(*bootstrap.Config)
		status int
	}{
		{"Admin fails", func(c *bootstrap.Config) { c.Admin = func(context.Context) (string, error) { return "", broken } }, 503},
		{"Admin returns no subject", func(c *bootstrap.Config) { c.Admin = func(context.Context) (string, error) { return "", nil } }, 503},
		{"Admin chooses its answer", func(c *bootstrap.Config) {
			c.Admin = func(context.Context) (string, error) {
				return "", keywright.Errorf(keywright.CodeConflict, "no licence")
			}
		}, 409},
		{"Claimed fails", func(c *bootstrap.Config) { c.Claimed = func(context.Context) (bool, error) { return false, broken } }, 503},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			c := f.config()
			tt.change(&c)
			got := f.redeem(f.serve(c), f.token())
			if got.status != tt.status || strings.Contains(got.body, broken.Error()) {
				t.Errorf("got %d %s, want %d without the cause", got.status, got.body, tt.status)
			}
			f.wantUntouched()
		})
	}
}

// TestBST35Race: one token, or one each, from 64 goroutines: one key.
func TestBST35Race(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	for _, mode := range []string{"one token", "a token each", "one token with redelivery"} {
		t.Run(mode, func(t *testing.T) {
			for range rounds {
				f := newFixture(t)
				c := f.config()
				if mode == "one token with redelivery" {
					c.Redelivery = time.Minute
				}
				h, err := bootstrap.New(c)
				if err != nil {
					t.Fatal(err)
				}
				keys := f.stampede(h, mode == "a token each")
				if want := 1; len(keys) != want && c.Redelivery == 0 {
					t.Fatalf("%d answers with a key, want %d", len(keys), want)
				}
				for _, k := range keys {
					if k != keys[0] {
						t.Fatal("two different keys were answered")
					}
				}
				if n := f.records(keywright.KindKey); n != 1 || len(keys) == 0 {
					t.Fatalf("%d keys stored, %d answered, want 1 and at least 1", n, len(keys))
				}
			}
		})
	}
}

// stampede sends 64 requests at once and returns the keys in the answers. All
// others must be 403.
func (f *fixture) stampede(h http.Handler, different bool) []string {
	var (
		mu    sync.Mutex
		keys  []string
		start = make(chan struct{})
		wg    sync.WaitGroup
	)
	tok := f.token()
	for range 64 {
		if different {
			tok = f.token()
		}
		wg.Go(func() {
			<-start
			got := serveDirectly(h, tok)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case got.status == 200:
				keys = append(keys, got.key())
			case got.status != 403:
				f.Errorf("got %d %s, want 200 or 403", got.status, got.body)
			}
		})
	}
	close(start)
	wg.Wait()
	return keys
}

// TestPublicKeys: tokens signed with a private key that the server does not have.
func TestPublicKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, signer := range map[string]crypto.Signer{"EdDSA": ed, "ES256": ec, "RS256": rs} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.config()
			c.Secret, c.PublicKeys, c.Redelivery = "", []crypto.PublicKey{signer.Public()}, time.Minute
			srv := f.serve(c)
			tok, err := bootstrap.Client{Signer: signer}.Token(f.clock.Now())
			if err != nil {
				t.Fatal(err)
			}
			if got := f.redeem(srv, f.token()); got.status != 401 {
				t.Errorf("a token signed with a secret: got %d, want 401", got.status)
			}
			first := f.redeem(srv, tok)
			if again := f.redeem(srv, tok); first.status != 200 || first.key() != again.key() {
				t.Errorf("got %d and then another key, want 200 and the same", first.status)
			}
		})
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		f := newFixture(t)
		c := f.config()
		c.PublicKeys = []crypto.PublicKey{weak.Public()}
		if _, err := bootstrap.New(c); err == nil || !strings.Contains(err.Error(), "PublicKeys[0]") {
			t.Errorf("an RSA key of 1024 bits: got %v, want an error that names it", err)
		}
	}
}

// TestConfig: what is wrong is named when the server starts.
func TestConfig(t *testing.T) {
	tests := []struct {
		name   string
		change func(*bootstrap.Config)
		want   string // part of the error; empty: none
	}{
		{"good", func(*bootstrap.Config) {}, ""},
		{"BST-10 no secret and no key", func(c *bootstrap.Config) { c.Secret = "" }, "Secret or PublicKeys is required"},
		{"disabled needs nothing", func(c *bootstrap.Config) { *c = bootstrap.Config{Disabled: true} }, ""},
		{"BST-07 16 bytes", func(c *bootstrap.Config) { c.Secret = "MDEyMzQ1Njc4OWFiY2RlZg==" }, "16 bytes"},
		{"no host", func(c *bootstrap.Config) { c.Host = keywright.Host{} }, "Host is required"},
		{"unknown kind", func(c *bootstrap.Config) { c.Key.Kind = "robot" }, `"robot"`},
		{"no scopes", func(c *bootstrap.Config) { c.Key.Scopes = nil }, "Scopes"},
		{"TTL beyond what a store can hold", func(c *bootstrap.Config) { c.Key.TTL = 250 * 365 * 24 * time.Hour }, "TTL"},
		{"negative TTL", func(c *bootstrap.Config) { c.Key.TTL = -1 }, "TTL"},
		{"negative window", func(c *bootstrap.Config) { c.Redelivery = -1 }, "Redelivery"},
		{"negative lifetime", func(c *bootstrap.Config) { c.Expect.MaxLifetime = -1 }, "MaxLifetime"},
		{"an unusable public key", func(c *bootstrap.Config) { c.PublicKeys = []crypto.PublicKey{"x"} }, "PublicKeys[0]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			c := f.config()
			tt.change(&c)
			_, err := bootstrap.New(c)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if err != nil && c.Secret != "" && strings.Contains(err.Error(), c.Secret) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

// TestExpect: other values than Connect's, and only those.
func TestExpect(t *testing.T) {
	f := newFixture(t)
	c := f.config()
	c.Expect = bootstrap.Expect{Issuer: "acme-cli", Audience: "acme", Scope: "init", MaxLifetime: time.Hour}
	srv := f.serve(c)
	if got := f.redeem(srv, f.token()); got.status != 401 {
		t.Errorf("a token for Connect: got %d, want 401", got.status)
	}
	tok, err := bootstrap.Client{Secret: secret, Expect: c.Expect}.Token(f.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := f.redeem(srv, tok); got.status != 200 {
		t.Errorf("a token of the host's own: got %d (%s), want 200", got.status, f.lastDetail())
	}
}

// TestVerifierAlone: the Authenticator without the endpoint.
func TestVerifierAlone(t *testing.T) {
	f := newFixture(t)
	v, err := bootstrap.NewVerifier(bootstrap.VerifierConfig{Secret: secret, Hooks: f.host.Hooks})
	if err != nil {
		t.Fatal(err)
	}
	var got keywright.Principal
	h := keywright.Require(v)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, _ = keywright.FromContext(r.Context())
	}))
	tok := f.token()
	if a := serveDirectly(h, tok); a.status != 200 {
		t.Fatalf("got %d, want 200", a.status)
	}
	if a := serveDirectly(h, tok); a.status != 200 {
		t.Errorf("a second time: got %d, want 200: the Verifier keeps no state", a.status)
	}
	if a := serveDirectly(h, "junk"); a.status != 401 {
		t.Errorf("junk: got %d, want 401", a.status)
	}
	if got.Method != keywright.MethodBootstrap || got.Issuer != "rsconnect-python" || !got.HasScope("bootstrap") ||
		!strings.Contains(string(got.Claims), `"iss":"rsconnect-python"`) || got.Expires != t0.Add(15*time.Minute) {
		t.Errorf("principal: %+v", got)
	}
	if strings.Contains(tok, got.Credential) || got.Credential == "" {
		t.Errorf("the credential %q reveals the token", got.Credential)
	}
	f.wantUntouched()
}

// TestOneCommit: the claim, the key, its parent and the event come together.
func TestOneCommit(t *testing.T) {
	f := newFixture(t)
	counting := &commitCounter{Store: f.store}
	f.setStore(counting)
	f.redeem(f.serve(f.config()), f.token())
	if counting.n != 1 {
		t.Errorf("%d Commits, want 1", counting.n)
	}
	for _, kind := range []string{bootstrap.KindClaim, bootstrap.KindGeneration, bootstrap.KindToken, keywright.KindKey, keywright.KindEvent} {
		if n := f.records(kind); n != 1 {
			t.Errorf("%d records of kind %q, want 1", n, kind)
		}
	}
}

type commitCounter struct {
	store.Store
	n int
}

func (s *commitCounter) Commit(ctx context.Context, ops ...store.Op) error {
	s.n++
	return s.Store.Commit(ctx, ops...)
}
