package pkcs11store_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
	"github.com/miekg/pkcs11"
)

const (
	goodPIN  = "8675309-good"
	wrongPIN = "1234567-wrong"
)

// A token is a SoftHSM with one token, in a directory of its own, and a module
// in front of it that can be made to fail.
type token struct {
	tb     testing.TB
	dir    string // of the tokens
	faults string // the directory of the files that make it fail
	module string
}

// missing skips the test on a machine that lacks something, unless everything
// that can be checked must be.
func missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("KEYWRIGHT_REQUIRE_TOOLS") == "1" {
		tb.Fatalf("%s, and KEYWRIGHT_REQUIRE_TOOLS is 1", what)
	}
	tb.Skip(what)
}

// softHSM finds the module.
func softHSM(tb testing.TB) string {
	tb.Helper()
	if _, err := exec.LookPath("softhsm2-util"); err != nil {
		missing(tb, "the program softhsm2-util is not installed")
	}
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib*/*/softhsm/libsofthsm2.so", "/usr/lib*/*/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 { // the pattern is good
			return found[0]
		}
	}
	missing(tb, "libsofthsm2.so is not where it usually is")
	return ""
}

// built is the directory for faulty, which TestMain makes and removes.
var built string

// faulty compiles the module that fails, once.
var faulty = sync.OnceValues(func() (string, error) {
	header, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/miekg/pkcs11").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	module := filepath.Join(built, "fault.so")
	out, err := exec.Command("gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-I", strings.TrimSpace(string(header)), "-o", module, "testdata/fault.c", "-ldl").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gcc: %w\n%s", err, out)
	}
	return module, nil
})

// newToken makes one. What it says to the module stands in the environment, so
// there is one at a time.
func newToken(t testing.TB) *token {
	t.Helper()
	real := softHSM(t)
	if _, err := exec.LookPath("gcc"); err != nil {
		missing(t, "the program gcc is not installed")
	}
	module, err := faulty()
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	k := &token{tb: t, dir: filepath.Join(base, "tokens"), faults: filepath.Join(base, "faults"), module: module}
	for _, dir := range []string{k.dir, k.faults} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(base, "softhsm2.conf")
	write(t, config, "directories.tokendir = "+k.dir+"\nobjectstore.backend = file\nlog.level = ERROR\n")
	t.Setenv("SOFTHSM2_CONF", config)
	t.Setenv("FAULT_MODULE", real)
	t.Setenv("FAULT_DIR", k.faults)
	k.initialize("keywright")
	t.Cleanup(func() { k.ctx().Finalize() }) // so that the next one reads its own configuration
	return k
}

// initialize makes a token of this label.
func (k *token) initialize(label string) {
	k.tb.Helper()
	out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "officer-0000", "--pin", goodPIN).CombinedOutput()
	if err != nil {
		k.tb.Fatalf("softhsm2-util: %v\n%s", err, out)
	}
}

func (k *token) config() pkcs11store.Config {
	return pkcs11store.Config{Module: k.module, Token: "keywright", PIN: pin(goodPIN), LockFile: filepath.Join(k.faults, "lock")}
}

func pin(text string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return text, nil }
}

// store opens one, with the changes to its configuration.
func (k *token) store(changes ...func(*pkcs11store.Config)) *pkcs11store.Store {
	k.tb.Helper()
	c := k.config()
	for _, change := range changes {
		change(&c)
	}
	s, err := pkcs11store.New(c)
	if err != nil {
		k.tb.Fatal(err)
	}
	k.tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			k.tb.Error(err)
		}
	})
	return s
}

// fault makes the module fail in one way; 0 ends that.
func (k *token) fault(name string, value int) {
	k.tb.Helper()
	write(k.tb, filepath.Join(k.faults, name), fmt.Sprint(value))
}

// count returns how often the module noted something.
func (k *token) count(name string) int {
	k.tb.Helper()
	text, err := os.ReadFile(filepath.Join(k.faults, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		k.tb.Fatal(err)
	}
	return len(text)
}

// ctx is what another part of the process uses.
func (k *token) ctx() *pkcs11.Ctx {
	c := pkcs11.New(k.module)
	if c == nil {
		k.tb.Fatalf("%s cannot be loaded", k.module)
	}
	return c
}

// slot is that of the first token.
func (k *token) slot() uint {
	k.tb.Helper()
	slots, err := k.ctx().GetSlotList(true)
	if err != nil || len(slots) == 0 {
		k.tb.Fatalf("no slots: %v", err)
	}
	return slots[0]
}

// outsider opens a session of another part of the process, which is logged in
// because the store is.
func (k *token) outsider() (*pkcs11.Ctx, pkcs11.SessionHandle) {
	k.tb.Helper()
	c := k.ctx()
	h, err := c.OpenSession(k.slot(), pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		k.tb.Fatal(err)
	}
	k.tb.Cleanup(func() { c.CloseSession(h) }) // the test may have closed it
	return c, h
}

// labels lists the objects of a class with their IDs, by what PKCS #11 says.
func (k *token) labels(class uint) (found []string) {
	k.tb.Helper()
	c, h := k.outsider()
	defer c.CloseSession(h)
	if err := c.FindObjectsInit(h, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}); err != nil {
		k.tb.Fatal(err)
	}
	defer c.FindObjectsFinal(h)
	objects, _, err := c.FindObjects(h, 1000)
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, o := range objects {
		a, err := c.GetAttributeValue(h, o, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_LABEL, nil), pkcs11.NewAttribute(pkcs11.CKA_ID, nil)})
		if err != nil {
			k.tb.Fatal(err)
		}
		found = append(found, string(a[0].Value)+" "+string(a[1].Value))
	}
	return found
}

func write(tb testing.TB, name, text string) {
	tb.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// generate makes a key that must be made.
func generate(tb testing.TB, s *pkcs11store.Store, a keystore.Algorithm, handle string) keystore.Key {
	tb.Helper()
	k, err := s.Generate(tb.Context(), keystore.KeyOptions{Algorithm: a, Handle: handle})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// wantKey checks that a store has this key, which signs.
func wantKey(t *testing.T, s *pkcs11store.Store, want keystore.Key) {
	t.Helper()
	k, err := s.Load(t.Context(), want.Handle())
	if err != nil {
		t.Fatal(err)
	}
	if !want.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Public()) {
		t.Fatalf("key %q is another one", want.Handle())
	}
	wantSigns(t, k)
}

// sign returns whether a key made a good signature.
func sign(ctx context.Context, k keystore.Key) (bool, error) {
	digest := sha256.Sum256([]byte("message"))
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		signature, err := keystore.Sign(ctx, k, digest[:], crypto.Hash(0))
		return err == nil && ed25519.Verify(pub, digest[:], signature), err
	case *ecdsa.PublicKey:
		signature, err := keystore.Sign(ctx, k, digest[:], crypto.SHA256)
		return err == nil && ecdsa.VerifyASN1(pub, digest[:], signature), err
	}
	return false, nil
}

func wantSigns(t *testing.T, k keystore.Key) {
	t.Helper()
	if ok, err := sign(t.Context(), k); !ok {
		t.Errorf("key %q does not sign: %v", k.Handle(), err)
	}
}

// wantError checks what Load says of a key.
func wantError(t *testing.T, s *pkcs11store.Store, handle string, want error) {
	t.Helper()
	if k, err := s.Load(t.Context(), handle); !errors.Is(err, want) || k != nil {
		t.Errorf("Load(%q) = %v, %v; want %v", handle, k, err, want)
	}
}
