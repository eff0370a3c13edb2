package agentauth_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A troubledStore is one whose keys do not load.
type troubledStore struct {
	keystore.Memory
	err       error
	generated int
}

func (s *troubledStore) Load(context.Context, string) (keystore.Key, error) {
	return nil, fmt.Errorf("keystore: %w", s.err)
}

func (s *troubledStore) Generate(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
	s.generated++
	return s.Memory.Generate(ctx, o)
}

// TestTroubleIsNoAbsence: no key takes the place of one that cannot be read.
func TestTroubleIsNoAbsence(t *testing.T) {
	for _, trouble := range []error{
		keystore.ErrKeyCorrupt, keystore.ErrInsecurePermissions, keystore.ErrWrongPassphrase, keystore.ErrPlaintext, keystore.ErrUnsupportedKey,
		keystore.ErrInvalidHandle, os.ErrPermission, context.DeadlineExceeded, errors.New("no network"),
	} {
		p := &foreignProvider{t: t}
		c, keys := p.config(), &troubledStore{err: trouble}
		c.Keys = keys
		if _, err := agentauth.Enroll(t.Context(), c); !errors.Is(err, trouble) || keys.generated > 0 || len(p.requests) > 0 {
			t.Errorf("%v: %v, %d keys made, %d requests", trouble, err, keys.generated, len(p.requests))
		}
	}
}

// TestDamagedKeyFiles is the same with files.
func TestDamagedKeyFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		damage func(file string) error
		want   error
	}{
		"half a file":      {func(file string) error { return os.Truncate(file, 100) }, keystore.ErrKeyCorrupt},
		"an empty file":    {func(file string) error { return os.Truncate(file, 0) }, keystore.ErrKeyCorrupt},
		"a looser mode":    {func(file string) error { return os.Chmod(file, 0o644) }, keystore.ErrInsecurePermissions},
		"a directory open": {func(file string) error { return os.Chmod(filepath.Dir(file), 0o755) }, keystore.ErrInsecurePermissions},
	} {
		p := &foreignProvider{t: t}
		c, path := p.config(), filepath.Join(t.TempDir(), "keys")
		c.Keys = dirAt(t, path)
		e, err := agentauth.Enroll(t.Context(), c)
		must(t, err)
		must(t, tt.damage(filepath.Join(path, e.LocalKeyHandle+".jwk.json")))
		if _, err := agentauth.Enroll(t.Context(), c); !errors.Is(err, tt.want) || len(p.requests) != 1 {
			t.Errorf("%s: %v, %d requests", name, err, len(p.requests))
		}
		entries, err := os.ReadDir(path)
		must(t, err)
		if len(entries) != 1 {
			t.Errorf("%s: %d files", name, len(entries))
		}
	}
}

func dirAt(t *testing.T, path string) *keystore.Dir {
	t.Helper()
	d, err := keystore.NewDir(keystore.DirConfig{Path: path, InsecurePlaintext: true})
	must(t, err)
	return d
}

// A loader is a store that makes no keys.
type loader struct{ keystore.KeyStore }

// TestHandles: a key is found by the handle that is given, or by one that follows
// from whose it is.
func TestHandles(t *testing.T) {
	p := &foreignProvider{t: t}
	c, keys := p.config(), new(keystore.Memory)
	c.Keys, c.Options.Key.Handle = loader{keys}, "mine"
	_, err := agentauth.Enroll(t.Context(), c)
	if !errors.Is(err, keystore.ErrKeyNotFound) || !strings.Contains(err.Error(), `key "mine" not found`) || len(p.requests) > 0 {
		t.Errorf("no key: %v", err)
	}
	mine, err := keys.Generate(t.Context(), keystore.KeyOptions{Handle: "mine"})
	must(t, err)
	if e, err := agentauth.Enroll(t.Context(), c); err != nil || e.Key != mine || e.LocalKeyHandle != "mine" {
		t.Errorf("a key that was made before: %v, %v", e, err)
	}

	c.Keys, c.Options.Key.Handle = keys, ""
	handles := make(map[string]string)
	for name, change := range map[string]func(*agentauth.EnrollConfig){
		"as it is":            func(*agentauth.EnrollConfig) {},
		"another person":      func(c *agentauth.EnrollConfig) { c.PersonServer = "https://ps.example" },
		"another endpoint":    func(c *agentauth.EnrollConfig) { c.Endpoint = issuer + "/enrol" },
		"another algorithm":   func(c *agentauth.EnrollConfig) { c.Options.Key.Algorithm = keystore.ES256 },
		"a provider":          func(c *agentauth.EnrollConfig) { c.Provider = issuer },
		"another agent":       func(c *agentauth.EnrollConfig) { c.AgentID = "aauth:b@ap.example" },
		"any agent":           func(c *agentauth.EnrollConfig) { c.AgentID = "" },
		"another provider":    func(c *agentauth.EnrollConfig) { c.Endpoint = "https://other.example/enrol" },
		"a handle of its own": func(c *agentauth.EnrollConfig) { c.Options.Key.Handle = "other" },
	} {
		changed := c
		changed.HTTP.Transport = local{"ap.example": p, "other.example": p}
		change(&changed)
		e, err := agentauth.Enroll(t.Context(), changed)
		must(t, err)
		handles[name] = e.LocalKeyHandle
	}
	seen := make(map[string]string)
	for name, handle := range handles {
		if same := strings.HasPrefix(name, "another agent") || strings.HasPrefix(name, "any") || name == "another provider" || name == "a handle of its own"; same == (handle == handles["as it is"]) {
			t.Errorf("%s: %s", name, handle)
		}
		if handle != handles["as it is"] && seen[handle] != "" {
			t.Errorf("%s has the handle of %s", name, seen[handle])
		}
		seen[handle] = name
	}
}

// TestOtherKeys: agents sign with Ed25519 and P-256.
func TestOtherKeys(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p := &foreignProvider{t: t}
	c := p.config()
	c.Keys = oneKey{foreignKey{private}}
	if _, err := agentauth.Enroll(t.Context(), c); err == nil || !strings.Contains(err.Error(), `key "foreign" is neither`) || len(p.requests) > 0 {
		t.Errorf("%v", err)
	}
}

type foreignKey struct{ crypto.Signer }

func (foreignKey) Handle() string { return "foreign" }

type oneKey struct{ key keystore.Key }

func (s oneKey) Load(context.Context, string) (keystore.Key, error) { return s.key, nil }
