package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/keywright/keywright/internal/jose"
)

// A key is the Key of this package. What signs is held by a function and not in
// a field, so that nothing that prints or walks values comes to it.
type key struct {
	handle string
	public crypto.PublicKey
	life   *life // nil: never ends
	sign   signFunc
}

type signFunc func(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)

var _ contextSigner = (*key)(nil)

func (k *key) Handle() string           { return k.handle }
func (k *key) Public() crypto.PublicKey { return k.public }

func (k *key) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

func (k *key) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keystore: sign: %w", err)
	}
	if err := k.checkInput(digest, opts); err != nil {
		return nil, err
	}
	if k.life != nil {
		if !k.life.enter() {
			return nil, fmt.Errorf("keystore: %q was deleted: %w", k.handle, ErrKeyNotFound)
		}
		defer k.life.leave()
	}
	signature, err := k.sign(ctx, rand, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("keystore: sign with %q: %w", k.handle, err)
	}
	return signature, nil
}

func (k *key) checkInput(digest []byte, opts crypto.SignerOpts) error {
	_, edwards := k.public.(ed25519.PublicKey)
	switch {
	case opts == nil:
		return fmt.Errorf("keystore: sign with %q: no options", k.handle)
	case edwards && opts.HashFunc() != 0:
		return fmt.Errorf("keystore: sign with %q: Ed25519 takes the message and no hash", k.handle)
	case !edwards && (opts.HashFunc() != crypto.SHA256 || len(digest) != crypto.SHA256.Size()):
		return fmt.Errorf("keystore: sign with %q: ES256 takes a SHA-256 digest", k.handle)
	}
	return nil
}

// String names a key by its handle.
func (k *key) String() string { return "keystore.Key(" + k.handle + ")" }

// Format does so whichever verb prints the key.
func (k *key) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// MarshalText does so in JSON.
func (k *key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue does so in logs.
func (k *key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// A life is shared by all keys that a store hands out for one handle, until
// that is deleted.
type life struct {
	mu   sync.RWMutex // read-locked while a key signs
	over bool
}

func (l *life) enter() bool {
	l.mu.RLock()
	if l.over {
		l.mu.RUnlock()
		return false
	}
	return true
}

func (l *life) leave() { l.mu.RUnlock() }

// end waits for signatures that are being made.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
}

// newKey hides a private key that [generate] or a file has made.
func newKey(handle string, private crypto.Signer, l *life) *key {
	return &key{handle: handle, public: private.Public(), life: l,
		sign: func(_ context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
			return private.Sign(rand, digest, opts)
		}}
}

// generate makes what o describes, and the handle that it is to have.
func generate(o KeyOptions) (private crypto.Signer, handle string, err error) {
	if o.Handle != "" {
		if err := CheckHandle(o.Handle); err != nil {
			return nil, "", err
		}
	}
	switch o.Algorithm {
	case Ed25519:
		_, private, err = ed25519.GenerateKey(nil)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		return nil, "", fmt.Errorf("keystore: algorithm %d: %w", o.Algorithm, ErrUnsupportedKey)
	}
	if err != nil {
		return nil, "", fmt.Errorf("keystore: generate: %w", err)
	}
	if o.Handle != "" {
		return private, o.Handle, nil
	}
	handle, err = thumbprint(private.Public())
	return private, handle, err
}

func thumbprint(pub crypto.PublicKey) (string, error) {
	k, err := jose.PublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("keystore: %w", err)
	}
	return k.Thumbprint()
}
