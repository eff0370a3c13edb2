package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// A keyRing is the record of [SigningKeys]. It is never changed once it was read.
type keyRing struct {
	Keys []ringKey `json:"keys"`

	version int64
	public  []jose.Key      // of Keys, in their order
	slots   []*keySlot      // of Keys, in their order
	jwks    json.RawMessage // what is published
}

type ringKey struct {
	ID     string          `json:"kid"` // the thumbprint
	Handle string          `json:"handle"`
	JWK    json.RawMessage `json:"jwk"`
	State  KeyState        `json:"state"`
	Added  time.Time       `json:"added"`
	Ended  time.Time       `json:"ended,omitzero"`
}

// A keySlot keeps a private key once it was loaded, from one record to the next.
// Who loads it holds the gate.
type keySlot struct {
	key  atomic.Pointer[keystore.Key]
	gate chan struct{} // of capacity 1
}

// readRing reads a record. What it has in common with known keeps its slots.
func readRing(r store.Record, known *keyRing) (*keyRing, error) {
	ring := &keyRing{version: r.Version, jwks: json.RawMessage(`{"keys":[]}`)}
	if !r.Exists() {
		return ring, nil
	}
	if err := json.Unmarshal(r.Data, ring); err != nil {
		return nil, fmt.Errorf("agentauth: record of signing keys: %w", err)
	}
	published := make([]json.RawMessage, len(ring.Keys))
	for i, k := range ring.Keys {
		public, err := jose.ParseJWK(k.JWK)
		if err != nil {
			return nil, fmt.Errorf("agentauth: signing key %s: %w", k.ID, err)
		}
		if published[i], err = publishedJWK(public, k.ID); err != nil {
			return nil, err
		}
		ring.public = append(ring.public, public)
		ring.slots = append(ring.slots, known.slot(k))
	}
	var err error
	ring.jwks, err = json.Marshal(jwkSet{published})
	return ring, err
}

// slot returns that of a key, or a new one.
func (r *keyRing) slot(k ringKey) *keySlot {
	if r != nil {
		if i := r.index(k.ID); i >= 0 && r.Keys[i].Handle == k.Handle {
			return r.slots[i]
		}
	}
	return &keySlot{gate: make(chan struct{}, 1)}
}

func (r *keyRing) index(kid string) int {
	return slices.IndexFunc(r.Keys, func(k ringKey) bool { return k.ID == kid })
}

func (r *keyRing) active() int {
	return slices.IndexFunc(r.Keys, func(k ringKey) bool { return k.State == KeyActive })
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

// change writes what edit makes of the record. edit may be asked again.
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

// wasRefused reports whether err says that a change was not written. After other
// errors it may have been.
func wasRefused(err error) bool {
	if _, ok := errors.AsType[*store.OpError](err); ok {
		return true
	}
	e, ok := errors.AsType[*keywright.Error](err)
	return ok && e.Code != keywright.CodeUnavailable
}
