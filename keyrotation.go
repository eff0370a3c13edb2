package keywright

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// A Rotation says how one key takes over from another.
type Rotation struct {
	Overlap time.Duration // how long the old key still works, never beyond its own expiry; 0: not at all
	Expires time.Time     // of the new key; zero: that of the old one

	// UntilUsed lets the overlap begin with the first use of the new key. Until
	// then the old one lives on, to its own end, and can be rotated again: that
	// ends the new key, which nobody has used, and another takes its place. So
	// whoever did not get the answer can ask again, however much later.
	UntilUsed bool
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
	spec.FirstUse = r.UntilUsed
	switch {
	case r.Overlap < 0:
		return MintedKey{}, nil, Errorf(CodeInvalidRequest, "a negative overlap")
	case c.Disabled:
		return MintedKey{}, nil, Errorf(CodeConflict, "the key is disabled")
	case c.Successor != "":
		var err error
		if ops, err = k.endUnused(ctx, c, r.UntilUsed); err != nil {
			return MintedKey{}, nil, err
		}
	}
	if !r.Expires.IsZero() {
		spec.Expires = r.Expires
	}
	m, err := k.mint(spec, token.New(k.kinds[spec.Kind]), func(next *credential) {
		if r.UntilUsed {
			next.Predecessor, next.Overlap = c.id, r.Overlap
		}
	})
	if err != nil {
		return MintedKey{}, nil, &Error{Code: CodeInvalidRequest, Detail: "the new key would not be valid", Err: err}
	}
	old, err := c.retire(m.ID, r, k.host.Hooks.Now())
	if err != nil {
		return MintedKey{}, nil, err
	}
	return m, append(ops, m.Op, old), nil
}

// endUnused makes the ops that end a successor which nobody has used. A first
// use that comes between makes the Commit fail.
func (k *Keys) endUnused(ctx context.Context, old *known, mayBe bool) ([]store.Op, error) {
	if !mayBe {
		return nil, Errorf(CodeConflict, "the key has been rotated already")
	}
	id := old.Successor
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: id}, store.Key{Kind: KindKeyFirst, ID: id}, store.Key{Kind: KindKey, ID: old.id})
	switch {
	case err != nil:
		return nil, Wrap(CodeUnavailable, err)
	case records[2].Version != old.version:
		return nil, store.ErrConflict // another rotation was faster, and this one goes back to its key
	}
	successor, first := records[0], records[1]
	if !successor.Exists() || first.Exists() {
		return nil, Errorf(CodeConflict, "the key has been rotated already, and the new one was used or has ended")
	}
	switch c, err := decodeCredential(successor); {
	case err != nil:
		return nil, Wrap(CodeInternal, err)
	case !c.FirstUse:
		return nil, Errorf(CodeConflict, "the key has been rotated already")
	}
	return []store.Op{store.Delete(successor), store.Insert(firstUse(successor))}, nil
}

// retire makes the op by which c gives way to its successor.
func (c *known) retire(successor string, r Rotation, now time.Time) (store.Op, error) {
	if r.Overlap == 0 && !r.UntilUsed {
		return store.Delete(store.Record{Kind: KindKey, ID: c.id, Version: c.version}), nil
	}
	next := c.credential
	next.Successor = successor
	if !r.UntilUsed {
		next.endBy(now.Add(r.Overlap))
	}
	record, err := next.record(c.id, c.version)
	return store.Replace(record), err
}

// endBy lets c end at t, or at its own end before.
func (c *credential) endBy(t time.Time) {
	if c.Expires.IsZero() || t.Before(c.Expires) {
		c.Expires = t
	}
}

// endPredecessor makes the op by which the first use of c ends the key that it
// was rotated from, if that is still there and not rotated to another.
func (k *Keys) endPredecessor(ctx context.Context, c *known, now time.Time) ([]store.Op, error) {
	if c.Predecessor == "" {
		return nil, nil
	}
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: c.Predecessor})
	if err != nil || !records[0].Exists() {
		return nil, err
	}
	old, err := decodeCredential(records[0])
	switch {
	case err != nil || old.Successor != c.id:
		return nil, err
	case c.Overlap == 0:
		return []store.Op{store.Delete(records[0])}, nil
	}
	next := old.credential
	next.endBy(now.Add(c.Overlap))
	record, err := next.record(old.id, old.version)
	return []store.Op{store.Replace(record)}, err
}
