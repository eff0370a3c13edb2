package keystore_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/keystore"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

var encrypted = []mode{withPassphrase, withKey}

// eachEncrypted runs check for both algorithms, encrypted both ways.
func eachEncrypted(t *testing.T, check func(t *testing.T, m mode, f keyFile)) {
	for _, m := range encrypted {
		t.Run(string(m), func(t *testing.T) {
			eachIn(t, m, func(t *testing.T, f keyFile) { check(t, m, f) })
		})
	}
}

// members cuts the sum off.
func members(text []byte) string {
	m, _, _ := strings.Cut(string(text), `,"integrity"`)
	return m
}

// masterKeys returns what a file's check and key are, as the format is
// described.
func masterKeys(t *testing.T, text []byte) (check, sealing []byte) {
	t.Helper()
	var h struct {
		KDF, Salt    string
		Time, Memory uint32
		Threads      uint8
	}
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	master := rawKey
	if h.KDF == "argon2id" {
		master = argon2.IDKey([]byte(passphrase), must(encoding.DecodeString(h.Salt)), h.Time, h.Memory, h.Threads, 32)
	}
	return must(hkdf.Key(sha256.New, master, nil, "keywright keystore check", 32)), must(hkdf.Key(sha256.New, master, nil, "keywright keystore seal", 32))
}

func TestAnEncryptedFileIsAsItIsDescribed(t *testing.T) {
	eachEncrypted(t, func(t *testing.T, m mode, f keyFile) {
		if !bytes.Equal(sealed(members(f.text)), f.text) {
			t.Error("the integrity is not the sum of what stands before it")
		}
		associated, box, _ := strings.Cut(members(f.text), `,"sealed":"`)
		if !strings.HasPrefix(associated, `{"version":2,"kid":"handle",`) {
			t.Error("the file does not begin with its version and handle")
		}
		var w struct{ X, Check, Nonce string }
		if err := json.Unmarshal([]byte(associated+"}"), &w); err != nil {
			t.Fatal(err)
		}
		check, sealing := masterKeys(t, f.text)
		if w.Check != encoding.EncodeToString(check) {
			t.Error("the check is another one")
		}
		secret, err := must(chacha20poly1305.NewX(sealing)).Open(nil, must(encoding.DecodeString(w.Nonce)), must(encoding.DecodeString(strings.TrimSuffix(box, `"`))), []byte(associated))
		if err != nil || len(secret) != 32 {
			t.Fatalf("d of %d bytes, %v", len(secret), err)
		}
		// The plaintext file of this d is the same key.
		path := newPath(t)
		plain := newDir(t, path)
		generate(t, plain, keystore.Ed25519, "first")
		public, _, _ := strings.Cut(associated, `,"kdf"`)
		public = strings.Replace(public, `"version":2`, `"version":1`, 1)
		overwrite(t, filepath.Join(path, "handle.jwk.json"), sealed(public+`,"d":"`+encoding.EncodeToString(secret)+`"`))
		wantKey(t, plain, f.key)
		if bytes.Contains(f.text, []byte(encoding.EncodeToString(secret)[:20])) {
			t.Error("the private key lies in plaintext")
		}
	})
}

// panics is a callback that must not be called.
func panics(context.Context) ([]byte, error) { panic("asked for the passphrase") }

func TestDamageIsFoundWithoutThePassphrase(t *testing.T) {
	eachEncrypted(t, func(t *testing.T, m mode, f keyFile) {
		c := m.config(filepath.Dir(f.name))
		if m == withKey {
			c.Key = panics
		} else {
			c.Passphrase = panics
		}
		d := open(t, c)
		for i := range f.text {
			overwrite(t, f.name, flipped(f.text, 8*i+i%8))
			wantNone(t, d, "handle", keystore.ErrKeyCorrupt)
		}
	})
}

