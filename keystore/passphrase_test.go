package keystore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/keystore"
)

// An operator knows a passphrase, which may change, and counts how often it is
// asked for.
type operator struct {
	passphrase string
	asked      atomic.Int32
}

func (o *operator) answer(context.Context) ([]byte, error) {
	o.asked.Add(1)
	return []byte(o.passphrase), nil
}

func (o *operator) dir(t *testing.T, path string) *keystore.Dir {
	t.Helper()
	return open(t, keystore.DirConfig{Path: path, Passphrase: o.answer})
}

func (o *operator) wantAsked(t *testing.T, want int32) {
	t.Helper()
	if got := o.asked.Load(); got != want {
		t.Errorf("asked %d times for the passphrase, want %d", got, want)
	}
}

func TestThePassphraseIsAskedForOnce(t *testing.T) {
	path := newPath(t)
	maker := &operator{passphrase: passphrase}
	d := maker.dir(t, path)
	maker.wantAsked(t, 0)
	wantNone(t, d, "a", keystore.ErrKeyNotFound)
	maker.wantAsked(t, 0)
	for _, h := range []string{"a", "b", "c"} {
		wantKey(t, d, generate(t, d, keystore.ES256, h))
	}
	maker.wantAsked(t, 1)

	// Another process adds a key, for which it derives once too.
	other := &operator{passphrase: passphrase}
	generate(t, other.dir(t, path), keystore.Ed25519, "d")
	other.wantAsked(t, 1)

	user := &operator{passphrase: passphrase}
	d = user.dir(t, path)
	var running sync.WaitGroup
	for i := range 50 {
		running.Go(func() {
			if _, err := d.Load(t.Context(), []string{"a", "b", "c", "d"}[i%4]); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	user.wantAsked(t, 1)
}

func TestManyWhoGenerateFirstDeriveOnce(t *testing.T) {
	path := newPath(t)
	o := &operator{passphrase: passphrase}
	d := o.dir(t, path)
	var running sync.WaitGroup
	for range 50 {
		running.Go(func() { generate(t, d, keystore.Ed25519, "") })
	}
	running.Wait()
	o.wantAsked(t, 1)
	salts := make(map[string]bool)
	for h := range d.List(t.Context()) {
		salts[saltOf(t, filepath.Join(path, h+".jwk.json"))] = true
	}
	if len(salts) != 1 {
		t.Errorf("%d salts, want 1", len(salts))
	}
}

func saltOf(t *testing.T, name string) string {
	t.Helper()
	var h struct{ Salt string }
	if err := json.Unmarshal(must(os.ReadFile(name)), &h); err != nil || h.Salt == "" {
		t.Fatalf("no salt in %s (%v)", name, err)
	}
	return h.Salt
}

func TestDirectoriesHaveTheirOwnSalts(t *testing.T) {
	a, b := newKeyFile(t, withPassphrase, keystore.Ed25519), newKeyFile(t, withPassphrase, keystore.Ed25519)
	if saltOf(t, a.name) == saltOf(t, b.name) {
		t.Error("two directories have one salt")
	}
}

// A salt is taken from a file only if what it costs is what new keys cost.
func TestNewKeysDoNotTakeOverWeakCosts(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	d := must(keystore.NewDir(withPassphrase.config(filepath.Dir(f.name))))
	k := generate(t, d, keystore.Ed25519, "new")
	text := must(os.ReadFile(filepath.Join(filepath.Dir(f.name), "new.jwk.json")))
	if !strings.Contains(string(text), `"kdf":"argon2id"`) || !strings.Contains(string(text), `"time":3,"memory":65536,"threads":4`) {
		t.Errorf("a new key has the costs of an old one: %s", text)
	}
	wantKey(t, d, k)
	wantKey(t, d, f.key)
}

func TestAWrongPassphraseOpensAndMakesNothing(t *testing.T) {
	for name, wrong := range map[string]keystore.DirConfig{
		"another passphrase":       {Passphrase: answer(passphrase + "\n")},
		"the other case":           {Passphrase: answer(strings.ToUpper(passphrase))},
		"a key for a passphrase":   {Key: answer(string(rawKey))},
		"the passphrase as a key":  {Key: answer(passphrase[:32])},
		"none, as for a plaintext": {InsecurePlaintext: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newKeyFile(t, withPassphrase, keystore.Ed25519)
			wrong.Path = filepath.Dir(f.name)
			d := open(t, wrong)
			for range 2 {
				wantNone(t, d, "handle", keystore.ErrWrongPassphrase)
			}
			if _, err := d.Generate(t.Context(), keystore.KeyOptions{Handle: "handle"}); err == nil {
				t.Error("a key was silently replaced")
			}
			if !wrong.InsecurePlaintext {
				wantNoNewKey(t, d, keystore.ErrWrongPassphrase)
				wantFiles(t, wrong.Path, "handle.jwk.json")
			}
			if !bytes.Equal(must(os.ReadFile(f.name)), f.text) {
				t.Error("the file has changed")
			}
			wantKey(t, f.dir, f.key)
			if err := d.Delete(t.Context(), "handle"); err != nil {
				t.Errorf("Delete takes a passphrase: %v", err)
			}
		})
	}
	f := newKeyFile(t, withKey, keystore.Ed25519)
	for _, wrong := range []keystore.DirConfig{{Key: answer(string(bytes.ToUpper(rawKey)))}, {Passphrase: answer(string(rawKey))}} {
		wrong.Path = filepath.Dir(f.name)
		wantNone(t, open(t, wrong), "handle", keystore.ErrWrongPassphrase)
		wantNoNewKey(t, open(t, wrong), keystore.ErrWrongPassphrase)
	}
}

func wantNoNewKey(t *testing.T, d *keystore.Dir, want error) {
	t.Helper()
	if k, err := d.Generate(t.Context(), keystore.KeyOptions{}); !errors.Is(err, want) || k != nil {
		t.Errorf("Generate = %v, %v; want %v", k, err, want)
	}
}

// What was wrong is not remembered, and what was right is.
func TestAPassphraseMayBeCorrected(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	o := &operator{passphrase: "wrong"}
	d := o.dir(t, filepath.Dir(f.name))
	wantNone(t, d, "handle", keystore.ErrWrongPassphrase)
	o.passphrase = passphrase
	wantKey(t, d, f.key)
	o.wantAsked(t, 2)
	o.passphrase = "forgotten"
	wantKey(t, d, f.key)
	o.wantAsked(t, 2)
}

// Nor does a new key get what was wrong, when nothing is there to try it on.
func TestAWrongPassphraseIsNotThatOfNewKeys(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	o := &operator{passphrase: "wrong"}
	d := o.dir(t, filepath.Dir(f.name))
	wantNone(t, d, "handle", keystore.ErrWrongPassphrase)
	o.passphrase = passphrase
	if err := d.Delete(t.Context(), "handle"); err != nil {
		t.Fatal(err)
	}
	wantKey(t, f.dir, generate(t, d, keystore.Ed25519, "new"))
}

func TestAContextThatEndsWhileThePassphraseIsAskedEndsLoad(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	ctx, cancel := context.WithCancel(t.Context())
	d := open(t, keystore.DirConfig{Path: filepath.Dir(f.name), Passphrase: func(context.Context) ([]byte, error) {
		cancel()
		return []byte(passphrase), nil
	}})
	if k, err := d.Load(ctx, "handle"); !errors.Is(err, context.Canceled) || k != nil {
		t.Errorf("Load = %v, %v; want context.Canceled", k, err)
	}
}

func TestNewKeysAreEncryptedLikeTheFirstThatCanBeRead(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	path := filepath.Dir(f.name)
	overwrite(t, filepath.Join(path, "a-torn.jwk.json"), f.text[:90])
	overwrite(t, filepath.Join(path, "b-renamed.jwk.json"), f.text)
	generate(t, newDir(t, path), keystore.Ed25519, "c-plaintext")
	overwrite(t, filepath.Join(path, "d-open.jwk.json"), f.text)
	if err := os.Chmod(filepath.Join(path, "d-open.jwk.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	generate(t, f.dir, keystore.Ed25519, "new")
	if saltOf(t, filepath.Join(path, "new.jwk.json")) != saltOf(t, f.name) {
		t.Error("the new key has another salt")
	}
}

func TestAnswersThatAreNoSecretAreErrors(t *testing.T) {
	trouble := errors.New("no such file")
	fails := func(context.Context) ([]byte, error) { return []byte(passphrase), trouble }
	for name, c := range map[string]keystore.DirConfig{
		"an empty passphrase": {Passphrase: answer("")},
		"no passphrase":       {Passphrase: fails},
		"no key":              {Key: fails},
		"an empty key":        {Key: answer("")},
		"a short key":         {Key: answer(string(rawKey[:31]))},
		"a long key":          {Key: answer(string(rawKey) + "0")},
		"a key in hex":        {Key: answer(fmt.Sprintf("%x", rawKey))},
	} {
		c.Path = newPath(t)
		_, err := open(t, c).Generate(t.Context(), keystore.KeyOptions{})
		if err == nil || strings.HasPrefix(name, "no ") != errors.Is(err, trouble) {
			t.Errorf("%s: Generate: %v", name, err)
		}
		if _, err := os.Lstat(c.Path); err == nil {
			t.Errorf("%s: the directory was made", name)
		}
		m := withPassphrase
		if c.Key != nil {
			m = withKey
		}
		f := newKeyFile(t, m, keystore.Ed25519)
		c.Path = filepath.Dir(f.name)
		_, err = open(t, c).Load(t.Context(), "handle")
		if err == nil || errors.Is(err, keystore.ErrKeyNotFound) || errors.Is(err, keystore.ErrKeyCorrupt) || errors.Is(err, keystore.ErrWrongPassphrase) {
			t.Errorf("%s: Load: %v", name, err)
		}
	}
}

// Keys of many salts come from many directories. What is remembered of them is
// bounded, and each is still found.
func TestFewDerivationsAreRemembered(t *testing.T) {
	path := newPath(t)
	const salts = 20
	for i := range salts {
		f := newKeyFile(t, withPassphrase, keystore.Ed25519)
		handle := fmt.Sprint("key.", i)
		if i == 0 {
			generate(t, newDir(t, path), keystore.Ed25519, "first") // makes the directory
		}
		overwrite(t, filepath.Join(path, handle+".jwk.json"), sealedAs(t, f, handle))
	}
	o := &operator{passphrase: passphrase}
	d := o.dir(t, path)
	load := func(i int) {
		t.Helper()
		if _, err := d.Load(t.Context(), fmt.Sprint("key.", i)); err != nil {
			t.Error(err)
		}
	}
	for i := range salts {
		load(i)
	}
	o.wantAsked(t, salts)
	load(salts - 1)
	o.wantAsked(t, salts)
	load(0)
	o.wantAsked(t, salts+1)
}
