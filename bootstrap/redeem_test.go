package bootstrap_test

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

// redelivering is a fixture whose endpoint repeats an unused key for ten minutes.
func redelivering(t *testing.T) (*fixture, bootstrap.Config) {
	f := newFixture(t)
	c := f.config()
	c.Redelivery = 10 * time.Minute
	return f, c
}

// TestRedelivery: after a lost answer the same token gets the same key. Each
// row is a reason why it does not, or does all the same.
func TestRedelivery(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name    string
		between func(t *testing.T, f *fixture, c *bootstrap.Config, key string)
		same    bool
	}{
		{"at once", nil, true},
		{"just inside the window", func(_ *testing.T, f *fixture, _ *bootstrap.Config, _ string) {
			f.clock.advance(10*time.Minute - 1)
		}, true},
		{"the window is over", func(_ *testing.T, f *fixture, _ *bootstrap.Config, _ string) { f.clock.advance(10 * time.Minute) }, false},
		{"the key was used", func(t *testing.T, f *fixture, c *bootstrap.Config, key string) {
			if got := f.whoami(f.serve(*c), key); got != 200 {
				t.Fatalf("use: got %d, want 200", got)
			}
		}, false},
		{"the key was used in another process", func(t *testing.T, f *fixture, c *bootstrap.Config, key string) {
			other := &fixture{T: t, clock: f.clock}
			other.setStore(f.store)
			cfg := *c
			cfg.Host = other.host
			if got := f.whoami(f.serve(cfg), key); got != 200 {
				t.Fatalf("use: got %d, want 200", got)
			}
		}, false},
		{"a wrong key with the right id was tried", func(t *testing.T, f *fixture, c *bootstrap.Config, key string) {
			if got := f.whoami(f.serve(*c), key[:len(key)-1]); got != 401 {
				t.Fatalf("use: got %d, want 401", got)
			}
		}, true},
		{"the key was deleted", func(t *testing.T, f *fixture, _ *bootstrap.Config, key string) {
			id, _ := f.host.Keys.ID(key)
			if err := f.host.Keys.Delete(ctx, keywright.Principal{}, id); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the key was disabled", func(t *testing.T, f *fixture, _ *bootstrap.Config, key string) {
			id, _ := f.host.Keys.ID(key)
			if err := f.host.Keys.Disable(ctx, keywright.Principal{}, id); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the key was rotated with an overlap", func(t *testing.T, f *fixture, _ *bootstrap.Config, key string) {
			id, _ := f.host.Keys.ID(key)
			if _, err := f.host.Keys.Rotate(ctx, keywright.Principal{}, id, keywright.Rotation{Overlap: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"the server has another secret", func(_ *testing.T, _ *fixture, c *bootstrap.Config, _ string) {
			c.Secret = bootstrap.NewSecret()
		}, false},
		{"redelivery was turned off", func(_ *testing.T, _ *fixture, c *bootstrap.Config, _ string) { c.Redelivery = 0 }, false},
		{"the server was started again", func(_ *testing.T, f *fixture, c *bootstrap.Config, _ string) {
			f.setStore(f.store)
			c.Host = f.host
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, c := redelivering(t)
			tok := f.token()
			key := f.redeem(f.serve(c), tok).key()
			if tt.between != nil {
				tt.between(t, f, &c, key)
			}
			got := f.redeem(f.serve(c), tok)
			if same := got.status == 200 && got.key() == key; same != tt.same {
				t.Errorf("got %d, same key %v, want same key %v", got.status, got.key() == key, tt.same)
			}
			if n := f.records(bootstrap.KindClaim); n != 1 {
				t.Errorf("%d claims, want 1", n)
			}
		})
	}
}

func TestRedeliveryRefusesAnotherToken(t *testing.T) {
	f, c := redelivering(t)
	srv := f.serve(c)
	key := f.redeem(srv, f.token()).key()
	if got := f.redeem(srv, f.token()); got.status != 403 {
		t.Errorf("another good token: got %d, want 403", got.status)
	}
	if got := f.whoami(srv, key); got != 200 {
		t.Errorf("the key: got %d, want 200", got)
	}
}

// TestRedeliveryStoresNoSecret: nothing in the store lets its reader, who does
// not have the token, make the key.
func TestRedeliveryStoresNoSecret(t *testing.T) {
	f, c := redelivering(t)
	tok := f.token()
	key := f.redeem(f.serve(c), tok).key()
	for _, kind := range []string{bootstrap.KindClaim, bootstrap.KindGeneration, bootstrap.KindToken, keywright.KindKey, keywright.KindEvent} {
		f.wantNoneOf(kind, tok, key, key[len("kw_admin_")+12:], secret)
	}
}

// TestRedeliveryEnds: once it is over, the salt goes, without which a token and
// a copy of the store make no key.
func TestRedeliveryEnds(t *testing.T) {
	for name, end := range map[string]func(*fixture, bootstrap.Config, string){
		"by use":  func(f *fixture, c bootstrap.Config, key string) { f.whoami(f.serve(c), key) },
		"by time": func(f *fixture, _ bootstrap.Config, _ string) { f.clock.advance(11 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			f, c := redelivering(t)
			tok := f.token()
			key := f.redeem(f.serve(c), tok).key()
			if !f.holds(bootstrap.KindClaim, `"salt"`) {
				t.Fatal("no salt in the claim while the key can be redelivered")
			}
			end(f, c, key)
			if got := f.redeem(f.serve(c), tok); got.status != 403 {
				t.Errorf("got %d, want 403", got.status)
			}
			if f.holds(bootstrap.KindClaim, `"salt"`) {
				t.Error("the claim still has its salt")
			}
			if got := f.whoami(f.serve(c), key); got != 200 {
				t.Errorf("the key: got %d, want 200", got)
			}
		})
	}
}

func TestRedeliveryWithoutFirstUseTracking(t *testing.T) {
	f := newFixture(t)
	srv := f.serve(f.config())
	f.whoami(srv, f.redeem(srv, f.token()).key())
	if n := f.records(keywright.KindKeyFirst); n != 0 {
		t.Errorf("%d marks of a first use, want none where nothing depends on it", n)
	}
}

// TestJTI: a token id is good for one claim, also after a reset, and a token
// without one works.
func TestJTI(t *testing.T) {
	f := newFixture(t)
	srv := f.serve(f.config())
	ctx := context.Background()
	claim := func(id string, at time.Duration) answer {
		set := claims{"iat": f.clock.Now().Add(at).Unix(), "exp": f.clock.Now().Add(5 * time.Minute).Unix()}
		if id != "" {
			set["jti"] = id
		}
		return f.redeem(srv, signed(t, `{"alg":"HS256"}`, goodClaims().with(set)))
	}
	reset := func() {
		s, err := bootstrap.ReadStatus(ctx, f.host)
		if err != nil {
			t.Fatal(err)
		}
		if err := bootstrap.Reset(ctx, f.host, s.Generation, "test"); err != nil {
			t.Fatal(err)
		}
		f.clock.advance(time.Second)
	}
	steps := []struct {
		name   string
		id     string
		wait   time.Duration
		status int
	}{
		{"first", "a", 0, 200},
		{"the same id after a reset", "a", 0, 401},
		{"another id", "b", 0, 200},
		{"no id", "", 0, 200},
		{"no id again", "", 0, 200},
		{"an old id, once its token has long expired", "a", time.Hour, 200},
	}
	for _, s := range steps {
		f.clock.advance(s.wait)
		got := claim(s.id, 0)
		if got.status != s.status {
			t.Errorf("%s: got %d (%s), want %d", s.name, got.status, f.lastDetail(), s.status)
		}
		if got.status == 200 {
			reset()
		}
	}
}
