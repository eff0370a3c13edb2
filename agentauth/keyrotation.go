package agentauth

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
)

// Sync makes sure that there is a key to sign with, and generates one if there is
// none, for which the key store must be a [keystore.Generator]. Call it when the
// server starts; any number of replicas may at once.
func (s *SigningKeys) Sync(ctx context.Context) error {
	ring, err := s.ring(ctx)
	if err != nil {
		return err
	}
	if i := ring.active(); i >= 0 {
		_, err := s.load(ctx, ring, i)
		return err
	}
	key, err := s.generate(ctx)
	if err != nil {
		return err
	}
	added := false
	err = s.change(ctx, keywright.Event{Name: "agent.signing_key_added", Target: key.Handle()}, func(keys []ringKey, now time.Time) ([]ringKey, error) {
		if added = len(keys) == 0; !added {
			return keys, nil // another replica was faster
		}
		k, err := newRingKey(key, KeyActive, now)
		return []ringKey{k}, err
	})
	if d, ok := s.keys.(keystore.Deleter); ok && (err != nil || !added) {
		err = errors.Join(err, d.Delete(ctx, key.Handle()))
	}
	return err
}

func (s *SigningKeys) generate(ctx context.Context) (keystore.Key, error) {
	g, ok := s.keys.(keystore.Generator)
	if !ok {
		return nil, errors.New("agentauth: the key store generates no keys: make one and call SigningKeys.Add")
	}
	return g.Generate(ctx, keystore.KeyOptions{})
}

func newRingKey(key keystore.Key, state KeyState, now time.Time) (ringKey, error) {
	public, err := jose.PublicKey(key.Public())
	if err != nil {
		return ringKey{}, err
	}
	if public.Algorithm() != "EdDSA" && public.Algorithm() != nameES256 {
		return ringKey{}, errors.New("agentauth: signing key: want Ed25519 or P-256")
	}
	kid, err := public.Thumbprint()
	if err != nil {
		return ringKey{}, err
	}
	jwk, err := jose.MarshalJWK(public, algorithmOf(public))
	return ringKey{ID: kid, Handle: key.Handle(), JWK: jwk, State: state, Added: now}, err
}

// Add publishes another key, which signs once it is made active. handle names it
// in the key store; with "" one is generated. Without any key before it, it is
// active at once. It returns the key's id, which is its thumbprint.
func (s *SigningKeys) Add(ctx context.Context, actor keywright.Principal, handle string) (kid string, err error) {
	var key keystore.Key
	if handle == "" {
		key, err = s.generate(ctx)
	} else {
		key, err = s.keys.Load(ctx, handle)
	}
	if err != nil {
		return "", err
	}
	made, err := newRingKey(key, KeyNext, time.Time{})
	if err != nil {
		return "", err
	}
	return made.ID, s.change(ctx, keywright.Event{Name: "agent.signing_key_added", Actor: actor.Credential, Target: made.ID}, func(keys []ringKey, now time.Time) ([]ringKey, error) {
		k := made
		k.Added = now
		switch {
		case len(keys) == 0:
			k.State = KeyActive
		case slices.ContainsFunc(keys, func(o ringKey) bool { return o.ID == k.ID }):
			return nil, keywright.Errorf(keywright.CodeConflict, "the key is published already")
		case len(keys) >= jose.MaxKeys/2:
			return nil, keywright.Errorf(keywright.CodeConflict, "too many keys: remove one first")
		}
		return append(keys, k), nil
	})
}

// Activate makes a key the one that signs, and retires the one before it. It is
// [keywright.CodeConflict] until the key has been published for [PublishedFor],
// so that nobody is shown tokens by a key that they have not seen.
func (s *SigningKeys) Activate(ctx context.Context, actor keywright.Principal, kid string) error {
	return s.change(ctx, keywright.Event{Name: "agent.signing_key_activated", Actor: actor.Credential, Target: kid}, func(keys []ringKey, now time.Time) ([]ringKey, error) {
		i := slices.IndexFunc(keys, func(k ringKey) bool { return k.ID == kid })
		switch {
		case i < 0:
			return nil, noSigningKey()
		case keys[i].State == KeyActive:
			return keys, nil
		case now.Before(keys[i].Added.Add(PublishedFor)):
			return nil, keywright.Errorf(keywright.CodeConflict, "the key has been published for less than %v", PublishedFor)
		}
		for j := range keys {
			if keys[j].State == KeyActive {
				keys[j].State, keys[j].Ended = KeyRetired, now
			}
		}
		keys[i].State, keys[i].Ended = KeyActive, time.Time{}
		return keys, nil
	})
}

// Retire takes a key out of what is published. It is [keywright.CodeConflict] for
// the active key, and for one that has signed within a day: tokens of it may
// live. With now, the key is withdrawn although they do, and they end: for keys
// that others have got hold of.
func (s *SigningKeys) Retire(ctx context.Context, actor keywright.Principal, kid string, now bool) error {
	return s.change(ctx, keywright.Event{Name: "agent.signing_key_retired", Actor: actor.Credential, Target: kid}, func(keys []ringKey, at time.Time) ([]ringKey, error) {
		i := slices.IndexFunc(keys, func(k ringKey) bool { return k.ID == kid })
		switch {
		case i < 0:
			return nil, noSigningKey()
		case keys[i].State == KeyActive:
			return nil, keywright.Errorf(keywright.CodeConflict, "the key is active: activate another first")
		case keys[i].State == KeyRetired && !now && at.Before(keys[i].Ended.Add(maxAgentLife)):
			return nil, keywright.Errorf(keywright.CodeConflict, "tokens of the key may live until %s", keys[i].Ended.Add(maxAgentLife).Format(time.RFC3339))
		}
		return slices.Delete(keys, i, i+1), nil
	})
}

func noSigningKey() error {
	return keywright.Errorf(keywright.CodeNotFound, "no signing key of this id")
}

// List returns the published keys.
func (s *SigningKeys) List(ctx context.Context) ([]SigningKey, error) {
	ring, err := s.ring(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]SigningKey, len(ring.Keys))
	for i, k := range ring.Keys {
		list[i] = SigningKey{ID: k.ID, Handle: k.Handle, State: k.State, Added: k.Added, Ended: k.Ended}
	}
	return list, nil
}
