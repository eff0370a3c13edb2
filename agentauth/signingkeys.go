package agentauth

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
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

// A keyRing is the record. It is never changed once it was read.
type keyRing struct {
	Keys []ringKey `json:"keys"`

	version int64
	public  []jose.Key      // of Keys, in their order
	loaded  []keystoreSlot  // of Keys, in their order
	jwks    json.RawMessage // what is published
}

// A keystoreSlot keeps a loaded private key.
type keystoreSlot struct{ key atomic.Pointer[keystore.Key] }

type ringKey struct {
	ID     string          `json:"kid"`
	Handle string          `json:"handle"`
	JWK    json.RawMessage `json:"jwk"`
	State  KeyState        `json:"state"`
	Added  time.Time       `json:"added"`
	Ended  time.Time       `json:"ended,omitzero"`
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
	if known := s.cached.Load(); known != nil && known.version == records[0].Version {
		return known, nil
	}
	ring, err := readRing(records[0])
	if err != nil {
		return nil, err
	}
	s.cached.Store(ring)
	return ring, nil
}

func readRing(r store.Record) (*keyRing, error) {
	ring := &keyRing{version: r.Version, jwks: json.RawMessage(`{"keys":[]}`)}
	if !r.Exists() {
		return ring, nil
	}
	if err := json.Unmarshal(r.Data, ring); err != nil {
		return nil, fmt.Errorf("agentauth: record of signing keys: %w", err)
	}
	ring.loaded = make([]keystoreSlot, len(ring.Keys))
	published := make([]json.RawMessage, len(ring.Keys))
	for i, k := range ring.Keys {
		public, err := jose.ParseJWK(k.JWK)
		if err != nil {
			return nil, fmt.Errorf("agentauth: signing key %s: %w", k.ID, err)
		}
		ring.public = append(ring.public, public)
		if published[i], err = publishedJWK(public, k.ID); err != nil {
			return nil, err
		}
	}
	var err error
	ring.jwks, err = json.Marshal(jwkSet{published})
	return ring, err
}

// algorithmOf is the name of a key's algorithm that has one meaning.
func algorithmOf(k jose.Key) string {
	if k.Algorithm() == "EdDSA" {
		return nameEd25519
	}
	return k.Algorithm()
}

func publishedJWK(k jose.Key, kid string) (json.RawMessage, error) {
	plain, err := jose.MarshalJWK(k.WithKeyID(kid), algorithmOf(k))
	if err != nil {
		return nil, err
	}
	var jwk wireJWK
	if err := json.Unmarshal(plain, &jwk); err != nil {
		return nil, err
	}
	jwk.Use = "sig"
	return json.Marshal(jwk)
}

// Keys implements issuerKeys for tokens of this server's own.
func (s *SigningKeys) Keys(ctx context.Context, kid string) ([]jose.Key, error) {
	ring, err := s.ring(ctx)
	if err != nil {
		return nil, err
	}
	if i := ring.index(kid); i >= 0 {
		return ring.public[i : i+1 : i+1], nil
	}
	return nil, errors.New("agentauth: no signing key of this id")
}

// Newer says that there are none: Keys always asks the store.
func (s *SigningKeys) Newer(context.Context, string, []jose.Key) []jose.Key { return nil }

func (r *keyRing) index(kid string) int {
	return slices.IndexFunc(r.Keys, func(k ringKey) bool { return k.ID == kid })
}

func (r *keyRing) active() int {
	return slices.IndexFunc(r.Keys, func(k ringKey) bool { return k.State == KeyActive })
}

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
	slot := &ring.loaded[i].key
	if key := slot.Load(); key != nil {
		return withContext(ctx, *key), ring.Keys[i].ID, nil
	}
	key, err := s.load(ctx, ring, i)
	if err != nil {
		return nil, "", keywright.Wrap(keywright.CodeUnavailable, err)
	}
	slot.Store(&key)
	return withContext(ctx, key), ring.Keys[i].ID, nil
}

// load returns a private key, which must be that of the record.
func (s *SigningKeys) load(ctx context.Context, ring *keyRing, i int) (keystore.Key, error) {
	key, err := s.keys.Load(ctx, ring.Keys[i].Handle)
	if err != nil {
		return nil, fmt.Errorf("agentauth: signing key %s: %w", ring.Keys[i].ID, err)
	}
	public, err := jose.PublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("agentauth: signing key %s: %w", ring.Keys[i].ID, err)
	}
	has, err1 := public.Thumbprint()
	wants, err2 := ring.public[i].Thumbprint()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if has != wants {
		return nil, fmt.Errorf("agentauth: signing key %s: the key store has another under handle %s", ring.Keys[i].ID, ring.Keys[i].Handle)
	}
	return key, nil
}

// withContext is a signer that asks key with ctx, where key can be asked so.
func withContext(ctx context.Context, key keystore.Key) crypto.Signer { return contextSigner{key, ctx} }

type contextSigner struct {
	keystore.Key
	ctx context.Context
}

func (s contextSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k, ok := s.Key.(interface {
		SignContext(ctx context.Context, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	}); ok {
		return k.SignContext(s.ctx, random, digest, opts)
	}
	return s.Key.Sign(random, digest, opts)
}

// sign makes a token of claims with the active key.
func (s *SigningKeys) sign(ctx context.Context, typ TokenType, claims any) (string, error) {
	signer, kid, err := s.signer(ctx)
	if err != nil {
		return "", err
	}
	alg := nameES256
	if public, err := jose.PublicKey(signer.Public()); err == nil {
		alg = algorithmOf(public)
	}
	text, err := jose.Sign(signer, jose.Header{Algorithm: alg, KeyID: kid, Type: string(typ)}, claims)
	if err != nil {
		return "", keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return text, nil
}

// change writes what edit makes of the record.
func (s *SigningKeys) change(ctx context.Context, e keywright.Event, edit func(keys []ringKey, now time.Time) ([]ringKey, error)) error {
	return endpoint.Retry(func() error {
		ring, err := s.ring(ctx)
		if err != nil {
			return err
		}
		now := s.host.Hooks.Now().UTC().Truncate(time.Second)
		keys, err := edit(slices.Clone(ring.Keys), now)
		if err != nil || slices.EqualFunc(keys, ring.Keys, sameRingKey) {
			return err
		}
		data, err := json.Marshal(keyRing{Keys: keys})
		if err != nil {
			return err
		}
		record := store.Record{Kind: KindSigningKeys, ID: s.storeKey().ID, Version: ring.version, Data: data}
		if ring.version == 0 {
			return s.host.Commit(ctx, e, store.Insert(record))
		}
		return s.host.Commit(ctx, e, store.Replace(record))
	})
}

func sameRingKey(a, b ringKey) bool {
	return a.ID == b.ID && a.State == b.State && a.Handle == b.Handle
}
