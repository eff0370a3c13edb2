package keywright

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// Why a key is refused: for the audit, never for the caller.
var (
	errUnknownKey  = errors.New("no such key")
	errWrongSecret = errors.New("wrong secret for this key id")
	errNotValid    = errors.New("key is disabled or has expired")
	errNoParent    = errors.New("a parent of the key is disabled or gone")
)

// Check describes the key with the given text, if it would be accepted now.
// Otherwise the error is an [*Error] of CodeInvalidToken, or of another code
// where that could not be found out. It is no use of the key.
func (k *Keys) Check(ctx context.Context, text string) (KeyInfo, error) {
	c, err := k.recognise(ctx, text)
	if err != nil {
		return KeyInfo{}, err
	}
	return c.info(), nil
}

// Find is like Check, and also describes a key that is not accepted because it,
// or what it hangs on, is disabled: whoever has it may still give it back.
func (k *Keys) Find(ctx context.Context, text string) (KeyInfo, error) {
	c, err := k.recognise(ctx, text)
	if c == nil || err != nil && AsError(err).Code != CodeInvalidToken {
		return KeyInfo{}, err
	}
	return c.info(), nil
}

// recognise finds the credential that text proves, as verify does.
func (k *Keys) recognise(ctx context.Context, text string) (*known, error) {
	key, err := k.parse(text)
	if err == ErrNoCredential {
		key, err = k.findImported(ctx, text)
	}
	switch {
	case err == ErrNoCredential:
		return nil, k.invalid(err)
	case err != nil:
		return nil, err
	}
	return k.verify(ctx, key)
}

// Proves reports whether text is the key that r makes, where r is the Record
// of a [MintedKey]'s Op, committed or not. It asks no store, and does not
// consider whether the key has expired, is disabled or hangs on a parent. A
// malformed text proves nothing, and neither does that of an imported key. An r
// that is no key is an [*Error] of CodeInternal; CodeUnavailable means that ctx
// ended while a slow hash waited for its turn.
func (k *Keys) Proves(ctx context.Context, r store.Record, text string) (bool, error) {
	key, err := k.parse(text)
	if err != nil || r.ID != key.ID {
		return false, nil
	}
	if r.Kind != KindKey {
		return false, Wrap(CodeInternal, fmt.Errorf("keywright: a record of kind %q is no key", r.Kind))
	}
	c, err := decodeCredential(r)
	if err != nil {
		return false, Wrap(CodeInternal, err)
	}
	if !k.fits(c, key) {
		return false, nil
	}
	match, err := k.matches(ctx, c, text)
	if err != nil {
		return false, Wrap(CodeUnavailable, err)
	}
	return match, nil
}

// Standing returns ops that fail with [store.ErrConflict] unless the key with the
// given public id is accepted when they are committed, for a Commit that is to go
// by a key that was authenticated before. Of a key that is not accepted any more
// the error is that of [Keys.Check].
func (k *Keys) Standing(ctx context.Context, id string) ([]store.Op, error) {
	if !token.ValidID(id) {
		return nil, k.invalid(errUnknownKey)
	}
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: id})
	switch {
	case err != nil:
		return nil, Wrap(CodeUnavailable, err)
	case !records[0].Exists():
		return nil, k.invalid(fmt.Errorf("%w: %s", errUnknownKey, id))
	}
	c, err := decodeCredential(records[0])
	switch {
	case err != nil:
		return nil, Wrap(CodeInternal, err)
	case !c.validAt(k.host.Hooks.Now()):
		return nil, k.invalid(fmt.Errorf("%w: %s", errNotValid, id))
	}
	ops := []store.Op{store.Check(records[0])}
	parents, err := k.host.Store.Get(ctx, parentKeys(c.Parents)...)
	if err != nil {
		return nil, Wrap(CodeUnavailable, err)
	}
	if err := k.checkParents(c, parents); err != nil {
		return nil, err
	}
	for _, r := range parents {
		ops = append(ops, store.Check(r))
	}
	return ops, nil
}

