package keystore

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"testing"
)

// FuzzFile reads files that anybody may have written, with a right sum too:
// there is one text for each key, and an error of a known kind for all others.
func FuzzFile(f *testing.F) {
	config := DirConfig{Path: "keys", Key: func(context.Context) ([]byte, error) { return make([]byte, keySize), nil }}
	encrypted, err := NewDir(config)
	if err != nil {
		f.Fatal(err)
	}
	s, err := encrypted.unlock(f.Context(), encrypted.derivation, "")
	if err != nil {
		f.Fatal(err)
	}
	for _, a := range []Algorithm{Ed25519, ES256} {
		private, _, err := generate(KeyOptions{Algorithm: a})
		if err != nil {
			f.Fatal(err)
		}
		for _, encode := range []func() ([]byte, error){
			func() ([]byte, error) { return encodePlain("handle", private) },
			func() ([]byte, error) { return encodeSealed("handle", private, s) },
		} {
			text, err := encode()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
			open, _ := cutSum(text)
			f.Add(open)
		}
	}
	f.Add([]byte(`{"version":3`))
	f.Add([]byte(`{"version":1,"kid":"handle","kty":"EC","crv":"P-256","x":"","y":"","d":""`))
	f.Add([]byte(`{"version":2,"kid":"handle","kty":"EC","crv":"P-256","x":"","kdf":"argon2id","salt":"","time":4294967295,"memory":4294967295,"threads":255,"check":"","nonce":"","sealed":""`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"","y":"","d":"","key_ops":["sign"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, text := range [][]byte{data, addSum(data)} {
			if private, ok := fuzzed(t, &Dir{}, text); ok {
				if again, err := encodePlain("handle", private); err != nil || !bytes.Equal(again, text) {
					t.Errorf("two texts are one key (%v)", err)
				}
			}
			if private, ok := fuzzed(t, &Dir{readAAuth: true}, text); ok {
				if _, err := encodePlain("handle", private); err != nil {
					t.Errorf("a key that cannot be written: %v", err)
				}
			}
			// No mutation finds another text that opens.
			if private, ok := fuzzed(t, encrypted, text); ok {
				if public, _, err := halves(sealedVersion, "handle", private); err != nil || !bytes.Contains(text, []byte(public.X)) {
					t.Errorf("a key of another public key (%v)", err)
				}
			}
		}
	})
}

// fuzzed reads a file that may be anything.
func fuzzed(t *testing.T, d *Dir, text []byte) (crypto.Signer, bool) {
	private, err := d.decode(t.Context(), "handle", text)
	if err == nil {
		return private, true
	}
	for _, known := range []error{ErrKeyCorrupt, ErrUnsupportedKey, ErrWrongPassphrase, ErrPlaintext} {
		if errors.Is(err, known) {
			return nil, false
		}
	}
	t.Errorf("decode: %v", err)
	return nil, false
}
