package keystore_test

import (
	"context"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"io"
	"math/big"
	"testing"

	"github.com/keywright/keywright/keystore"
)

// A signer has any public key.
type signer struct{ public crypto.PublicKey }

func (s signer) Public() crypto.PublicKey { return s.public }
func (s signer) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return []byte("signature"), nil
}

func TestKST11_SignersOfOtherKindsAreUnsupported(t *testing.T) {
	good := edKey(t)
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	x25519 := must(ecdh.X25519().GenerateKey(rand.Reader))
	strong := must(rsa.GenerateKey(rand.Reader, 2048))
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(3), 1022), E: 65537}
	secp256k1 := &elliptic.CurveParams{P: big.NewInt(7), N: big.NewInt(7), B: big.NewInt(7), Gx: big.NewInt(1), Gy: big.NewInt(1), BitSize: 256, Name: "secp256k1"}
	for name, s := range map[string]crypto.Signer{
		"no signer":                 nil,
		"no public key":             signer{},
		"RSA-1024":                  signer{weak},
		"RSA-2048":                  strong,
		"P-224":                     p224,
		"P-384":                     p384,
		"secp256k1":                 signer{unchecked(secp256k1)},
		"X25519":                    signer{x25519.PublicKey()},
		"oct":                       signer{[]byte("a symmetric key of thirty-two byt")},
		"a point off P-256":         signer{unchecked(elliptic.P256())},
		"an empty P-256 key":        signer{&ecdsa.PublicKey{Curve: elliptic.P256()}},
		"a P-256 key by value":      signer{p256.PublicKey},
		"a short Ed25519 key":       signer{good.Public().(ed25519.PublicKey)[:31]},
		"an Ed25519 key of order 1": signer{ed25519.PublicKey(append([]byte{1}, make([]byte, 31)...))},
		"a short private key":       good[:63],
		"an empty private key":      ed25519.PrivateKey{},
		"halves of two keys":        append(good[:32:32], edKey(t)[32:]...),
	} {
		k, err := keystore.FromSigner("handle", s)
		if !errors.Is(err, keystore.ErrUnsupportedKey) || k != nil {
			t.Errorf("%s: FromSigner = %v, %v; want ErrUnsupportedKey", name, k, err)
		}
	}
}

// unchecked makes a public key of what is no point of the curve.
func unchecked(c elliptic.Curve) *ecdsa.PublicKey {
	//lint:ignore SA1019 the ways that are not deprecated refuse it
	return &ecdsa.PublicKey{Curve: c, X: big.NewInt(1), Y: big.NewInt(1)}
}

func TestAnySignerMakesAKey(t *testing.T) {
	for _, s := range []crypto.Signer{edKey(t), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))} {
		k, err := keystore.FromSigner("handle", s)
		if err != nil {
			t.Fatal(err)
		}
		if k.Handle() != "handle" || !k.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(s.Public()) {
			t.Errorf("FromSigner made %v of public key %v", k, k.Public())
		}
		wantSigns(t, k)
		if _, err := k.Sign(rand.Reader, make([]byte, 20), crypto.SHA1); err == nil {
			t.Errorf("a %T signs a SHA-1 digest", s.Public())
		}
		if _, err := k.Sign(rand.Reader, make([]byte, 32), nil); err == nil {
			t.Errorf("a %T signs without options", s.Public())
		}
		if _, err := keystore.FromSigner("../handle", s); !errors.Is(err, keystore.ErrInvalidHandle) {
			t.Errorf("a hostile handle: %v, want ErrInvalidHandle", err)
		}
	}
}

// RFC 8037, appendix A.3.
func TestTheHandleOfASignerIsItsThumbprint(t *testing.T) {
	seed := must(encoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))
	k, err := keystore.FromSigner("", ed25519.NewKeyFromSeed(seed))
	if err != nil || k.Handle() != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Errorf("FromSigner = %v, %v", k, err)
	}
}

// A contextSigner says which of its methods was called.
type contextSigner struct {
	crypto.Signer
	called context.Context
}

func (s *contextSigner) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.called = ctx
	return s.Sign(rand, digest, opts)
}

func TestSignCallsAKeyWithItsContext(t *testing.T) {
	type name struct{}
	ctx := context.WithValue(t.Context(), name{}, "request")
	digest := sha256.Sum256(nil)
	for wrapped, wrap := range map[string]func(crypto.Signer) crypto.Signer{
		"as it is":   func(s crypto.Signer) crypto.Signer { return s },
		"FromSigner": func(s crypto.Signer) crypto.Signer { return must(keystore.FromSigner("", s)) },
	} {
		s := &contextSigner{Signer: edKey(t)}
		if _, err := keystore.Sign(ctx, wrap(s), digest[:], crypto.Hash(0)); err != nil || s.called == nil || s.called.Value(name{}) != "request" {
			t.Errorf("%s: SignContext was called with %v (%v)", wrapped, s.called, err)
		}
		if _, err := keystore.Sign(ctx, wrap(edKey(t)), digest[:], crypto.Hash(0)); err != nil {
			t.Errorf("%s: without SignContext: %v", wrapped, err)
		}
		done, cancel := context.WithCancel(ctx)
		cancel()
		s.called = nil
		if _, err := keystore.Sign(done, wrap(s), digest[:], crypto.Hash(0)); !errors.Is(err, context.Canceled) || s.called != nil {
			t.Errorf("%s: a cancelled context: %v, want context.Canceled and no call", wrapped, err)
		}
		if _, err := keystore.Sign(done, wrap(edKey(t)), digest[:], crypto.Hash(0)); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: a cancelled context without SignContext: %v", wrapped, err)
		}
	}
	if _, err := keystore.Sign(ctx, nil, digest[:], crypto.Hash(0)); err == nil {
		t.Error("Sign without a key")
	}
}

// A caller may look for the method without [keystore.Sign].
func TestKeysSignWithAContext(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, k := range []keystore.Key{
		generate(t, new(keystore.Memory), keystore.Ed25519, ""),
		generate(t, withPassphrase.dir(t, newPath(t)), keystore.Ed25519, ""),
		must(keystore.FromSigner("", edKey(t))),
	} {
		s, ok := k.(interface {
			SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
		})
		if !ok {
			t.Fatalf("%T has no SignContext", k)
		}
		signature, err := s.SignContext(t.Context(), rand.Reader, nil, crypto.Hash(0))
		if err != nil || !ed25519.Verify(k.Public().(ed25519.PublicKey), nil, signature) {
			t.Errorf("SignContext: %v", err)
		}
		if signature, err := s.SignContext(done, rand.Reader, nil, crypto.Hash(0)); !errors.Is(err, context.Canceled) || signature != nil {
			t.Errorf("SignContext with a context that is done: %v, want context.Canceled", err)
		}
	}
}

func edKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
