package agentauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
)

// maxSigningKeys leaves others, who read at most twice as many, room.
const maxSigningKeys = jose.MaxKeys / 2

// Sync makes sure that there is a key to sign with, and generates one if none was
// ever added, for which the key store must be a [keystore.Generator]. It fails if
// the key store cannot load the key. Call it when the server starts; any number of
// replicas may at once.
func (s *SigningKeys) Sync(ctx context.Context) error {
	ring, err := s.ring(ctx)
	if err != nil {
		return err
	}
	if len(ring.Keys) == 0 {
		if _, err := s.addNew(ctx, keywright.Principal{}, true); err != nil {
			return err
		}
	}
	_, _, err = s.signer(ctx)
	return err
}

// addNew generates a key and publishes it; as the first, only if there is no other.
func (s *SigningKeys) addNew(ctx context.Context, actor keywright.Principal, first bool) (kid string, err error) {
	key, made, err := s.generate(ctx)
	if err != nil {
		return "", err
	}
	added := false
	err = s.change(ctx, addedEvent(made, actor), func(keys []ringKey, now time.Time) ([]ringKey, error) {
		// The answer to a write that succeeded may have been lost.
		added = slices.ContainsFunc(keys, made.is)
		if added || first && len(keys) > 0 {
			return keys, nil
		}
		keys, err := appendKey(keys, made, now)
		added = err == nil
		return keys, err
	})
	if !added || wasRefused(err) {
		err = errors.Join(err, s.discard(ctx, key))
	}
	return made.ID, err
}

// generate makes an Ed25519 key or, where the key store has none, one of P-256.
func (s *SigningKeys) generate(ctx context.Context) (keystore.Key, ringKey, error) {
	g, ok := s.keys.(keystore.Generator)
	if !ok {
		return nil, ringKey{}, errors.New("agentauth: the key store generates no keys: make one and call SigningKeys.Add")
	}
	key, err := g.Generate(ctx, keystore.KeyOptions{})
	if errors.Is(err, keystore.ErrUnsupportedKey) {
		key, err = g.Generate(ctx, keystore.KeyOptions{Algorithm: keystore.ES256})
	}
	if err != nil {
		return nil, ringKey{}, fmt.Errorf("agentauth: generate a signing key: %w", err)
	}
	made, err := newRingKey(key)
	if err != nil {
		return nil, ringKey{}, errors.Join(err, s.discard(ctx, key))
	}
	return key, made, nil
}

// discard deletes a key that was generated in vain, even if ctx is done.
func (s *SigningKeys) discard(ctx context.Context, key keystore.Key) error {
	if d, ok := s.keys.(keystore.Deleter); ok {
		return d.Delete(context.WithoutCancel(ctx), key.Handle())
	}
	return nil
}

func newRingKey(key keystore.Key) (ringKey, error) {
	public, err := jose.PublicKey(key.Public())
	if err != nil {
		return ringKey{}, fmt.Errorf("agentauth: signing key: %w", err)
	}
	if public.Algorithm() != "EdDSA" && public.Algorithm() != nameES256 {
		return ringKey{}, errors.New("agentauth: signing key: want Ed25519 or P-256")
	}
	kid, err := public.Thumbprint()
	if err != nil {
		return ringKey{}, err
	}
	jwk, err := jose.MarshalJWK(public, algorithmOf(public))
	return ringKey{ID: kid, Handle: key.Handle(), JWK: jwk}, err
}

func (k ringKey) is(other ringKey) bool { return k.ID == other.ID }

func (k ringKey) as(state KeyState, added time.Time) ringKey {
	k.State, k.Added = state, added
	return k
}

func addedEvent(k ringKey, actor keywright.Principal) keywright.Event {
	return keywright.Event{Name: "agent.signing_key_added", Actor: actor.Credential, Target: k.ID, Attrs: map[string]string{"handle": k.Handle}}
}

// Add publishes another key, which signs once it is made active. handle names it
// in the key store; with "" one is generated. Without any key before it, it is
// active at once. It returns the key's id, which is its thumbprint. It is
// [keywright.CodeNotFound] for a handle that the key store does not know, and
// [keywright.CodeConflict] for a key that is published already, under a handle
// that another has, and beyond 50 keys.
func (s *SigningKeys) Add(ctx context.Context, actor keywright.Principal, handle string) (kid string, err error) {
	if handle == "" {
		return s.addNew(ctx, actor, false)
	}
	key, err := s.keys.Load(ctx, handle)
	if err != nil {
		return "", loadError(fmt.Errorf("agentauth: signing key, handle %q: %w", handle, err))
	}
	made, err := newRingKey(key)
	if err != nil {
		return "", err
	}
	return made.ID, s.change(ctx, addedEvent(made, actor), func(keys []ringKey, now time.Time) ([]ringKey, error) {
		return appendKey(keys, made, now)
	})
}

