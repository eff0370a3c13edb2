package agentauth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// KindSigningKeys is the store kind of the public keys that an issuer signs with.
// The ID is the name of the [SigningKeys].
const KindSigningKeys = "agent.signing"

// PublishedFor is how long a key must have been published before tokens are
// signed with it: others keep the keys that they have seen for a while.
const PublishedFor = 10 * time.Minute

// A KeyState says what an issuer does with one of its keys.
type KeyState string

// The states of a signing key. All are published.
const (
	KeyNext    KeyState = "next"    // published, to sign later
	KeyActive  KeyState = "active"  // signs; there is one of these
	KeyRetired KeyState = "retired" // has signed tokens that may still live
)

// A SigningKey describes a key that an issuer publishes.
type SigningKey struct {
	ID     string // its kid
	Handle string // its name in the key store
	State  KeyState
	Added  time.Time
	Ended  time.Time // when it became KeyRetired; zero: it is not
}

// SigningKeys are the keys that a server signs tokens and requests with: as agent
// provider, resource or service of its own, or as all of them. The private keys
// stay in a [keystore.KeyStore] that all replicas can load them from; the public
// ones are a record of the host's store, so that every replica publishes the same
// set and changes over at the same moment. It is safe for concurrent use.
//
// To rotate, Add a key, Activate it some minutes later, and Retire the one before
// it after a day. When the active key is in others' hands, Add, Activate and
// Retire at once, the latter two with now.
type SigningKeys struct {
	host keywright.Host
	keys keystore.KeyStore
	name string

	cached atomic.Pointer[keyRing] // as last decoded
}

// NewSigningKeys makes the SigningKeys of the given name, which tells those of one
// host apart; "" is a name too. It does no I/O. Call [SigningKeys.Sync] when the
// server starts.
func NewSigningKeys(host keywright.Host, keys keystore.KeyStore, name string) (*SigningKeys, error) {
	if host.Store == nil || keys == nil {
		return nil, errors.New("agentauth: NewSigningKeys: a host and a key store are required")
	}
	return &SigningKeys{host: host, keys: keys, name: name}, nil
}

func (s *SigningKeys) storeKey() store.Key {
	return store.Key{Kind: KindSigningKeys, ID: store.ID(s.name)}
}

// ring reads the record. Without one it returns an empty ring of version 0.
func (s *SigningKeys) ring(ctx context.Context) (*keyRing, error) {
	records, err := s.host.Store.Get(ctx, s.storeKey())
	if err != nil {
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	for {
		known := s.cached.Load()
		if known != nil && known.version == records[0].Version {
			return known, nil
		}
		ring, err := readRing(records[0], known)
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeInternal, err)
		}
		// All share one ring of a version, for its slots.
		if s.cached.CompareAndSwap(known, ring) {
			return ring, nil
		}
	}
}

var errNoSuchKid = errors.New("agentauth: no signing key of this id")

// published returns the public key of an id.
func (s *SigningKeys) published(ctx context.Context, kid string) ([]jose.Key, error) {
	ring, err := s.ring(ctx)
	if err != nil {
		return nil, err
	}
	if i := ring.index(kid); i >= 0 {
		return ring.public[i : i+1 : i+1], nil
	}
	return nil, errNoSuchKid
}

// ownKeys are those of this server, for who verifies its tokens. The store is
// always asked, so there are never newer ones.
type ownKeys struct{ *SigningKeys }

func (s ownKeys) Keys(ctx context.Context, kid string) ([]jose.Key, error) {
	return s.published(ctx, kid)
}
func (ownKeys) Newer(context.Context, string, []jose.Key) []jose.Key { return nil }
func (ownKeys) Proven()                                              {}

// signer returns the key that signs, with its kid.
func (s *SigningKeys) signer(ctx context.Context) (crypto.Signer, string, error) {
	ring, err := s.ring(ctx)
	if err != nil {
		return nil, "", err
	}
	i := ring.active()
	if i < 0 {
		return nil, "", keywright.Wrap(keywright.CodeInternal, errors.New("agentauth: no signing key is active: SigningKeys.Sync was not called"))
	}
	key, err := s.private(ctx, ring, i)
	if err != nil {
		return nil, "", keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return contextSigner{key, ctx}, ring.Keys[i].ID, nil
}

// private returns a private key. To load one may take a key store a good deal of
// time and memory, so one caller does it for all.
func (s *SigningKeys) private(ctx context.Context, ring *keyRing, i int) (keystore.Key, error) {
	slot := ring.slots[i]
	if key := slot.key.Load(); key != nil {
		return *key, nil
	}
	select {
	case slot.gate <- struct{}{}:
		defer func() { <-slot.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if key := slot.key.Load(); key != nil {
		return *key, nil
	}
	key, err := s.load(ctx, ring.Keys[i])
	if err != nil {
		return nil, fmt.Errorf("agentauth: signing key %s, handle %q: %w", ring.Keys[i].ID, ring.Keys[i].Handle, err)
	}
	slot.key.Store(&key)
	return key, nil
}

// load asks the key store for a key, which must be that of the record.
func (s *SigningKeys) load(ctx context.Context, k ringKey) (keystore.Key, error) {
	key, err := s.keys.Load(ctx, k.Handle)
	if err != nil {
		return nil, err
	}
	public, err := jose.PublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	kid, err := public.Thumbprint()
	if err != nil {
		return nil, err
	}
	if kid != k.ID {
		return nil, errors.New("the key store has another key under the handle: " + kid)
	}
	return key, nil
}

// A contextSigner asks a key with ctx, if the key can be asked so.
type contextSigner struct {
	crypto.Signer
	ctx context.Context
}

func (s contextSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return keystore.Sign(s.ctx, s.Signer, digest, opts)
}

// sign makes a token of claims with the active key.
func (s *SigningKeys) sign(ctx context.Context, typ TokenType, claims any) (string, error) {
	signer, kid, err := s.signer(ctx)
	if err != nil {
		return "", err
	}
	return signToken(signer, kid, typ, claims)
}

func signToken(signer crypto.Signer, kid string, typ TokenType, claims any) (string, error) {
	public, err := jose.PublicKey(signer.Public())
	if err != nil {
		return "", keywright.Wrap(keywright.CodeInternal, err)
	}
	text, err := jose.Sign(signer, jose.Header{Algorithm: algorithmOf(public), KeyID: kid, Type: string(typ)}, claims)
	if err != nil {
		return "", keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return text, nil
}
