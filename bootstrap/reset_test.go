package bootstrap_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

func TestReset(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	srv := f.serve(f.config())
	early, spare := f.token(), f.token()
	first := f.redeem(srv, early).key()
	id, _ := f.host.Keys.ID(first)
	rotated, err := f.host.Keys.Rotate(ctx, keywright.Principal{}, id, keywright.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}

	for _, wrong := range []int64{-1, 0, 2} {
		if err := bootstrap.Reset(ctx, f.host, wrong, "test"); keywright.AsError(err).Code != keywright.CodeConflict {
			t.Errorf("generation %d: got %v, want a conflict", wrong, err)
		}
	}
	if got := f.whoami(srv, first); got != 200 {
		t.Fatalf("after refused resets the key gets %d, want 200", got)
	}

	f.clock.advance(time.Minute)
	if err := bootstrap.Reset(ctx, f.host, 1, "test"); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]string{"the admin key": first, "the key it was rotated to": rotated.Text} {
		if got := f.whoami(srv, key); got != 401 {
			t.Errorf("%s after the reset: got %d, want 401", name, got)
		}
	}
	for name, tok := range map[string]string{"the token that was used": early, "a token of before": spare, "a token of the same second": f.token()} {
		if got := f.redeem(srv, tok); got.status != 401 {
			t.Errorf("%s: got %d, want 401", name, got.status)
		}
	}
	if err := bootstrap.Reset(ctx, f.host, 1, "test"); keywright.AsError(err).Code != keywright.CodeConflict {
		t.Errorf("the same reset again: got %v, want a conflict", err)
	}

	f.clock.advance(time.Second)
	second := f.redeem(srv, f.token()).key()
	if got := f.whoami(srv, second); got != 200 {
		t.Errorf("the new admin key: got %d, want 200", got)
	}
	if err := bootstrap.Reset(ctx, f.host, 1, "test"); keywright.AsError(err).Code != keywright.CodeConflict {
		t.Errorf("the old generation: got %v, want a conflict", err)
	}
	if got := f.whoami(srv, first); got != 401 {
		t.Errorf("the first admin key, later: got %d, want 401", got)
	}
	if s, err := bootstrap.ReadStatus(ctx, f.host); err != nil || !s.Claimed || s.Generation != 2 {
		t.Errorf("status %+v, %v, want claimed and generation 2", s, err)
	}
	if n := f.records(bootstrap.KindGeneration); n != 1 {
		t.Errorf("%d generations, want 1", n)
	}
}

// TestResetOpensWhateverTheHostCounts: the operator has decided.
func TestResetOpensWhateverTheHostCounts(t *testing.T) {
	f := newFixture(t)
	c := f.config()
	admins := 0
	c.Admin = func(context.Context) (string, error) { admins++; return "admin", nil }
	c.Claimed = func(context.Context) (bool, error) { return admins > 0, nil }
	srv := f.serve(c)
	if got := f.redeem(srv, f.token()); got.status != 200 {
		t.Fatalf("got %d, want 200", got.status)
	}
	if err := bootstrap.Reset(context.Background(), f.host, 1, "test"); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(time.Second)
	if got := f.redeem(srv, f.token()); got.status != 200 {
		t.Errorf("after the reset: got %d (%s), want 200", got.status, f.lastDetail())
	}
}

// TestResetEndsUsedTokens: also one from a clock ahead of ours, with no jti.
func TestResetEndsUsedTokens(t *testing.T) {
	f := newFixture(t)
	srv := f.serve(f.config())
	tok := signed(t, `{"alg":"HS256"}`, goodClaims().with(claims{"iat": t0.Unix() + 25}))
	if got := f.redeem(srv, tok); got.status != 200 {
		t.Fatalf("got %d (%s), want 200", got.status, f.lastDetail())
	}
	f.clock.advance(5 * time.Second)
	if err := bootstrap.Reset(context.Background(), f.host, 1, "test"); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(25 * time.Second)
	if got := f.redeem(srv, tok); got.status != 401 {
		t.Errorf("the used token after the reset: got %d, want 401", got.status)
	}
}

