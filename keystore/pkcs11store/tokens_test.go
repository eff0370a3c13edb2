package pkcs11store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
	"github.com/miekg/pkcs11"
)

func TestPublicKeysInAllTheirSpellings(t *testing.T) {
	k := newToken(t)
	s := k.store()
	key := generate(t, s, keystore.Ed25519, "handle")
	for _, point := range []int{0, 1, 2} {
		k.fault("point", point)
		wantKey(t, s, key)
		wantSigns(t, generate(t, s, keystore.Ed25519, ""))
	}
	k.fault("point", 3)
	wantError(t, s, "handle", keystore.ErrKeyCorrupt)
	if err := generated(t.Context(), s, "another"); !errors.Is(err, keystore.ErrKeyCorrupt) {
		t.Errorf("Generate: %v, want ErrKeyCorrupt", err)
	}
	k.fault("point", 0)
	wantError(t, s, "another", keystore.ErrKeyNotFound)
	k.fault("curve", 1)
	wantSigns(t, generate(t, s, keystore.Ed25519, "by-name"))
}

func TestTokensThatCannot(t *testing.T) {
	k := newToken(t)
	s := k.store()
	for _, a := range []keystore.Algorithm{keystore.Ed25519, keystore.ES256} {
		k.fault("mechanism", 1)
		_, err := s.Generate(t.Context(), keystore.KeyOptions{Algorithm: a, Handle: "handle"})
		if !errors.Is(err, keystore.ErrUnsupportedKey) {
			t.Errorf("a token that cannot make %v: %v, want ErrUnsupportedKey", a, err)
		}
		k.fault("mechanism", 0)
	}
	k.fault("curve", 1)
	if _, err := s.Generate(t.Context(), keystore.KeyOptions{Algorithm: keystore.ES256, Handle: "handle"}); !errors.Is(err, keystore.ErrUnsupportedKey) {
		t.Errorf("a token without P-256: %v, want ErrUnsupportedKey", err)
	}
	k.fault("curve", 0)
	k.fault("fixed", 1)
	if err := generated(t.Context(), s, "handle"); err == nil || !hasCode(err, pkcs11.CKR_ATTRIBUTE_READ_ONLY) {
		t.Errorf("a token that renames no keys: %v", err)
	}
	slow := k.store(func(c *pkcs11store.Config) {
		now := time.Now()
		c.Now = func() time.Time { now = now.Add(40 * time.Second); return now }
	})
	k.fault("fixed", 0)
	if err := generated(t.Context(), slow, "handle"); err == nil || !strings.Contains(err.Error(), "longer") {
		t.Errorf("a token that is too slow for a claim: %v", err)
	}
	wantNothing(t, k)
}

func wantNothing(t *testing.T, k *token) {
	t.Helper()
	for _, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		if left := k.labels(class); len(left) > 0 {
			t.Errorf("left are %q", left)
		}
	}
}

// SoftHSM would not look again.
func TestATokenThatComesLater(t *testing.T) {
	k := newToken(t)
	found, err := filepath.Glob(filepath.Join(k.dir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	if err := os.Rename(found[0], k.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	s := k.store()
	if err := s.Open(t.Context()); !errors.Is(err, pkcs11store.ErrTokenNotFound) {
		t.Errorf("Open: %v, want ErrTokenNotFound", err)
	}
	if err := os.Rename(k.dir+"-away", found[0]); err != nil {
		t.Fatal(err)
	}
	generate(t, s, keystore.Ed25519, "handle")
}
