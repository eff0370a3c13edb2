package keystore_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
)

var encoding = base64.RawURLEncoding.Strict()

// sealed is a file as it is described, of members without the closing brace.
func sealed(members string) []byte {
	sum := sha256.Sum256([]byte(members))
	return []byte(members + `,"integrity":"` + encoding.EncodeToString(sum[:]) + "\"}\n")
}

// A keyFile is a key's file in a directory of its own.
type keyFile struct {
	dir  *keystore.Dir
	key  keystore.Key
	name string
	text []byte
}

func newKeyFile(t *testing.T, m mode, a keystore.Algorithm) keyFile {
	t.Helper()
	path := newPath(t)
	f := keyFile{dir: m.dir(t, path), name: filepath.Join(path, "handle.jwk.json")}
	f.key = generate(t, f.dir, a, "handle")
	f.text = must(os.ReadFile(f.name))
	return f
}

// each runs check for both algorithms in plaintext.
func each(t *testing.T, check func(t *testing.T, f keyFile)) {
	eachIn(t, plaintext, check)
}

// eachIn runs check for both algorithms.
func eachIn(t *testing.T, m mode, check func(t *testing.T, f keyFile)) {
	for _, a := range []keystore.Algorithm{keystore.Ed25519, keystore.ES256} {
		t.Run(a.String(), func(t *testing.T) { check(t, newKeyFile(t, m, a)) })
	}
}

// eachKind does so in every mode.
func eachKind(t *testing.T, check func(t *testing.T, f keyFile)) {
	eachMode(t, func(t *testing.T, m mode) { eachIn(t, m, check) })
}

func TestAFileIsAPrivateJWKWithAVersionAndASum(t *testing.T) {
	each(t, func(t *testing.T, f keyFile) {
		members, _, _ := strings.Cut(string(f.text), `,"integrity"`)
		if !bytes.Equal(sealed(members), f.text) {
			t.Error("the integrity is not the sum of what stands before it")
		}
		public, d, _ := strings.Cut(members, `,"d":"`)
		if !strings.HasPrefix(public, `{"version":1,"kid":"handle",`) {
			t.Error("the file does not begin with its version and handle")
		}
		jwk, err := jose.ParseJWK([]byte(public + "}"))
		if err != nil || !f.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(jwk.Public()) {
			t.Fatalf("what is public in the file is another key (%v)", err)
		}
		secret := must(encoding.DecodeString(strings.TrimSuffix(d, `"`)))
		var derived crypto.PublicKey
		switch pub := f.key.Public().(type) {
		case ed25519.PublicKey:
			derived = ed25519.NewKeyFromSeed(secret).Public()
		case *ecdsa.PublicKey:
			derived = must(ecdsa.ParseRawPrivateKey(pub.Curve, secret)).Public()
		}
		if !jwk.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(derived) {
			t.Error("d is not the private key")
		}
	})
}

func TestKST06_ATruncatedFileIsCorrupt(t *testing.T) {
	eachKind(t, func(t *testing.T, f keyFile) {
		for n := range f.text {
			overwrite(t, f.name, f.text[:n])
			wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
		}
		overwrite(t, f.name, f.text)
		wantKey(t, f.dir, f.key)
	})
}

func TestKST06_AFileWithAnyBitFlippedIsCorrupt(t *testing.T) {
	eachKind(t, func(t *testing.T, f keyFile) {
		for i := range len(f.text) * 8 {
			overwrite(t, f.name, flipped(f.text, i))
			wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
		}
	})
}

// flipped returns a text with another bit.
func flipped(text []byte, bit int) []byte {
	text = bytes.Clone(text)
	text[bit/8] ^= 1 << (bit % 8)
	return text
}

func TestKST06_AFileWithMoreOrOtherTextIsCorrupt(t *testing.T) {
	eachKind(t, otherTextIsCorrupt)
}

func otherTextIsCorrupt(t *testing.T, f keyFile) {
	text := string(f.text)
	for name, changed := range map[string]string{
		"a line break more":        text + "\n",
		"a line break less":        strings.TrimSpace(text),
		"a space before":           " " + text,
		"twice":                    text + text,
		"a megabyte of it":         strings.Repeat(text, 1<<20/len(text)),
		"zeroes":                   strings.Repeat("\x00", len(text)),
		"no sum":                   text[:strings.Index(text, `,"integrity"`)] + "}\n",
		"an empty object":          "{}",
		"an empty object and sum":  string(sealed("{")),
		"nothing and a sum":        string(sealed("")),
		"another sum":              strings.Replace(text, `"integrity":"`, `"integrity":"A`, 1),
		"the sum of another file":  string(f.text[:len(f.text)-20]) + string(sealed("{}")[len(sealed("{}"))-20:]),
		"a sum of an array":        string(sealed(`["version"`)),
		"a hole in the middle":     text[:80] + text[81:],
		"two bytes the other way":  text[:60] + text[61:62] + text[60:61] + text[62:],
		"the other case of a name": strings.Replace(text, `"kty"`, `"KTY"`, 1),
	} {
		if changed == text {
			continue // the two bytes were equal
		}
		overwrite(t, f.name, []byte(changed))
		t.Run(name, func(t *testing.T) { wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt) })
	}
}

