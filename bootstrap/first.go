package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// maxTTL keeps expiries within what a store can hold.
const maxTTL = 100 * 365 * 24 * time.Hour

// first issues the first key, for the endpoint and at start-up alike.
type first struct {
	host    keywright.Host
	key     AdminKey
	admin   func(ctx context.Context) (string, error)
	claimed func(ctx context.Context) (bool, error)
}

func newFirst(host keywright.Host, key AdminKey, admin func(context.Context) (string, error), claimed func(context.Context) (bool, error)) (first, error) {
	if host.Store == nil || host.Keys == nil {
		return first{}, errors.New("bootstrap: Host is required, made by keywright.NewHost")
	}
	if key.Kind == "" {
		key.Kind = "admin"
	}
	switch {
	case !host.Keys.Has(key.Kind):
		return first{}, fmt.Errorf("bootstrap: Key.Kind: the host has no kind of keys named %q", key.Kind)
	case len(key.Scopes) == 0:
		return first{}, errors.New("bootstrap: Key.Scopes is empty: the key could do nothing")
	case key.TTL < 0 || key.TTL > maxTTL:
		return first{}, errors.New("bootstrap: Key.TTL: want 0 to 100 years")
	}
	if admin == nil {
		admin = func(context.Context) (string, error) { return DefaultSubject, nil }
	}
	if claimed == nil {
		claimed = func(context.Context) (bool, error) { return false, nil }
	}
	return first{host: host, key: key, admin: admin, claimed: claimed}, nil
}

// open refuses when the host says that it has administrators. A claim that an
// operator has reset is open whatever the host says.
func (f first) open(ctx context.Context, c claim) error {
	if c.Open {
		return nil
	}
	taken, err := f.claimed(ctx)
	switch {
	case err != nil:
		return hookError("Claimed", err)
	case taken:
		return &keywright.Error{Code: keywright.CodeBootstrapComplete, Err: errors.New("the host has administrators")}
	}
	return nil
}

// spec describes the key of the given generation. It asks the host for its owner.
func (f first) spec(ctx context.Context, generation int64, now time.Time) (keywright.KeySpec, error) {
	subject, err := f.admin(ctx)
	if err == nil && subject == "" {
		err = errors.New("it returned no subject")
	}
	if err != nil {
		return keywright.KeySpec{}, hookError("Admin", err)
	}
	s := keywright.KeySpec{
		Kind: f.key.Kind, Method: keywright.MethodBootstrap, Subject: subject, Scopes: f.key.Scopes,
		Description: "first admin key", Parents: []keywright.Parent{{Key: generationKey(generation)}},
	}
	if f.host.URL != nil {
		s.Issuer = f.host.URL.String()
	}
	if f.key.TTL > 0 {
		s.Expires, s.Temporary = now.Add(f.key.TTL), true
	}
	return s, nil
}

// commit writes next in the place of prev. Unless next has the same key, the
// keys of prev end, rotated ones too: they share a parent, which goes. The new
// key's parent comes in the same step, and so does whatever stands in more.
func (f first) commit(ctx context.Context, prev, next claim, e keywright.Event, more ...store.Op) error {
	op, err := next.op()
	if err != nil {
		return err
	}
	ops := append([]store.Op{op}, more...)
	e.Attrs = map[string]string{"generation": strconv.FormatInt(next.Generation, 10)}
	if next.Generation == prev.Generation && next.Key == prev.Key {
		return f.host.Commit(ctx, e, ops...) // its key is not touched
	}
	if next.Key != "" {
		parent := generationKey(next.Generation)
		ops = append(ops, store.Insert(store.Record{Kind: parent.Kind, ID: parent.ID, Data: []byte("{}")}))
	}
	ended, err := endKeys(ctx, f.host, prev)
	if err != nil {
		return err
	}
	return f.host.Commit(ctx, e, append(ops, ended...)...)
}

// endKeys makes the ops that end the keys of a claim.
func endKeys(ctx context.Context, host keywright.Host, c claim) ([]store.Op, error) {
	if c.Generation == 0 {
		return nil, nil
	}
	keys := []store.Key{generationKey(c.Generation)}
	if c.Key != "" {
		keys = append(keys, store.Key{Kind: keywright.KindKey, ID: c.Key})
	}
	records, err := host.Store.Get(ctx, keys...)
	if err != nil {
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	var ops []store.Op
	for _, r := range records {
		if r.Exists() {
			ops = append(ops, store.Delete(r))
		}
	}
	return ops, nil
}

// hookError lets a host's hook choose its answer, and takes anything else for
// trouble that may pass.
func hookError(name string, err error) error {
	if e, ok := errors.AsType[*keywright.Error](err); ok {
		return e
	}
	return keywright.Wrap(keywright.CodeUnavailable, fmt.Errorf("bootstrap: hook %s: %w", name, err))
}
