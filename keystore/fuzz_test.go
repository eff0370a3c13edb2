package keystore

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzFile reads files that anybody may have written, with a right sum too:
// there is one text for each key, and an error of a known kind for all others.
func FuzzFile(f *testing.F) {
	for _, a := range []Algorithm{Ed25519, ES256} {
		private, _, err := generate(KeyOptions{Algorithm: a})
		if err != nil {
			f.Fatal(err)
		}
		text, err := encode("handle", private)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		open, _ := unseal(text)
		f.Add(open)
	}
	f.Add([]byte(`{"version":2`))
	f.Add([]byte(`{"version":1,"kid":"handle","kty":"EC","crv":"P-256","x":"","y":"","d":""`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, text := range [][]byte{data, seal(data)} {
			private, err := decode("handle", text)
			if err != nil {
				if !errors.Is(err, ErrKeyCorrupt) && !errors.Is(err, ErrUnsupportedKey) {
					t.Errorf("decode: %v", err)
				}
				continue
			}
			if again, err := encode("handle", private); err != nil || !bytes.Equal(again, text) {
				t.Errorf("two texts are one key (%v)", err)
			}
		}
	})
}