// loadError tells who names a key that is not there from trouble of the key store.
func loadError(err error) error {
	if errors.Is(err, keystore.ErrKeyNotFound) || errors.Is(err, keystore.ErrInvalidHandle) {
		return &keywright.Error{Code: keywright.CodeNotFound, Detail: "handle: the key store has no such key", Err: err}
	}
	return keywright.Wrap(keywright.CodeUnavailable, err)
}

func appendKey(keys []ringKey, made ringKey, now time.Time) ([]ringKey, error) {
	switch {
	case len(keys) == 0:
		return []ringKey{made.as(KeyActive, now)}, nil
	case slices.ContainsFunc(keys, made.is):
		return nil, keywright.Errorf(keywright.CodeConflict, "the key is published already")
	case slices.ContainsFunc(keys, func(k ringKey) bool { return k.Handle == made.Handle }):
		return nil, keywright.Errorf(keywright.CodeConflict, "another key of this handle is published")
	case len(keys) >= maxSigningKeys:
		return nil, keywright.Errorf(keywright.CodeConflict, "too many keys: retire one first")
	}
	return append(keys, made.as(KeyNext, now)), nil
}

// Activate makes a key the one that signs, and retires the one before it. It is
// [keywright.CodeConflict] until the key has been published for [PublishedFor],
// so that nobody is shown tokens by a key that they have not seen. The key store
// must be able to load the key.
func (s *SigningKeys) Activate(ctx context.Context, actor keywright.Principal, kid string) error {
	return s.activate(ctx, actor, kid, false)
}

// ActivateNow is Activate without the wait, for when the active key is known to
// others. They look for new keys once a minute at most, and refuse our tokens
// until they have.
func (s *SigningKeys) ActivateNow(ctx context.Context, actor keywright.Principal, kid string) error {
	return s.activate(ctx, actor, kid, true)
}

func (s *SigningKeys) activate(ctx context.Context, actor keywright.Principal, kid string, now bool) error {
	if err := s.canSign(ctx, kid); err != nil {
		return err
	}
	e := keywright.Event{Name: "agent.signing_key_activated", Actor: actor.Credential, Target: kid, Attrs: map[string]string{"now": strconv.FormatBool(now)}}
	return s.change(ctx, e, func(keys []ringKey, at time.Time) ([]ringKey, error) {
		i := slices.IndexFunc(keys, func(k ringKey) bool { return k.ID == kid })
		switch {
		case i < 0:
			return nil, noSigningKey()
		case keys[i].State == KeyActive:
			return keys, nil
		case !now && at.Before(keys[i].Added.Add(PublishedFor)):
			return nil, keywright.Errorf(keywright.CodeConflict, "the key has been published for less than %v", PublishedFor)
		}
		for j := range keys {
			if keys[j].State == KeyActive {
				keys[j].State, keys[j].Ended = KeyRetired, at
			}
		}
		keys[i].State, keys[i].Ended = KeyActive, time.Time{}
		return keys, nil
	})
}

// canSign wants a key to be there before others rely on it.
func (s *SigningKeys) canSign(ctx context.Context, kid string) error {
	ring, err := s.ring(ctx)
	if err != nil {
		return err
	}
	i := ring.index(kid)
	if i < 0 {
		return noSigningKey()
	}
	if _, err := s.private(ctx, ring, i); err != nil {
		return keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return nil
}

// Retire takes a key out of what is published. It is [keywright.CodeConflict] for
// the active key, and for one that has signed within a day: tokens of it may
// live. The private key stays in the key store.
func (s *SigningKeys) Retire(ctx context.Context, actor keywright.Principal, kid string) error {
	return s.retire(ctx, actor, kid, false)
}

// Withdraw is Retire of a key that is known to others, although tokens of it live.
// They end: here at once, and elsewhere when others look again, which they put
// off for as long as a day while they cannot reach us.
func (s *SigningKeys) Withdraw(ctx context.Context, actor keywright.Principal, kid string) error {
	return s.retire(ctx, actor, kid, true)
}

func (s *SigningKeys) retire(ctx context.Context, actor keywright.Principal, kid string, now bool) error {
	e := keywright.Event{Name: "agent.signing_key_retired", Actor: actor.Credential, Target: kid, Attrs: map[string]string{"now": strconv.FormatBool(now)}}
	return s.change(ctx, e, func(keys []ringKey, at time.Time) ([]ringKey, error) {
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
