package keystore_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/keystore"
)

// The private keys of RFC 8037, appendix A.1, and RFC 7517, appendix A.2, laid
// out as the AAuth SDK for .NET writes them.
const (
	aauthEd25519 = `{
  "kty": "OKP",
  "crv": "Ed25519",
  "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
  "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
}`
	aauthES256 = `{
  "kty": "EC",
  "crv": "P-256",
  "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
  "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
  "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
}`
)

// An aauthFile is a directory of the SDK's with one key.
type aauthFile struct {
	dir  *keystore.Dir
	name string
}

func newAAuthFile(t *testing.T) aauthFile {
	t.Helper()
	path := newPath(t)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	d := open(t, keystore.DirConfig{Path: path, InsecurePlaintext: true, ReadAAuth: true})
	return aauthFile{d, filepath.Join(path, "handle.jwk.json")}
}

// x returns the first coordinate of a public key as a JWK has it.
func x(pub crypto.PublicKey) string {
	if pub, ok := pub.(*ecdsa.PublicKey); ok {
		return encoding.EncodeToString(must(pub.Bytes())[1:33])
	}
	return encoding.EncodeToString(pub.(ed25519.PublicKey))
}

func TestKeysOfTheAAuthSDKAreRead(t *testing.T) {
	f := newAAuthFile(t)
	add := func(jwk, members string) string { return strings.Replace(jwk, "{", "{"+members+",", 1) }
	for name, text := range map[string]string{
		"as it is written":        aauthEd25519,
		"P-256":                   aauthES256,
		"without space":           strings.NewReplacer(" ", "", "\n", "").Replace(aauthEd25519),
		"with line breaks around": "\r\n\t" + aauthEd25519 + "\n\n",
		"of another order":        `{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","crv":"Ed25519","kty":"OKP"}`,
		"with alg EdDSA":          add(aauthEd25519, `"alg":"EdDSA"`),
		"with alg Ed25519":        add(aauthEd25519, `"alg":"Ed25519"`),
		"with alg ES256":          add(aauthES256, `"alg":"ES256"`),
		"with all that may be":    add(aauthES256, `"kid":"of another name","use":"sig","key_ops":["verify","sign"]`),
	} {
		overwrite(t, f.name, []byte(text))
		k, err := f.dir.Load(t.Context(), "handle")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(text, `"`+x(k.Public())+`"`) || k.Handle() != "handle" {
			t.Errorf("%s is read as key %q of another x", name, k.Handle())
		}
		wantSigns(t, k)
		wantNone(t, newDir(t, filepath.Dir(f.name)), "handle", keystore.ErrKeyCorrupt) // without the option
		wantNone(t, withKey.dir(t, filepath.Dir(f.name)), "handle", keystore.ErrKeyCorrupt)
	}
}

func TestFilesThatAreNoKeysOfTheAAuthSDK(t *testing.T) {
	f := newAAuthFile(t)
	add := func(jwk, members string) string { return strings.Replace(jwk, "{", "{"+members+",", 1) }
	change := func(jwk, old, new string) string {
		changed := strings.Replace(jwk, old, new, 1)
		if changed == jwk {
			t.Fatalf("no %s in the JWK", old)
		}
		return changed
	}
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", keystore.ErrKeyCorrupt},
		{"an empty object", "{}", keystore.ErrKeyCorrupt},
		{"an array of it", "[" + aauthEd25519 + "]", keystore.ErrKeyCorrupt},
		{"twice", aauthEd25519 + aauthEd25519, keystore.ErrKeyCorrupt},
		{"a member twice", add(aauthEd25519, `"kty":"OKP"`), keystore.ErrKeyCorrupt},
		{"an unknown member", add(aauthEd25519, `"ext":true`), keystore.ErrKeyCorrupt},
		{"the other case of a name", change(aauthEd25519, `"d"`, `"D"`), keystore.ErrKeyCorrupt},
		{"a public key", change(aauthEd25519, `,
  "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`, ""), keystore.ErrKeyCorrupt},
		{"no x", change(aauthEd25519, `"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",`, ""), keystore.ErrKeyCorrupt},
		{"no y", change(aauthES256, `"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",`, ""), keystore.ErrKeyCorrupt},
		{"y of an OKP key", add(aauthEd25519, `"y":"AAAA"`), keystore.ErrKeyCorrupt},
		{"an empty y of an OKP key", add(aauthEd25519, `"y":""`), keystore.ErrKeyCorrupt},
		{"x that is no text", change(aauthEd25519, `"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`, "7"), keystore.ErrKeyCorrupt},
		{"KST-07 d of another x", change(aauthEd25519, "nWGx", "AWGx"), keystore.ErrKeyCorrupt},
		{"KST-07 x of another d", change(aauthEd25519, "11qY", "A1qY"), keystore.ErrKeyCorrupt},
		{"KST-07 another y", change(aauthES256, "4Etl", "AEtl"), keystore.ErrKeyCorrupt},
		{"a padded d", change(aauthEd25519, `uf2A"`, `uf2A="`), keystore.ErrKeyCorrupt},
		{"d with a line break", change(aauthEd25519, `"nWGx`, `"nW\nGx`), keystore.ErrKeyCorrupt},
		{"d with bits beyond its end", change(aauthEd25519, `uf2A"`, `uf2B"`), keystore.ErrKeyCorrupt},
		{"x with a line break", change(aauthEd25519, `"11qY`, `"11\nqY`), keystore.ErrKeyCorrupt},
		{"a short d", change(aauthEd25519, `"nWGx`, `"`), keystore.ErrKeyCorrupt},
		{"d with a leading zero", change(aauthES256, `"870M`, `"AAAA870M`), keystore.ErrKeyCorrupt},
		{"alg of another kind", add(aauthEd25519, `"alg":"ES256"`), keystore.ErrUnsupportedKey},
		{"alg none", add(aauthEd25519, `"alg":"none"`), keystore.ErrUnsupportedKey},
		{"alg that is no text", add(aauthES256, `"alg":["ES256"]`), keystore.ErrUnsupportedKey},
		{"use for encryption", add(aauthES256, `"use":"enc"`), keystore.ErrUnsupportedKey},
		{"use for verifying", add(aauthES256, `"key_ops":["verify"]`), keystore.ErrUnsupportedKey},
		{"KST-11 P-384", change(aauthES256, "P-256", "P-384"), keystore.ErrUnsupportedKey},
		{"KST-11 secp256k1", change(aauthES256, "P-256", "secp256k1"), keystore.ErrUnsupportedKey},
		{"KST-11 X25519", change(aauthEd25519, "Ed25519", "X25519"), keystore.ErrUnsupportedKey},
		{"KST-11 RSA", `{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQAB"}`, keystore.ErrUnsupportedKey},
		{"KST-11 oct", `{"kty":"oct","k":"AQAB"}`, keystore.ErrUnsupportedKey},
		{"a kind and a curve that do not fit", change(aauthEd25519, "OKP", "EC"), keystore.ErrUnsupportedKey},
	} {
		overwrite(t, f.name, []byte(tt.text))
		t.Run(tt.name, func(t *testing.T) { wantNone(t, f.dir, "handle", tt.want) })
	}
}

