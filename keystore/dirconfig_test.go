package keystore_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/keystore"
)

func TestNewDirRefusesWhatIsNotMeant(t *testing.T) {
	path := newPath(t)
	for _, tt := range []struct {
		name   string
		config keystore.DirConfig
		ok     bool
	}{
		{"nothing", keystore.DirConfig{}, false},
		{"a path with a zero byte", keystore.DirConfig{Path: path + "\x00", InsecurePlaintext: true}, false},
		{"plaintext that nobody chose", keystore.DirConfig{Path: path}, false},
		{"plaintext that is chosen", keystore.DirConfig{Path: path, InsecurePlaintext: true}, true},
		{"a passphrase", keystore.DirConfig{Path: path, Passphrase: panics}, true},
		{"a key", keystore.DirConfig{Path: path, Key: panics}, true},
		{"a passphrase and a key", keystore.DirConfig{Path: path, Passphrase: panics, Key: panics}, false},
		{"a passphrase and plaintext", keystore.DirConfig{Path: path, Passphrase: panics, InsecurePlaintext: true}, false},
		{"a key and plaintext", keystore.DirConfig{Path: path, Key: panics, InsecurePlaintext: true}, false},
		{"all three", keystore.DirConfig{Path: path, Passphrase: panics, Key: panics, InsecurePlaintext: true}, false},
		{"AAuth's files", keystore.DirConfig{Path: path, InsecurePlaintext: true, ReadAAuth: true}, true},
		{"AAuth's files among encrypted ones", keystore.DirConfig{Path: path, Passphrase: panics, ReadAAuth: true}, false},
		{"AAuth's files alone", keystore.DirConfig{Path: path, ReadAAuth: true}, false},
	} {
		if d, err := keystore.NewDir(tt.config); (err == nil) != tt.ok || (d != nil) != tt.ok {
			t.Errorf("%s: NewDir = %v, %v", tt.name, d, err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("NewDir made the directory (%v)", err)
	}
}

// setHome sets the home directory on every system.
func setHome(t *testing.T, home string) {
	for _, name := range []string{"HOME", "USERPROFILE", "home"} {
		t.Setenv(name, home)
	}
}

func TestWithoutAPathKeysLieInTheHomeDirectory(t *testing.T) {
	home := t.TempDir()
	setHome(t, home)
	d := must(keystore.NewDir(keystore.DirConfig{InsecurePlaintext: true}))
	wantFiles(t, home)
	k := generate(t, d, keystore.Ed25519, "handle")
	wantFiles(t, filepath.Join(home, ".keywright", "keys"), "handle.jwk.json")
	wantKey(t, newDir(t, filepath.Join(home, ".keywright", "keys")), k)

	setHome(t, "")
	if d, err := keystore.NewDir(keystore.DirConfig{InsecurePlaintext: true}); err == nil || !strings.Contains(err.Error(), "no home directory") {
		t.Errorf("NewDir without a home directory = %v, %v", d, err)
	}
}