// What follows has a right sum: somebody wrote it so.
func TestAWellSealedFileIsReadStrictly(t *testing.T) {
	each(t, func(t *testing.T, f keyFile) {
		members, _, _ := strings.Cut(string(f.text), `,"integrity"`)
		change := func(old, new string) string { return strings.Replace(members, old, new, 1) }
		for _, tt := range []struct {
			name, members string
			want          error
		}{
			{"another member", members + `,"use":"sig"`, keystore.ErrKeyCorrupt},
			{"a member twice", members + `,"version":1`, keystore.ErrKeyCorrupt},
			{"the other case of a name", change(`"kty"`, `"Kty"`), keystore.ErrKeyCorrupt},
			{"an escape", change(`"kid":"h`, `"kid":"\u0068`), keystore.ErrKeyCorrupt},
			{"a space", change(`"kid":`, `"kid": `), keystore.ErrKeyCorrupt},
			{"padding", change(`","d":"`, `=","d":"`), keystore.ErrKeyCorrupt},
			{"a line break in d", change(`"d":"`, `"d":"\n`), keystore.ErrKeyCorrupt},
			{"a longer d", change(`"d":"`, `"d":"AAAA`), keystore.ErrKeyCorrupt},
			{"no d", members[:strings.Index(members, `,"d"`)], keystore.ErrKeyCorrupt},
			{"an empty d", members[:strings.Index(members, `,"d"`)] + `,"d":""`, keystore.ErrKeyCorrupt},
			{"d of zeroes", members[:strings.Index(members, `,"d"`)] + `,"d":"` + encoding.EncodeToString(make([]byte, 32)) + `"`, keystore.ErrKeyCorrupt},
			{"no handle", change(`"kid":"handle",`, ``), keystore.ErrKeyCorrupt},
			{"another handle", change(`"kid":"handle"`, `"kid":"handles"`), keystore.ErrKeyCorrupt},
			{"a handle of the other case", change(`"kid":"handle"`, `"kid":"HANDLE"`), keystore.ErrKeyCorrupt},
			{"no version", change(`"version":1,`, ``), keystore.ErrKeyCorrupt},
			{"version zero", change(`"version":1`, `"version":0`), keystore.ErrKeyCorrupt},
			{"a version that is no number", change(`"version":1`, `"version":"1"`), keystore.ErrKeyCorrupt},
			{"a version to come", change(`"version":1`, `"version":3`), keystore.ErrUnsupportedKey},
			{"a version to come, of other members", `{"version":3,"kid":["handle"],"x":{},"enc":"scrypt"`, keystore.ErrUnsupportedKey},
			{"KST-11 another curve", strings.NewReplacer("Ed25519", "X25519", "P-256", "P-384").Replace(members), keystore.ErrUnsupportedKey},
			{"KST-11 secp256k1", strings.NewReplacer("Ed25519", "secp256k1", "P-256", "secp256k1").Replace(members), keystore.ErrUnsupportedKey},
			{"KST-11 RSA", strings.NewReplacer(`"OKP"`, `"RSA"`, `"EC"`, `"RSA"`).Replace(members), keystore.ErrUnsupportedKey},
			{"KST-11 oct", strings.NewReplacer(`"OKP"`, `"oct"`, `"EC"`, `"oct"`).Replace(members), keystore.ErrUnsupportedKey},
		} {
			if tt.members == members {
				t.Fatalf("%s changes nothing", tt.name)
			}
			overwrite(t, f.name, sealed(tt.members))
			t.Run(tt.name, func(t *testing.T) { wantNone(t, f.dir, "handle", tt.want) })
		}
	})
}

func TestKST07_APrivateKeyOfAnotherPublicKeyIsCorrupt(t *testing.T) {
	each(t, func(t *testing.T, f keyFile) {
		a := keystore.Ed25519
		if _, ok := f.key.Public().(*ecdsa.PublicKey); ok {
			a = keystore.ES256
		}
		other := newKeyFile(t, plaintext, a)
		members, _, _ := strings.Cut(string(f.text), `,"integrity"`)
		foreign, _, _ := strings.Cut(string(other.text), `,"integrity"`)
		at, from := strings.Index(members, `"d":`), strings.Index(foreign, `"d":`)
		overwrite(t, f.name, sealed(members[:at]+foreign[from:]))
		wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
		overwrite(t, f.name, sealed(foreign[:from]+members[at:]))
		wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)

		// The whole key of another handle is no key of this one.
		k := generate(t, other.dir, a, "other")
		overwrite(t, f.name, must(os.ReadFile(filepath.Join(filepath.Dir(other.name), k.Handle()+".jwk.json"))))
		wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
	})
}

// The mirror image of a point has the same x and another y.
func TestKST07_TheOtherPointOfAnXIsCorrupt(t *testing.T) {
	f := newKeyFile(t, plaintext, keystore.ES256)
	members, _, _ := strings.Cut(string(f.text), `,"integrity"`)
	pub := f.key.Public().(*ecdsa.PublicKey)
	y := must(pub.Bytes())[33:]
	mirrored := new(big.Int).Sub(pub.Curve.Params().P, new(big.Int).SetBytes(y)).FillBytes(make([]byte, 32))
	changed := strings.Replace(members, encoding.EncodeToString(y), encoding.EncodeToString(mirrored), 1)
	if changed == members {
		t.Fatal("y is not in the file")
	}
	overwrite(t, f.name, sealed(changed))
	wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
}