func TestKST06_ADamagedKeyOfTheAAuthSDKIsNeverAnother(t *testing.T) {
	f := newAAuthFile(t)
	for _, text := range []string{aauthEd25519, aauthES256} {
		var want struct{ X string }
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		for n := range text {
			overwrite(t, f.name, []byte(text[:n]))
			wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
		}
		for i := range len(text) * 8 {
			overwrite(t, f.name, flipped([]byte(text), i))
			k, err := f.dir.Load(t.Context(), "handle")
			switch {
			case err != nil:
				oneOf(t, err, []error{keystore.ErrKeyCorrupt, keystore.ErrUnsupportedKey})
			case x(k.Public()) != want.X: // one space for another is no damage
				t.Errorf("bit %d flipped is another key", i)
			}
		}
	}
}

// A file of a Dir that is damaged does not pass for one of the SDK.
func TestReadingAAuthWeakensNoOtherFile(t *testing.T) {
	for _, m := range modes {
		f := newKeyFile(t, m, keystore.Ed25519)
		d := open(t, keystore.DirConfig{Path: filepath.Dir(f.name), InsecurePlaintext: true, ReadAAuth: true})
		for i := range len(f.text) * 8 {
			overwrite(t, f.name, flipped(f.text, i))
			wantNone(t, d, "handle", keystore.ErrKeyCorrupt)
		}
	}
}

func TestADirThatReadsAAuthIsADir(t *testing.T) {
	f := newAAuthFile(t)
	overwrite(t, f.name, []byte(aauthEd25519))
	if _, err := f.dir.Generate(t.Context(), keystore.KeyOptions{Handle: "handle"}); !errors.Is(err, keystore.ErrKeyExists) {
		t.Errorf("Generate: %v, want ErrKeyExists", err)
	}
	made := generate(t, f.dir, keystore.Ed25519, "made")
	wantKey(t, f.dir, made)
	wantKey(t, newDir(t, filepath.Dir(f.name)), made) // it is no bare JWK
	k := must(f.dir.Load(t.Context(), "handle"))
	path := newPath(t)
	if _, err := withPassphrase.dir(t, path).Import(t.Context(), f.dir, "handle"); err != nil {
		t.Fatal(err)
	}
	wantKey(t, withPassphrase.dir(t, path), k)
	if err := os.Chmod(f.name, 0o644); err != nil {
		t.Fatal(err)
	}
	if keystore.ChecksPermissions {
		wantNone(t, f.dir, "handle", keystore.ErrInsecurePermissions)
	}
	if err := f.dir.Delete(t.Context(), "handle"); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, filepath.Dir(f.name), "made.jwk.json")
	if _, err := keystore.Sign(t.Context(), k, nil, crypto.Hash(0)); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("a deleted key signs: %v", err)
	}
}