// TestResetIsAudited: the event stands in the store.
func TestResetIsAudited(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	f.redeem(f.serve(f.config()), f.token())
	if err := bootstrap.Reset(ctx, f.host, 1, "operator"); err != nil {
		t.Fatal(err)
	}
	for e, err := range f.host.Events(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Name == "bootstrap.reset" && e.Actor == "operator" && e.Attrs["generation"] == "1" {
			return
		}
	}
	t.Error("no event of the reset")
}

// TestResetRace: of many resets of one generation, one happens.
func TestResetRace(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	f.redeem(f.serve(f.config()), f.token())
	var (
		mu   sync.Mutex
		done int
		wg   sync.WaitGroup
	)
	for range 16 {
		wg.Go(func() {
			if bootstrap.Reset(ctx, f.host, 1, "test") == nil {
				mu.Lock()
				done++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if done != 1 {
		t.Errorf("%d resets succeeded, want 1", done)
	}
}

func TestResetOfAnUnclaimedServer(t *testing.T) {
	f := newFixture(t)
	if err := bootstrap.Reset(context.Background(), f.host, 0, "test"); keywright.AsError(err).Code != keywright.CodeConflict {
		t.Errorf("got %v, want a conflict", err)
	}
	f.wantUntouched()
}

func TestResetFromFile(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name    string
		content string
		mode    os.FileMode
		done    bool
		err     string
		removed bool
	}{
		{"the generation", "1\n", 0o600, true, "", true},
		{"another generation", "7", 0o600, false, "generation is 1, not 7", true},
		{"no number", "yes", 0o600, false, "a number", true},
		{"empty", "", 0o600, false, "a number", true},
		{"writable by others", "1", 0o662, false, "open to others", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			srv := f.serve(f.config())
			key := f.redeem(srv, f.token()).key()
			path := filepath.Join(t.TempDir(), "reset")
			if err := os.WriteFile(path, []byte(tt.content), tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			done, err := bootstrap.ResetFromFile(ctx, f.host, path)
			if done != tt.done || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, %v, want %v and an error with %q", done, err, tt.done, tt.err)
			}
			if _, err := os.Stat(path); os.IsNotExist(err) != tt.removed {
				t.Errorf("removed: %v, want %v", os.IsNotExist(err), tt.removed)
			}
			if got, want := f.whoami(srv, key) == 401, tt.done; got != want {
				t.Errorf("the key has ended: %v, want %v", got, want)
			}
		})
	}
	t.Run("another user's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can give a file away")
		}
		f := newFixture(t)
		f.redeem(f.serve(f.config()), f.token())
		path := filepath.Join(t.TempDir(), "reset")
		if err := errors.Join(os.WriteFile(path, []byte("1"), 0o600), os.Chown(path, 65534, 65534)); err != nil {
			t.Fatal(err)
		}
		if done, err := bootstrap.ResetFromFile(ctx, f.host, path); done || err == nil || !strings.Contains(err.Error(), "another user") {
			t.Errorf("got %v, %v, want an error that names the owner", done, err)
		}
	})
	t.Run("a symbolic link", func(t *testing.T) {
		f := newFixture(t)
		f.redeem(f.serve(f.config()), f.token())
		dir := t.TempDir()
		target, path := filepath.Join(dir, "target"), filepath.Join(dir, "reset")
		if err := errors.Join(os.WriteFile(target, []byte("1"), 0o600), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
		if done, err := bootstrap.ResetFromFile(ctx, f.host, path); done || err == nil {
			t.Errorf("got %v, %v, want an error", done, err)
		}
	})
	t.Run("no file", func(t *testing.T) {
		f := newFixture(t)
		if done, err := bootstrap.ResetFromFile(ctx, f.host, filepath.Join(t.TempDir(), "none")); done || err != nil {
			t.Errorf("got %v, %v, want nothing", done, err)
		}
	})
}
