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

// provisioning is a fixture with a key file and the configuration for it.
type provisioning struct {
	*fixture
	path string
	bootstrap.ProvisionConfig
}

func newProvisioning(t *testing.T) *provisioning {
	p := &provisioning{fixture: newFixture(t), path: filepath.Join(t.TempDir(), "private", "admin.key")}
	p.ProvisionConfig = bootstrap.ProvisionConfig{
		Host: p.host, Sink: bootstrap.FileSink{Path: p.path, Owner: "a"},
		Key: bootstrap.AdminKey{Scopes: []string{"admin"}, TTL: 24 * time.Hour},
	}
	return p
}

// start does what a server does when it starts, and wants an outcome.
func (p *provisioning) start(want bootstrap.Outcome) {
	p.Helper()
	got, err := bootstrap.Provision(context.Background(), p.ProvisionConfig)
	if err != nil || got != want {
		p.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// published is the key in the file.
func (p *provisioning) published() string {
	p.Helper()
	b, err := os.ReadFile(p.path)
	if err != nil {
		p.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// works reports whether a key is accepted.
func (p *provisioning) works(key string) bool {
	_, err := p.host.Keys.Check(context.Background(), key)
	return err == nil
}

func TestProvisionToAFile(t *testing.T) {
	p := newProvisioning(t)
	p.start(bootstrap.Issued)
	key := p.published()
	if !p.works(key) {
		t.Fatal("the published key does not work")
	}
	for path, want := range map[string]os.FileMode{p.path: 0o600, filepath.Dir(p.path): 0o700 | os.ModeDir} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	if left, _ := filepath.Glob(p.path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	p.start(bootstrap.Kept)
	if p.published() != key {
		t.Error("the second start has changed the key")
	}
	if got := p.redeem(p.serve(p.config()), p.token()); got.status != 403 {
		t.Errorf("the endpoint: got %d, want 403: both share one claim", got.status)
	}
}

func TestProvisionAgain(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name    string
		between func(t *testing.T, p *provisioning, key string)
		want    bootstrap.Outcome
		lives   bool // the first key still works
	}{
		{"the file is gone", func(t *testing.T, p *provisioning, _ string) {
			if err := os.Remove(p.path); err != nil {
				t.Fatal(err)
			}
		}, bootstrap.Reissued, false},
		{"the key has expired", func(_ *testing.T, p *provisioning, _ string) { p.clock.advance(24 * time.Hour) }, bootstrap.Reissued, false},
		{"the file holds something else", func(t *testing.T, p *provisioning, _ string) {
			if err := os.WriteFile(p.path, []byte("junk"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, bootstrap.Reissued, false},
		{"the key was deleted", func(t *testing.T, p *provisioning, key string) {
			id, _ := p.host.Keys.ID(key)
			if err := p.host.Keys.Delete(ctx, keywright.Principal{}, id); err != nil {
				t.Fatal(err)
			}
		}, bootstrap.Ended, false},
		{"the key was disabled", func(t *testing.T, p *provisioning, key string) {
			id, _ := p.host.Keys.ID(key)
			if err := p.host.Keys.Disable(ctx, keywright.Principal{}, id); err != nil {
				t.Fatal(err)
			}
		}, bootstrap.Ended, false},
		{"the key was rotated and its successor put into the file", func(t *testing.T, p *provisioning, key string) {
			id, _ := p.host.Keys.ID(key)
			m, err := p.host.Keys.Rotate(ctx, keywright.Principal{}, id, keywright.Rotation{})
			if err != nil {
				t.Fatal(err)
			}
			if err := (bootstrap.FileSink{Path: p.path}).Publish(ctx, m.Text); err != nil {
				t.Fatal(err)
			}
		}, bootstrap.Kept, false},
		{"the key was rotated to one that lives longer, and has expired", func(t *testing.T, p *provisioning, key string) {
			id, _ := p.host.Keys.ID(key)
			if _, err := p.host.Keys.Rotate(ctx, keywright.Principal{}, id, keywright.Rotation{Expires: t0.Add(1000 * time.Hour)}); err != nil {
				t.Fatal(err)
			}
			p.clock.advance(24 * time.Hour)
		}, bootstrap.Kept, false},
		{"the file belongs to another machine", func(_ *testing.T, p *provisioning, _ string) {
			p.Sink = bootstrap.FileSink{Path: p.path + "2", Owner: "b"}
		}, bootstrap.Elsewhere, true},
		{"the feature was turned off", func(_ *testing.T, p *provisioning, _ string) { p.Disabled = true }, bootstrap.Revoked, false},
		{"the feature was turned off, without a sink", func(_ *testing.T, p *provisioning, _ string) {
			p.Disabled, p.Sink = true, nil
		}, bootstrap.Revoked, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProvisioning(t)
			p.start(bootstrap.Issued)
			key := p.published()
			tt.between(t, p, key)
			p.start(tt.want)
			if p.works(key) != tt.lives {
				t.Errorf("the first key works: %v, want %v", p.works(key), tt.lives)
			}
			if tt.want == bootstrap.Reissued {
				if !p.works(p.published()) {
					t.Error("the new key does not work")
				}
				if n := p.records(keywright.KindKey); n != 1 {
					t.Errorf("%d keys stored, want 1", n)
				}
				p.start(bootstrap.Kept)
			}
		})
	}
}

func TestProvisionOffAndOn(t *testing.T) {
	p := newProvisioning(t)
	p.Disabled = true
	p.start(bootstrap.Off)
	p.wantUntouched()
	p.Disabled = false
	p.start(bootstrap.Issued)
	p.Disabled = true
	p.start(bootstrap.Revoked)
	if _, err := os.Stat(p.path); !os.IsNotExist(err) {
		t.Error("the file is still there")
	}
	p.start(bootstrap.Off)
	if got := p.redeem(p.serve(p.config()), p.token()); got.status != 403 {
		t.Errorf("the endpoint after a revocation: got %d, want 403", got.status)
	}
	p.Disabled = false
	p.Sink = bootstrap.FileSink{Path: p.path, Owner: "b"}
	p.start(bootstrap.Reissued)
	if !p.works(p.published()) {
		t.Error("the key of the machine that took over does not work")
	}
}

// TestProvisionChecksTheSinkFirst: one that cannot work costs no claim.
func TestProvisionChecksTheSinkFirst(t *testing.T) {
	p := newProvisioning(t)
	if err := os.MkdirAll(filepath.Dir(p.path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(p.path), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := bootstrap.Provision(context.Background(), p.ProvisionConfig)
	if err == nil || !strings.Contains(err.Error(), "0755") {
		t.Fatalf("got %v, want an error that names the mode of the directory", err)
	}
	p.wantUntouched()
}

// TestProvisionCommitsFirst: a key that could not be published is replaced by
// the next start, whatever the sink can tell.
func TestProvisionCommitsFirst(t *testing.T) {
	p := newProvisioning(t)
	var got []string
	down := true
	p.Sink = bootstrap.Callback("secrets", func(_ context.Context, key string) error {
		if down {
			return errDown
		}
		got = append(got, key)
		return nil
	})
	if _, err := bootstrap.Provision(context.Background(), p.ProvisionConfig); !errors.Is(err, errDown) {
		t.Fatalf("got %v, want the sink's error", err)
	}
	if n := p.records(keywright.KindKey); n != 1 {
		t.Errorf("%d keys stored, want 1", n)
	}
	down = false
	p.clock.advance(time.Minute)
	p.start(bootstrap.Reissued)
	p.start(bootstrap.Kept)
	if len(got) != 1 || !p.works(got[0]) || p.records(keywright.KindKey) != 1 {
		t.Errorf("%d keys published, %d stored, want one that works", len(got), p.records(keywright.KindKey))
	}
}

// TestProvisionTogether: processes that start at once and share one file agree
// on its key.
func TestProvisionTogether(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		p := newProvisioning(t)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if _, err := bootstrap.Provision(context.Background(), p.ProvisionConfig); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if !p.works(p.published()) || p.records(keywright.KindKey) != 1 {
			t.Fatalf("the published key works: %v, %d keys stored", p.works(p.published()), p.records(keywright.KindKey))
		}
	}
}

func TestProvisionOfAClaimedServer(t *testing.T) {
	p := newProvisioning(t)
	key := p.redeem(p.serve(p.config()), p.token()).key()
	p.start(bootstrap.Elsewhere)
	p.Disabled = true
	p.start(bootstrap.Off)
	if !p.works(key) {
		t.Error("the key of the endpoint has ended")
	}

	p = newProvisioning(t)
	p.Claimed = func(context.Context) (bool, error) { return true, nil }
	p.start(bootstrap.Elsewhere)
	p.wantUntouched()
}

func TestCallback(t *testing.T) {
	p := newProvisioning(t)
	var got []string
	p.Sink = bootstrap.Callback("secrets", func(_ context.Context, key string) error {
		got = append(got, key)
		return nil
	})
	p.start(bootstrap.Issued)
	p.start(bootstrap.Kept)
	p.clock.advance(24 * time.Hour)
	p.start(bootstrap.Reissued)
	if len(got) != 2 || p.works(got[0]) || !p.works(got[1]) {
		t.Errorf("%d keys published, want 2 of which the second works", len(got))
	}
}

// TestProvisionRemembersADeletion: also once the key would have expired.
func TestProvisionRemembersADeletion(t *testing.T) {
	p := newProvisioning(t)
	p.start(bootstrap.Issued)
	id, _ := p.host.Keys.ID(p.published())
	if err := p.host.Keys.Delete(context.Background(), keywright.Principal{}, id); err != nil {
		t.Fatal(err)
	}
	p.start(bootstrap.Ended)
	p.clock.advance(25 * time.Hour)
	p.start(bootstrap.Ended)
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	p.start(bootstrap.Reissued)
	p.start(bootstrap.Kept)
}

func TestFileSinkRefuses(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "private")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	link, loose := filepath.Join(dir, "link"), filepath.Join(dir, "loose")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(loose, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{link: "not a regular file", loose: "0644"} {
		if _, err := (bootstrap.FileSink{Path: path}).Load(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", filepath.Base(path), err, want)
		}
	}
	p := newProvisioning(t)
	p.start(bootstrap.Issued)
	if err := os.Chmod(p.path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := bootstrap.Provision(ctx, p.ProvisionConfig); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("a loosened key file: got %v, want an error that names the mode", err)
	}
}

func TestTemporaryKeyWarns(t *testing.T) {
	p := newProvisioning(t)
	p.start(bootstrap.Issued)
	srv := p.serve(p.config())
	for range 3 {
		if got := p.whoami(srv, p.published()); got != 200 {
			t.Fatalf("got %d, want 200", got)
		}
	}
	if n := strings.Count(p.log.String(), "key.temporary_in_use"); n != 1 {
		t.Errorf("%d warnings within an hour, want 1", n)
	}
	p.clock.advance(time.Hour)
	p.whoami(srv, p.published())
	if n := strings.Count(p.log.String(), "key.temporary_in_use"); n != 2 {
		t.Errorf("%d warnings after an hour, want 2", n)
	}
}

func TestProvisionStoreFailure(t *testing.T) {
	p := newProvisioning(t)
	broken := &brokenStore{Store: p.store, commitErr: errDown}
	p.setStore(broken)
	p.Host = p.host
	if _, err := bootstrap.Provision(context.Background(), p.ProvisionConfig); !errors.Is(err, errDown) {
		t.Errorf("got %v, want the store's error", err)
	}
	if _, err := os.Stat(p.path); !os.IsNotExist(err) {
		t.Error("a key was published that does not exist")
	}
}
