package keystore_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/keystore"
)

func TestImportKeepsAKeyTheOtherWay(t *testing.T) {
	for _, from := range modes {
		for _, to := range modes {
			t.Run(string(from+" to "+to), func(t *testing.T) {
				eachIn(t, from, func(t *testing.T, f keyFile) {
					path := newPath(t)
					d := to.dir(t, path)
					k, err := d.Import(t.Context(), f.dir, "handle")
					if err != nil {
						t.Fatal(err)
					}
					wantSigns(t, k)
					wantKey(t, to.dir(t, path), f.key)
					wantFiles(t, path, "handle.jwk.json")
					// The original stays, and the two live their own lives.
					if !bytes.Equal(must(os.ReadFile(f.name)), f.text) {
						t.Error("the original was changed")
					}
					if err := f.dir.Delete(t.Context(), "handle"); err != nil {
						t.Fatal(err)
					}
					wantSigns(t, k)
					wantKey(t, d, k)
				})
			})
		}
	}
}

func TestImportFailsAsLoadAndGenerateDo(t *testing.T) {
	f, other := newKeyFile(t, plaintext, keystore.Ed25519), newKeyFile(t, withPassphrase, keystore.Ed25519)
	generate(t, f.dir, keystore.Ed25519, "more")
	generate(t, f.dir, keystore.Ed25519, "torn")
	overwrite(t, filepath.Join(filepath.Dir(f.name), "torn.jwk.json"), f.text[:100])
	wrong := open(t, keystore.DirConfig{Path: filepath.Dir(other.name), Passphrase: answer("wrong")})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name     string
		ctx      context.Context
		to, from *keystore.Dir
		handle   string
		want     error
	}{
		{"a hostile handle", t.Context(), other.dir, f.dir, "../handle", keystore.ErrInvalidHandle},
		{"no key", t.Context(), other.dir, f.dir, "none", keystore.ErrKeyNotFound},
		{"a damaged key", t.Context(), other.dir, f.dir, "torn", keystore.ErrKeyCorrupt},
		{"a key that is there", t.Context(), other.dir, f.dir, "handle", keystore.ErrKeyExists},
		{"a key from itself", t.Context(), f.dir, f.dir, "handle", keystore.ErrKeyExists},
		{"a wrong passphrase of the one", t.Context(), f.dir, wrong, "handle", keystore.ErrWrongPassphrase},
		{"a wrong passphrase of the other", t.Context(), wrong, f.dir, "more", keystore.ErrWrongPassphrase},
		{"a context that is done", cancelled, other.dir, f.dir, "more", context.Canceled},
	} {
		if k, err := tt.to.Import(tt.ctx, tt.from, tt.handle); !errors.Is(err, tt.want) || k != nil {
			t.Errorf("%s: Import = %v, %v; want %v", tt.name, k, err, tt.want)
		}
	}
	if k, err := f.dir.Import(t.Context(), nil, "handle"); err == nil || k != nil {
		t.Errorf("Import from nowhere = %v, %v", k, err)
	}
	wantFiles(t, filepath.Dir(other.name), "handle.jwk.json")
	wantKey(t, other.dir, other.key)
	wantKey(t, f.dir, f.key)
}

// Who can write into the directory and has no passphrase puts a key of their
// own there.
func TestAKeyThatIsPlantedInPlaintextIsNotUsed(t *testing.T) {
	for _, m := range encrypted {
		eachIn(t, m, func(t *testing.T, f keyFile) {
			path := filepath.Dir(f.name)
			planted := generate(t, newDir(t, path), keystore.Ed25519, "planted")
			wantNone(t, f.dir, "planted", keystore.ErrPlaintext)
			if _, err := f.dir.Import(t.Context(), f.dir, "planted"); !errors.Is(err, keystore.ErrPlaintext) {
				t.Errorf("Import: %v, want ErrPlaintext", err)
			}
			if _, err := f.dir.Generate(t.Context(), keystore.KeyOptions{Handle: "planted"}); !errors.Is(err, keystore.ErrKeyExists) {
				t.Errorf("Generate: %v, want ErrKeyExists", err)
			}
			overwrite(t, f.name, must(os.ReadFile(filepath.Join(path, "planted.jwk.json"))))
			wantNone(t, f.dir, "handle", keystore.ErrPlaintext)
			if err := f.dir.Delete(t.Context(), "planted"); err != nil {
				t.Errorf("Delete: %v", err)
			}
			if _, err := keystore.Sign(t.Context(), planted, nil, crypto.Hash(0)); err != nil {
				t.Errorf("the other Dir's key: %v", err)
			}
		})
	}
}
