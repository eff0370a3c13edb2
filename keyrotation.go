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
}

// Rotate issues a key that stands for the same as the one with the given id,
// which stops working after the overlap. A key is rotated once: then its
// successor is. A disabled key is not rotated.
func (k *Keys) Rotate(ctx context.Context, actor Principal, id string, r Rotation) (MintedKey, error) {
	if r.Overlap < 0 {
		return MintedKey{}, Errorf(CodeInvalidRequest, "a negative overlap")
	}
	var m MintedKey
	err := k.change(ctx, id, func(c *known) (Event, []store.Op, error) {
		switch {
		case c.Successor != "":
			return Event{}, nil, Errorf(CodeConflict, "the key has been rotated already")
		case c.Disabled:
			return Event{}, nil, Errorf(CodeConflict, "the key is disabled")
		}
		spec := c.spec()
		spec.FirstUse = false
		if !r.Expires.IsZero() {
			spec.Expires = r.Expires
		}
		var err error
		if m, err = k.Mint(spec); err != nil {
			return Event{}, nil, &Error{Code: CodeInvalidRequest, Detail: "the new key would not be valid", Err: err}
		}
		old, err := c.retire(m.ID, r.Overlap, k.host.Hooks.Now())
		if err != nil {
			return Event{}, nil, err
		}
		ops, err := k.withParents(ctx, spec.Parents, m.Op, old)
		return Event{Name: "key.rotated", Actor: actor.Credential, Target: id, Attrs: map[string]string{"successor": m.ID}}, ops, err
	})
	if err != nil {
		return MintedKey{}, err
	}
	return m, nil
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
