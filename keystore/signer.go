package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/keywright/keywright/internal/jose"
)

// A contextSigner is a signer elsewhere, which can be told to give up.
type contextSigner interface {
	crypto.Signer
	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
}

// Sign signs with key, of this package or not. A key that has
//
//	SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
//
// is called with ctx; one that has not is not called when ctx is done, and is
// waited for once it is called. For digest and opts see [Key].
func Sign(ctx context.Context, key crypto.Signer, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if key == nil {
		return nil, errors.New("keystore: sign: no key")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keystore: sign: %w", err)
	}
	if s, ok := key.(contextSigner); ok {
		return s.SignContext(ctx, rand.Reader, digest, opts)
	}
	return key.Sign(rand.Reader, digest, opts)
}

// FromSigner makes a [Key] of a signer that may be anywhere, such as a KMS. Its
// public key, which is asked for once, must be Ed25519 or P-256: others are
// ErrUnsupportedKey. An empty handle means the thumbprint (RFC 7638).
//
// s must be safe for concurrent use. If it has SignContext, as described at
// [Sign], so does the Key.
func FromSigner(handle string, s crypto.Signer) (Key, error) {
	if s == nil {
		return nil, fmt.Errorf("keystore: no signer: %w", ErrUnsupportedKey)
	}
	if err := checkHalves(s); err != nil {
		return nil, err
	}
	pub, err := jose.PublicKey(s.Public())
	if err != nil {
		return nil, fmt.Errorf("keystore: %w: %w", ErrUnsupportedKey, err)
	}
	switch pub.Public().(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	default:
		return nil, fmt.Errorf("keystore: %w: public key of type %T", ErrUnsupportedKey, pub.Public())
	}
	if handle == "" {
		if handle, err = pub.Thumbprint(); err != nil {
			return nil, fmt.Errorf("keystore: %w", err)
		}
	}
	if err := CheckHandle(handle); err != nil {
		return nil, err
	}
	return &key{handle: handle, public: pub.Public(), sign: signWith(s)}, nil
}

func signWith(s crypto.Signer) signFunc {
	if s, ok := s.(contextSigner); ok {
		return s.SignContext
	}
	return func(_ context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		return s.Sign(rand, digest, opts)
	}
}

// checkHalves looks at an Ed25519 private key, whose public half is part of it:
// two signatures of one message under two public keys give the private one away.
func checkHalves(s crypto.Signer) error {
	private, ok := s.(ed25519.PrivateKey)
	if !ok || len(private) == ed25519.PrivateKeySize && ed25519.NewKeyFromSeed(private.Seed()).Equal(private) {
		return nil
	}
	return fmt.Errorf("keystore: Ed25519 private key is inconsistent: %w", ErrUnsupportedKey)
}
