package keywright

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// maxTries is how often a change is tried when others change the same record.
const maxTries = 3

// maxParents is how many records a key may hang on.
const maxParents = 4

// A MintedKey is a new key. Text is its only copy: show it once and drop it.
type MintedKey struct {
	ID   string   // public
	Text string   // secret
	Op   store.Op // makes the key exist; a part of the caller's one Commit
}

// String names the key without its secret.
func (m MintedKey) String() string { return "key " + m.ID }

// Format keeps the secret out of errors, whichever verb prints it.
func (m MintedKey) Format(s fmt.State, _ rune) { io.WriteString(s, m.String()) }

// MarshalText keeps the secret out of logs and JSON: to hand it out, write Text.
func (m MintedKey) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Has reports whether kind is one of HostConfig.Kinds.
func (k *Keys) Has(kind string) bool { return k.kinds[kind] != "" }

// Prefix returns how keys of kind begin, with the underscore before the public
// id; empty where kind is none of HostConfig.Kinds.
func (k *Keys) Prefix(kind string) string {
	if !k.Has(kind) {
		return ""
	}
	return k.kinds[kind] + "_"
}

// Mint makes a key that does not exist until its Op is committed: by
// [Host.Commit], together with whatever else must be true at once. Where spec
// names Parents that exist already, add a [store.Check] of each. A spec that
// cannot be is an [*Error] of CodeInvalidRequest.
func (k *Keys) Mint(spec KeySpec) (MintedKey, error) {
	return k.mint(spec, token.New(k.kinds[spec.Kind]))
}

// NewKeyID makes a random public id, for Derive.
func NewKeyID() string { return token.NewID() }

// Derive makes the text of a key that follows from id and at least 36 bytes of
// secret entropy, so that it can be made again.
func (k *Keys) Derive(kind, id string, entropy []byte) (text string, err error) {
	switch {
	case !k.Has(kind):
		return "", fmt.Errorf("keywright: kind of key %q is not configured", kind)
	case !token.ValidID(id) || len(entropy) < token.SecretEntropy:
		return "", errors.New("keywright: derive key: want a key id and 36 bytes")
	}
	return token.FromEntropy(k.kinds[kind], id, entropy).Text, nil
}

// MintDerived is like Mint for the text that Derive has made for spec.Kind.
func (k *Keys) MintDerived(spec KeySpec, text string) (MintedKey, error) {
	key, err := token.Parse(text)
	if err != nil || key.Prefix != k.kinds[spec.Kind] {
		return MintedKey{}, errors.New("keywright: not the text of a key of this kind")
	}
	return k.mint(spec, key)
}

// mint makes a key of the given text: one without a prefix is imported.
func (k *Keys) mint(spec KeySpec, key token.Key, edit ...func(*credential)) (MintedKey, error) {
	now := k.host.Hooks.Now()
	if err := k.checkSpec(spec, now); err != nil {
		return MintedKey{}, err
	}
	hash, err := k.hasher.Hash(key.Text)
	if err != nil {
		return MintedKey{}, fmt.Errorf("keywright: hash key: %w", err)
	}
	c := newCredential(spec, now)
	c.Hash = hash
	for _, f := range edit {
		f(&c)
	}
	if key.Prefix == "" {
		c.Imported = importedID(key.Text)
	}
	record, err := c.record(key.ID, 0)
	if err != nil {
		return MintedKey{}, err
	}
	op := store.Insert(record)
	if err := store.Validate(op); err != nil {
		return MintedKey{}, &Error{Code: CodeInvalidRequest, Detail: "no store holds a key like this", Err: err}
	}
	return MintedKey{ID: key.ID, Text: key.Text, Op: op}, nil
}

// checkSpec reports, as an [*Error] of CodeInvalidRequest, why there cannot be
// a key like this.
func (k *Keys) checkSpec(spec KeySpec, now time.Time) error {
	switch {
	case !k.Has(spec.Kind):
		return Errorf(CodeInvalidRequest, "kind of key %q is not configured", spec.Kind)
	case spec.Subject == "":
		return Errorf(CodeInvalidRequest, "a key needs a subject")
	case len(spec.Parents) > maxParents:
		return Errorf(CodeInvalidRequest, "a key with %d parents, at most %d", len(spec.Parents), maxParents)
	case !spec.Expires.IsZero() && !now.Before(spec.Expires):
		return Errorf(CodeInvalidRequest, "a key that has expired already")
	}
	for i, parent := range spec.Parents {
		if slices.ContainsFunc(spec.Parents[:i], func(p Parent) bool { return p.Key == parent.Key }) {
			return Errorf(CodeInvalidRequest, "a key with the same parent twice")
		}
	}
	if err := store.ValidateKeys(parentKeys(spec.Parents)...); err != nil {
		return &Error{Code: CodeInvalidRequest, Detail: "a parent of the key is not one that a store holds", Err: err}
	}
	return nil
}