// verify finds the credential that key proves. It may come with an error: that
// it is suspended or at its end.
func (k *Keys) verify(ctx context.Context, key token.Key) (*known, error) {
	c := k.known.get(key.ID)
	for range maxTries {
		records, err := k.read(ctx, key.ID, c)
		switch {
		case err != nil:
			return nil, Wrap(CodeUnavailable, err)
		case !records[0].Exists():
			return nil, k.invalid(fmt.Errorf("%w: %s", errUnknownKey, key.ID))
		}
		fresh := c == nil || c.version != records[0].Version
		if fresh {
			if c, err = decodeCredential(records[0]); err != nil {
				return nil, Wrap(CodeInternal, err)
			}
		}
		now := k.host.Hooks.Now()
		if c.Hash.Method == token.Bcrypt && !c.validAt(now) {
			return nil, k.invalid(fmt.Errorf("%w: %s", errNotValid, key.ID)) // not worth its time
		}
		switch match, err := k.matches(ctx, c, key.Text); {
		case err != nil:
			return nil, Wrap(CodeUnavailable, err)
		case !match || !k.fits(c, key):
			return nil, k.invalid(fmt.Errorf("%w: %s", errWrongSecret, key.ID))
		}
		if fresh {
			// Only now is it known which other records to ask for.
			c = k.known.put(c)
			continue
		}
		if !c.validAt(now) {
			return c, k.invalid(fmt.Errorf("%w: %s", errNotValid, key.ID))
		}
		return c, k.checkParents(c, records[1:])
	}
	return nil, Wrap(CodeUnavailable, fmt.Errorf("key %s changed during each of %d reads", key.ID, maxTries))
}

// fits reports whether key looks like the keys of c's kind do. An imported one
// has no prefix that would tell.
func (k *Keys) fits(c *known, key token.Key) bool {
	if c.Imported != "" {
		return key.Prefix == "" && k.Has(c.Kind)
	}
	return c.Kind == k.byName[key.Prefix]
}

// read gets the key's record and, when c says what they are, its parents and
// its first use, in this order and one round trip.
func (k *Keys) read(ctx context.Context, id string, c *known) ([]store.Record, error) {
	var room [2 + maxParents]store.Key
	keys := append(room[:0], store.Key{Kind: KindKey, ID: id})
	first := false
	if c != nil {
		for _, p := range c.Parents {
			keys = append(keys, p.Key)
		}
		if first = c.FirstUse && !c.firstUsed.Load(); first {
			keys = append(keys, store.Key{Kind: KindKeyFirst, ID: id})
		}
	}
	records, err := k.host.Store.Get(ctx, keys...)
	if err == nil && first && records[len(records)-1].Exists() {
		c.firstUsed.Store(true)
	}
	return records, err
}

// checkParents looks at the parents' records, of which records begins with one each.
func (k *Keys) checkParents(c *known, records []store.Record) error {
	for i := range c.Parents {
		if err := k.checkParent(c, i, records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keys) checkParent(c *known, i int, parent store.Record) error {
	if parent.Exists() && c.parents[i].Load() == parent.Version {
		return nil
	}
	var state parentState
	if parent.Exists() {
		if err := json.Unmarshal(parent.Data, &state); err != nil {
			return Wrap(CodeInternal, fmt.Errorf("keywright: parent of key %s: %w", c.id, err))
		}
	}
	if want := c.Parents[i].Instance; !parent.Exists() || state.Disabled || want != "" && state.Instance != want {
		return k.invalid(fmt.Errorf("%w: %s", errNoParent, c.id))
	}
	c.parents[i].Store(parent.Version)
	return nil
}

// matches compares text with the stored hash. What a slow hash has accepted is
// remembered by its SHA-256, so that it costs its time once per process; and
// only some are computed at one time, so that guesses leave room for others.
func (k *Keys) matches(ctx context.Context, c *known, text string) (bool, error) {
	if c.Hash.Method != token.Bcrypt {
		return k.hasher.Match(c.Hash, text), nil
	}
	sum := sha256.Sum256([]byte(text))
	if seen := c.slow.Load(); seen != nil && subtle.ConstantTimeCompare(seen[:], sum[:]) == 1 {
		return true, nil
	}
	select {
	case k.slow <- struct{}{}:
		defer func() { <-k.slow }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if !k.hasher.Match(c.Hash, text) {
		return false, nil
	}
	c.slow.Store(&sum)
	return true, nil
}
