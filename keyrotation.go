package keywright

import (
	"context"
	"time"

	"github.com/keywright/keywright/store"
)

// A Rotation says how one key takes over from another.
type Rotation struct {
	Overlap time.Duration // how long the old key still works, never beyond its own expiry; 0: not at all
	Expires time.Time     // of the new key; zero: that of the old one

	// FirstUse is for the new key what [KeySpec] says. Repeat rotates a key
	// again that was rotated, if its successor is known not to have been used:
	// that one ends, and another takes its place. So whoever did not get the
	// answer can ask again.
	FirstUse, Repeat bool
}

// Rotate issues a key that stands for the same as the one with the given id,
// which stops working after the overlap. A key is rotated once: then its
// successor is. A disabled key is not rotated.
func (k *Keys) Rotate(ctx context.Context, actor Principal, id string, r Rotation) (MintedKey, error) {
	var m MintedKey
	err := k.change(ctx, id, func(c *known) (Event, []store.Op, error) {
		var ops []store.Op
		var err error
		if m, ops, err = k.succeed(ctx, c, r); err != nil {
			return Event{}, nil, err
		}
		ops, err = k.withParents(ctx, c.Parents, ops...)
		return Event{Name: "key.rotated", Actor: actor.Credential, Target: id, Attrs: map[string]string{"successor": m.ID}}, ops, err
	})
	if err != nil {
		return MintedKey{}, err
	}
	return m, nil
}

// Succeed returns the ops of Rotate, the new key's among them, for a caller
// that has more to commit with them. It leaves the parents to the caller.
func (k *Keys) Succeed(ctx context.Context, id string, r Rotation) (m MintedKey, ops []store.Op, err error) {
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: id})
	switch {
	case err != nil:
		return MintedKey{}, nil, Wrap(CodeUnavailable, err)
	case !records[0].Exists():
		return MintedKey{}, nil, &Error{Code: CodeNotFound}
	}
	c, err := decodeCredential(records[0])
	if err != nil {
		return MintedKey{}, nil, Wrap(CodeInternal, err)
	}
	return k.succeed(ctx, c, r)
}

func (k *Keys) succeed(ctx context.Context, c *known, r Rotation) (MintedKey, []store.Op, error) {
	var ops []store.Op
	spec := c.spec()
	spec.FirstUse = r.FirstUse
	switch {
	case r.Overlap < 0:
		return MintedKey{}, nil, Errorf(CodeInvalidRequest, "a negative overlap")
	case c.Disabled:
		return MintedKey{}, nil, Errorf(CodeConflict, "the key is disabled")
	case c.Successor != "":
		// c itself ends with the overlap by now.
		unused, err := k.unused(ctx, c.Successor, r.Repeat)
		if err != nil {
			return MintedKey{}, nil, err
		}
		spec.Expires = unused.Expires
		ops = append(ops, store.Delete(unused))
	}
	if !r.Expires.IsZero() {
		spec.Expires = r.Expires
	}
	m, err := k.Mint(spec)
	if err != nil {
		return MintedKey{}, nil, &Error{Code: CodeInvalidRequest, Detail: "the new key would not be valid", Err: err}
	}
	old, err := c.retire(m.ID, r.Overlap, k.host.Hooks.Now())
	if err != nil {
		return MintedKey{}, nil, err
	}
	return m, append(ops, m.Op, old), nil
}

// unused returns the record of a successor, if it may be replaced.
func (k *Keys) unused(ctx context.Context, id string, repeat bool) (store.Record, error) {
	if !repeat {
		return store.Record{}, Errorf(CodeConflict, "the key has been rotated already")
	}
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: id}, store.Key{Kind: KindKeyFirst, ID: id})
	if err != nil {
		return store.Record{}, Wrap(CodeUnavailable, err)
	}
	successor, first := records[0], records[1]
	if !successor.Exists() || first.Exists() {
		return store.Record{}, Errorf(CodeConflict, "the key has been rotated already, and the new one was used or has ended")
	}
	switch c, err := decodeCredential(successor); {
	case err != nil:
		return store.Record{}, Wrap(CodeInternal, err)
	case !c.FirstUse:
		return store.Record{}, Errorf(CodeConflict, "the key has been rotated already")
	}
	return successor, nil
}

// retire makes the op that ends c after the overlap.
func (c *known) retire(successor string, overlap time.Duration, now time.Time) (store.Op, error) {
	if overlap == 0 {
		return store.Delete(store.Record{Kind: KindKey, ID: c.id, Version: c.version}), nil
	}
	next := c.credential
	next.Successor = successor
	if end := now.Add(overlap); next.Expires.IsZero() || end.Before(next.Expires) {
		next.Expires = end
	}
	record, err := next.record(c.id, c.version)
	return store.Replace(record), err
}