// Somebody without the passphrase changes any bit and writes the sum anew.
func TestKST06_AChangedFileWithARightSumIsNoKey(t *testing.T) {
	eachEncrypted(t, func(t *testing.T, _ mode, f keyFile) {
		text := []byte(members(f.text))
		found := make(map[error]int)
		var messages strings.Builder
		for i := range len(text) * 8 {
			overwrite(t, f.name, sealed(string(flipped(text, i))))
			k, err := f.dir.Load(t.Context(), "handle")
			if k != nil {
				t.Fatalf("a file with bit %d flipped is the key %v", i, k)
			}
			wants := []error{keystore.ErrKeyCorrupt, keystore.ErrUnsupportedKey}
			if at := max(0, bytes.LastIndex(text[:i/8+1], []byte(`,"`))); beforeTheCheck(text[at:]) {
				wants = append(wants, keystore.ErrWrongPassphrase)
			}
			found[oneOf(t, err, wants)]++
			messages.WriteString(err.Error())
		}
		t.Log(found)
		if found[keystore.ErrWrongPassphrase] == 0 || found[keystore.ErrUnsupportedKey] == 0 {
			t.Error("nothing that is authenticated after the key is made was tried")
		}
		for form, text := range forms([]byte(passphrase)) {
			if strings.Contains(messages.String(), string(text)) {
				t.Errorf("the passphrase stands in an error as %s", form)
			}
		}
	})
}

// beforeTheCheck reports whether a member decides which key is made.
func beforeTheCheck(member []byte) bool {
	for _, name := range []string{"kdf", "salt", "time", "memory", "threads", "check"} {
		if bytes.HasPrefix(member, []byte(`,"`+name+`"`)) {
			return true
		}
	}
	return false
}

// oneOf checks that an error is one of several.
func oneOf(t *testing.T, err error, wants []error) error {
	t.Helper()
	for _, want := range wants {
		if errors.Is(err, want) {
			return want
		}
	}
	t.Errorf("%v is none of %v", err, wants)
	return nil
}

func TestPartsOfOtherFilesDoNotFit(t *testing.T) {
	eachEncrypted(t, func(t *testing.T, m mode, f keyFile) {
		a := keystore.Ed25519
		if strings.Contains(string(f.text), "P-256") {
			a = keystore.ES256
		}
		generate(t, f.dir, a, "other")
		other := must(os.ReadFile(filepath.Join(filepath.Dir(f.name), "other.jwk.json")))
		var mine, theirs struct{ X, Salt, Check, Nonce, Sealed string }
		if err := errors.Join(json.Unmarshal(f.text, &mine), json.Unmarshal(other, &theirs)); err != nil {
			t.Fatal(err)
		}
		if mine.Salt != theirs.Salt || mine.Check != theirs.Check || mine.Nonce == theirs.Nonce {
			t.Error("two keys of a directory have another salt, or one nonce")
		}
		for name, changed := range map[string]string{
			"the file of another handle": string(other),
			"another handle":             strings.Replace(members(other), `"kid":"other"`, `"kid":"handle"`, 1),
			"another x":                  strings.Replace(members(f.text), mine.X, theirs.X, 1),
			"another nonce":              strings.Replace(members(f.text), mine.Nonce, theirs.Nonce, 1),
			"another private key":        strings.Replace(members(f.text), mine.Sealed, theirs.Sealed, 1),
			"another key in the same header": strings.NewReplacer(mine.Sealed, theirs.Sealed, mine.Nonce, theirs.Nonce).
				Replace(members(f.text)),
		} {
			text := []byte(changed)
			if !strings.HasSuffix(changed, "}\n") {
				text = sealed(changed)
			}
			overwrite(t, f.name, text)
			t.Run(name, func(t *testing.T) { wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt) })
		}
	})
}

// A holder of the passphrase, or a fault of ours, seals a d under another x.
func TestKST07_ASealedPrivateKeyOfAnotherPublicKeyIsCorrupt(t *testing.T) {
	for _, m := range encrypted {
		f := newKeyFile(t, m, keystore.Ed25519)
		mine, other := edKey(t), edKey(t)
		overwrite(t, f.name, must(keystore.SealUnder(t.Context(), f.dir, "handle", mine, other)))
		wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
		overwrite(t, f.name, must(keystore.SealUnder(t.Context(), f.dir, "handle", mine, mine)))
		k := must(f.dir.Load(t.Context(), "handle"))
		if !mine.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
			t.Error("what is sealed as it should be is another key")
		}
	}
}

