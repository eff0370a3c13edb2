package keystore_test

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/keystore"
)

// The secrets that keys are encrypted with in these tests.
const passphrase = "correct horse battery staple, and two more"

var rawKey = bytes.Repeat([]byte("0123456789abcdef"), 2)

// A mode is one of the ways in which a Dir keeps keys.
type mode string

const (
	plaintext      mode = "plaintext"
	withPassphrase mode = "passphrase"
	withKey        mode = "key"
)

var modes = []mode{plaintext, withPassphrase, withKey}

func (m mode) config(path string) keystore.DirConfig {
	c := keystore.DirConfig{Path: path}
	switch m {
	case withPassphrase:
		c.Passphrase = answer(passphrase)
	case withKey:
		c.Key = answer(string(rawKey))
	default:
		c.InsecurePlaintext = true
	}
	return c
}

// answer is a callback that gives the same answer every time.
func answer(secret string) func(context.Context) ([]byte, error) {
	return func(context.Context) ([]byte, error) { return []byte(secret), nil }
}

// dir makes a Dir, which makes its directory when it needs it.
func (m mode) dir(t *testing.T, path string) *keystore.Dir {
	t.Helper()
	return open(t, m.config(path))
}

// open makes a Dir that derives cheaply.
func open(t *testing.T, c keystore.DirConfig) *keystore.Dir {
	t.Helper()
	d, err := keystore.NewDir(c)
	if err != nil {
		t.Fatal(err)
	}
	return d.DeriveCheaply()
}

// newPath is where no directory is yet.
func newPath(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "keys")
}

// eachMode runs check for every mode.
func eachMode(t *testing.T, check func(t *testing.T, m mode)) {
	t.Helper()
	for _, m := range modes {
		t.Run(string(m), func(t *testing.T) { check(t, m) })
	}
}
