package keystore_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/keystoretest"
)

func TestMemory(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) keystore.KeyStore { return new(keystore.Memory) })
}

func TestDir(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		keystoretest.Run(t, func(t *testing.T) keystore.KeyStore { return m.dir(t, newPath(t)) })
	})
}

// TestKMS is what somebody writes whose keys are elsewhere.
func TestKMS(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) keystore.KeyStore { return new(kms) })
}

// TestOneKey is the least store: it finds keys that others have made.
func TestOneKey(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) keystore.KeyStore { return loader{new(keystore.Memory)} })
}

type loader struct{ keystore.KeyStore }

// A kms makes P-256 keys only.
type kms struct {
	mu   sync.Mutex
	keys map[string]remoteKey
}

type remoteKey struct{ *ecdsa.PrivateKey }

func (k remoteKey) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return k.Sign(rand, digest, opts)
}

func (s *kms) Load(ctx context.Context, handle string) (keystore.Key, error) {
	if err := errors.Join(ctx.Err(), keystore.CheckHandle(handle)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.keys[handle]
	if !ok {
		return nil, fmt.Errorf("kms: %w", keystore.ErrKeyNotFound)
	}
	return keystore.FromSigner(handle, k)
}

func (s *kms) Generate(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o.Algorithm != keystore.ES256 {
		return nil, keystore.ErrUnsupportedKey
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	k, err := keystore.FromSigner(o.Handle, remoteKey{private})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[string]remoteKey)
	}
	if _, ok := s.keys[k.Handle()]; ok {
		return nil, keystore.ErrKeyExists
	}
	s.keys[k.Handle()] = remoteKey{private}
	return k, nil
}

func TestListsOfThisPackageAreInOrder(t *testing.T) {
	// As file names, with what is behind them, they would be ordered otherwise.
	want := []string{"Z", "a", "a-b", "a.b", "a0", "b"}
	for _, s := range []interface {
		keystore.Generator
		keystore.Lister
	}{new(keystore.Memory), newDir(t, newPath(t)), withPassphrase.dir(t, newPath(t))} {
		for _, handle := range want {
			generate(t, s, keystore.Ed25519, handle)
		}
		var got []string
		for handle, err := range s.List(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, handle)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%T lists %q, want %q", s, got, want)
		}
	}
}

// newDir makes a Dir of plaintext.
func newDir(t *testing.T, path string) *keystore.Dir {
	t.Helper()
	return plaintext.dir(t, path)
}

// generate makes a key that must be made.
func generate(t *testing.T, g keystore.Generator, a keystore.Algorithm, handle string) keystore.Key {
	t.Helper()
	k, err := g.Generate(t.Context(), keystore.KeyOptions{Algorithm: a, Handle: handle})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// wantKey checks that a store has this key, which signs.
func wantKey(t *testing.T, s keystore.KeyStore, want keystore.Key) {
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

func wantSigns(t *testing.T, k keystore.Key) {
	t.Helper()
	digest := sha256.Sum256([]byte("message"))
	var ok bool
	switch pub := k.Public().(type) {
	case ed25519.PublicKey:
		signature, err := keystore.Sign(t.Context(), k, digest[:], crypto.Hash(0))
		ok = err == nil && ed25519.Verify(pub, digest[:], signature)
	case *ecdsa.PublicKey:
		signature, err := keystore.Sign(t.Context(), k, digest[:], crypto.SHA256)
		ok = err == nil && ecdsa.VerifyASN1(pub, digest[:], signature)
	}
	if !ok {
		t.Errorf("key %q does not sign", k.Handle())
	}
}

// wantNone checks that Load refuses with this error.
func wantNone(t *testing.T, s keystore.KeyStore, handle string, want error) {
	t.Helper()
	k, err := s.Load(t.Context(), handle)
	if !errors.Is(err, want) || k != nil {
		t.Errorf("Load(%.40q) = %v, %v; want %v", handle, k, err, want)
	}
}
