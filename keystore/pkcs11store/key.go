package pkcs11store

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sync"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// A signer is a key in the token. It knows it by its label and ID, as the
// numbers of objects change.
type signer struct {
	store *Store
	pair
	life *life

	mu    sync.Mutex
	era   int // in which number is that of the private half; -1: none
	found pkcs11.ObjectHandle
}

// A life is shared by the keys that a Store hands out for one pair, until that
// is deleted.
type life struct {
	mu   sync.RWMutex // read-locked while a key signs
	over bool
}

// key makes the Key of a pair.
func (s *Store) key(handle string, p pair) (keystore.Key, error) {
	return keystore.FromSigner(handle, &signer{store: s, pair: p, life: s.life(p.object), era: -1})
}

func (s *Store) life(o object) *life {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := o.name()
	l, ok := s.lives[name]
	if !ok {
		l = new(life)
		s.lives[name] = l
	}
	return l
}

// name tells pairs apart.
func (o object) name() string { return o.label + "\x00" + o.id }

// endLife waits for signatures that are being made.
func (s *Store) endLife(o object) {
	s.mu.Lock()
	l, ok := s.lives[o.name()]
	delete(s.lives, o.name())
	s.mu.Unlock()
	if ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over = true
	}
}

func (k *signer) Public() crypto.PublicKey { return k.public }

func (k *signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

// SignContext has the token sign. What digest and opts may be the Key checks
// that wraps this.
func (k *signer) SignContext(ctx context.Context, _ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	digest = slices.Clone(digest) // the caller may go before the call that reads it
	signature, err := bounded(ctx, func() ([]byte, error) { return k.signAlive(ctx, digest) })
	if err != nil {
		return nil, fmt.Errorf("pkcs11store: %w", err)
	}
	return signature, nil
}

// signAlive keeps the key from being deleted meanwhile.
func (k *signer) signAlive(ctx context.Context, digest []byte) ([]byte, error) {
	k.life.mu.RLock()
	defer k.life.mu.RUnlock()
	if k.life.over {
		return nil, fmt.Errorf("deleted: %w", keystore.ErrKeyNotFound)
	}
	var raw []byte
	err := k.store.with(ctx, func(n *session) (err error) {
		raw, err = k.sign(n, digest)
		return err
	})
	if err != nil {
		return nil, err
	}
	return k.verified(raw, digest)
}

func (k *signer) sign(n *session, digest []byte) ([]byte, error) {
	if err := k.start(n); err != nil {
		return nil, err
	}
	return n.sign(digest)
}

// start finds the private half, where its number is not known any more.
func (k *signer) start(n *session) error {
	if number, ok := k.known(n.era); ok && n.startSigning(k.kind.sign, number) == nil {
		return nil
	}
	found, err := n.find(pkcs11.CKO_PRIVATE_KEY, byLabel(k.label), byID(k.id))
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%w: %d keys have its label and ID", keystore.ErrKeyNotFound, len(found))
	}
	if err := n.startSigning(k.kind.sign, found[0]); err != nil {
		return n.orAbsent(pkcs11.CKO_PRIVATE_KEY, k.object, err)
	}
	k.remember(n.era, found[0])
	return nil
}

func (k *signer) known(era int) (pkcs11.ObjectHandle, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.found, k.era == era
}

func (k *signer) remember(era int, h pkcs11.ObjectHandle) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.era, k.found = era, h
}

// verified returns a signature in the form of [keystore.Key], if it is one: the
// number of an object or session may have become that of another, and hardware
// fails.
func (k *signer) verified(raw, digest []byte) ([]byte, error) {
	switch pub := k.public.(type) {
	case ed25519.PublicKey:
		if ed25519.Verify(pub, digest, raw) {
			return raw, nil
		}
	case *ecdsa.PublicKey:
		signature, err := derOf(raw)
		if err == nil && ecdsa.VerifyASN1(pub, digest, signature) {
			return signature, nil
		}
	}
	return nil, fmt.Errorf("%w: the token's signature is wrong", keystore.ErrKeyCorrupt)
}

// derOf encodes r and s, which PKCS #11 puts one after the other.
func derOf(raw []byte) ([]byte, error) {
	half := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}

// thumbprint is the handle of a key that nobody named.
func thumbprint(pub crypto.PublicKey) (string, error) {
	k, err := keystore.FromSigner("", publicOnly{pub})
	if err != nil {
		return "", err
	}
	return k.Handle(), nil
}

// publicOnly is a key that nobody signs with.
type publicOnly struct{ public crypto.PublicKey }

func (p publicOnly) Public() crypto.PublicKey { return p.public }

func (p publicOnly) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, keystore.ErrUnsupportedKey
}