func TestAHeaderIsJudgedBeforeThePassphraseIsAsked(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	asked := errors.New("asked")
	c := withPassphrase.config(filepath.Dir(f.name))
	c.Passphrase = func(context.Context) ([]byte, error) { return nil, asked }
	d := open(t, c)
	all := members(f.text)
	change := func(old, new string) string { return strings.Replace(all, old, new, 1) }
	costs := func(costs string) string { return change(`"time":1,"memory":64,"threads":1`, costs) }
	for _, tt := range []struct {
		name, members string
		want          error
	}{
		{"gigabytes", costs(`"time":1,"memory":4194304,"threads":1`), keystore.ErrUnsupportedKey},
		{"all the memory there is", costs(`"time":1,"memory":4294967295,"threads":1`), keystore.ErrUnsupportedKey},
		{"more than a number holds", costs(`"time":1,"memory":4294967296,"threads":1`), keystore.ErrKeyCorrupt},
		{"a little too much memory", costs(`"time":1,"memory":262145,"threads":1`), keystore.ErrUnsupportedKey},
		{"the most memory", costs(`"time":1,"memory":262144,"threads":1`), asked},
		{"minutes", costs(`"time":100000,"memory":65536,"threads":1`), keystore.ErrUnsupportedKey},
		{"a pass too many", costs(`"time":9,"memory":64,"threads":1`), keystore.ErrUnsupportedKey},
		{"the most of all", costs(`"time":8,"memory":262144,"threads":16`), asked},
		{"a thread too many", costs(`"time":1,"memory":1024,"threads":17`), keystore.ErrUnsupportedKey},
		{"no pass", costs(`"memory":64,"threads":1`), keystore.ErrUnsupportedKey},
		{"no memory", costs(`"time":1,"threads":1`), keystore.ErrUnsupportedKey},
		{"no threads", costs(`"time":1,"memory":64`), keystore.ErrUnsupportedKey},
		{"less memory than Argon2 has", costs(`"time":1,"memory":15,"threads":2`), keystore.ErrUnsupportedKey},
		{"a negative pass", costs(`"time":-1,"memory":64,"threads":1`), keystore.ErrKeyCorrupt},
		{"half a pass", costs(`"time":0.5,"memory":64,"threads":1`), keystore.ErrKeyCorrupt},
		{"another kdf", change(`"kdf":"argon2id"`, `"kdf":"scrypt"`), keystore.ErrUnsupportedKey},
		{"no kdf", change(`"kdf":"argon2id",`, ``), keystore.ErrKeyCorrupt},
		{"a key with costs", change(`"kdf":"argon2id"`, `"kdf":"none"`), keystore.ErrKeyCorrupt},
		{"no salt", all[:strings.Index(all, `"salt"`)] + all[strings.Index(all, `"time"`):], keystore.ErrKeyCorrupt},
		{"a longer salt", change(`"salt":"`, `"salt":"AAAA`), keystore.ErrKeyCorrupt},
		{"another member", all + `,"use":"sig"`, keystore.ErrKeyCorrupt},
		{"a member twice", all + `,"version":2`, keystore.ErrKeyCorrupt},
		{"d too", change(`"kdf"`, `"d":"AAAA","kdf"`), keystore.ErrKeyCorrupt},
		{"a space", change(`"kid":`, `"kid": `), keystore.ErrKeyCorrupt},
		{"another handle", change(`"kid":"handle"`, `"kid":"handles"`), keystore.ErrKeyCorrupt},
		{"plaintext of these members", change(`"version":2`, `"version":1`), keystore.ErrPlaintext},
		{"a version to come", change(`"version":2`, `"version":3`), keystore.ErrUnsupportedKey},
		{"KST-11 another curve", change(`"Ed25519"`, `"X25519"`), keystore.ErrUnsupportedKey},
		{"KST-11 RSA", change(`"OKP"`, `"RSA"`), keystore.ErrUnsupportedKey},
		{"KST-11 oct", change(`"OKP"`, `"oct"`), keystore.ErrUnsupportedKey},
		{"as it is", all, asked},
	} {
		if tt.members == all && tt.name != "as it is" {
			t.Fatalf("%s changes nothing", tt.name)
		}
		overwrite(t, f.name, sealed(tt.members))
		t.Run(tt.name, func(t *testing.T) { wantNone(t, d, "handle", tt.want) })
	}
}

func TestWhatIsSealedIsOfItsLength(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	for _, name := range []string{"nonce", "sealed"} {
		for what, text := range map[string]string{"nothing": "", "less": "AAAA", "more": strings.Repeat("A", 400), "no base64url": "====", "a line break": `\n`} {
			at := strings.Index(string(f.text), `"`+name+`":"`) + len(name) + 4
			end := at + strings.Index(string(f.text[at:]), `"`)
			overwrite(t, f.name, sealed(string(f.text[:at])+text+members(f.text[end:])))
			t.Run(name+"/"+what, func(t *testing.T) { wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt) })
		}
	}
}
