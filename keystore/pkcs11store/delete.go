package pkcs11store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// List implements [keystore.Lister]. It yields the labels of private keys of all
// types, as far as they can be handles, in order.
func (s *Store) List(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		handles, err := bounded(ctx, func() (handles []string, err error) {
			err = s.with(ctx, func(n *session) error {
				handles, err = n.handles()
				return err
			})
			return handles, err
		})
		for _, h := range handles {
			if err = ctx.Err(); err != nil {
				break
			}
			if !yield(h, nil) {
				return
			}
			err = ctx.Err()
		}
		if err != nil {
			yield("", fmt.Errorf("pkcs11store: list: %w", err))
		}
	}
}

func (n *session) handles() ([]string, error) {
	all, err := n.objects(pkcs11.CKO_PRIVATE_KEY)
	if err != nil {
		return nil, err
	}
	var handles []string
	for _, o := range all {
		_, isClaim := parseClaim(o.id)
		if !isClaim && keystore.CheckHandle(o.label) == nil {
			handles = append(handles, o.label)
		}
	}
	slices.Sort(handles)
	return slices.Compact(handles), nil
}

// Delete implements [keystore.Deleter]. It removes private keys of any type and
// all that have this label, and the public keys that go with them; the private ones
// first, so that who is killed in between has deleted the key. It waits for
// signatures that are being made. When ctx ends meanwhile, it goes on.
func (s *Store) Delete(ctx context.Context, handle string) error {
	if err := begin(ctx, handle); err != nil {
		return err
	}
	_, err := bounded(ctx, func() (struct{}, error) {
		var deleted []object
		err := s.with(ctx, func(n *session) error { return n.delete(handle, &deleted) })
		for _, o := range deleted {
			s.endLife(o)
		}
		if err == nil && len(deleted) == 0 {
			err = keystore.ErrKeyNotFound
		}
		return struct{}{}, err
	})
	if err != nil {
		return fmt.Errorf("pkcs11store: delete %q: %w", handle, err)
	}
	return nil
}

// delete adds the keys that it has deleted to those that an earlier call has.
func (n *session) delete(handle string, deleted *[]object) error {
	keys, err := n.keys(handle)
	if err != nil {
		return err
	}
	for _, o := range keys {
		err := n.orAbsent(pkcs11.CKO_PRIVATE_KEY, o, n.destroy(o.number))
		switch {
		case err == nil:
			*deleted = append(*deleted, o)
		case !errors.Is(err, keystore.ErrKeyNotFound): // another was faster
			return err
		}
	}
	for _, o := range *deleted {
		if err := n.removeAll(pkcs11.CKO_PUBLIC_KEY, byLabel(o.label), byID(o.id)); err != nil {
			return err
		}
	}
	return nil
}