// Issue makes a key on behalf of actor. Its Parents, if any, must exist.
func (k *Keys) Issue(ctx context.Context, actor Principal, spec KeySpec) (MintedKey, error) {
	m, err := k.Mint(spec)
	if err != nil {
		return MintedKey{}, err
	}
	ops, err := k.withParents(ctx, spec.Parents, m.Op)
	if err != nil {
		return MintedKey{}, err
	}
	e := Event{Name: "key.issued", Actor: actor.Credential, Target: m.ID, Attrs: map[string]string{"kind": spec.Kind, "subject": spec.Subject}}
	switch err := k.host.Commit(ctx, e, ops...); {
	case errors.Is(err, store.ErrConflict):
		return MintedKey{}, Errorf(CodeConflict, "a parent of the key has changed")
	case err != nil:
		return MintedKey{}, Wrap(CodeUnavailable, err)
	}
	return m, nil
}

// withParents adds to ops that the parents still stand, so that none that is
// gone gets new children.
func (k *Keys) withParents(ctx context.Context, parents []Parent, ops ...store.Op) ([]store.Op, error) {
	records, err := k.host.Store.Get(ctx, parentKeys(parents)...)
	if err != nil {
		return nil, Wrap(CodeUnavailable, err)
	}
	for _, r := range records {
		if !r.Exists() {
			return nil, Errorf(CodeConflict, "a parent of the key does not exist")
		}
		ops = append(ops, store.Check(r))
	}
	return ops, nil
}

// Disable refuses the key from the next request on, in every process. It can
// be enabled again.
func (k *Keys) Disable(ctx context.Context, actor Principal, id string) error {
	return k.setDisabled(ctx, Event{Name: "key.disabled", Actor: actor.Credential, Target: id}, true)
}

// Enable undoes Disable.
func (k *Keys) Enable(ctx context.Context, actor Principal, id string) error {
	return k.setDisabled(ctx, Event{Name: "key.enabled", Actor: actor.Credential, Target: id}, false)
}

func (k *Keys) setDisabled(ctx context.Context, e Event, disabled bool) error {
	return k.change(ctx, e.Target, func(c *known) (Event, []store.Op, error) {
		if c.Disabled == disabled {
			return Event{}, nil, nil
		}
		next := c.credential
		next.Disabled = disabled
		record, err := next.record(c.id, c.version)
		return e, []store.Op{store.Replace(record)}, err
	})
}

// Delete ends the key for good, from the next request on, in every process.
// Only the text of an imported key may then be imported again.
func (k *Keys) Delete(ctx context.Context, actor Principal, id string) error {
	return k.change(ctx, id, func(c *known) (Event, []store.Op, error) {
		e := Event{Name: "key.deleted", Actor: actor.Credential, Target: id}
		ops, err := k.deletion(ctx, c)
		return e, ops, err
	})
}

// Deletion returns the ops of Delete, for a caller that has more to commit with
// them. For a key that is not there they are none.
func (k *Keys) Deletion(ctx context.Context, id string) ([]store.Op, error) {
	if !token.ValidID(id) {
		return nil, nil
	}
	records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: id})
	switch {
	case err != nil:
		return nil, Wrap(CodeUnavailable, err)
	case !records[0].Exists():
		return nil, nil
	}
	c, err := decodeCredential(records[0])
	if err != nil {
		return nil, Wrap(CodeInternal, err)
	}
	return k.deletion(ctx, c)
}

// deletion leaves nothing but the last use, which ends by itself.
func (k *Keys) deletion(ctx context.Context, c *known) ([]store.Op, error) {
	ops := []store.Op{store.Delete(store.Record{Kind: KindKey, ID: c.id, Version: c.version})}
	if c.FirstUse {
		records, err := k.host.Store.Get(ctx, store.Key{Kind: KindKeyFirst, ID: c.id})
		if err != nil {
			return nil, Wrap(CodeUnavailable, err)
		}
		if records[0].Exists() {
			ops = append(ops, store.Delete(records[0]))
		}
	}
	return k.withIndex(ctx, c, ops...)
}

// change reads the key, asks edit for the ops, commits them, and begins again
// when another change came in between. No ops means nothing to do.
func (k *Keys) change(ctx context.Context, id string, edit func(*known) (Event, []store.Op, error)) error {
	if !token.ValidID(id) {
		return &Error{Code: CodeNotFound}
	}
	var err error
	for range maxTries {
		var records []store.Record
		if records, err = k.host.Store.Get(ctx, store.Key{Kind: KindKey, ID: id}); err != nil {
			break
		}
		if !records[0].Exists() {
			return &Error{Code: CodeNotFound}
		}
		c, err2 := decodeCredential(records[0])
		if err2 != nil {
			return Wrap(CodeInternal, err2)
		}
		e, ops, err2 := edit(c)
		if errors.Is(err2, store.ErrConflict) {
			err = err2
			continue
		}
		if err2 != nil || len(ops) == 0 {
			return err2
		}
		if err = k.host.Commit(ctx, e, ops...); !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err != nil {
		return Wrap(CodeUnavailable, err)
	}
	return nil
}
