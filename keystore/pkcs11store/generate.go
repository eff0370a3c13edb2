package pkcs11store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// newLabel is that of a key whose thumbprint is not known yet. It is no handle.
const newLabel = ".new"

func orNew(handle string) string { return cmp.Or(handle, newLabel) }

// errContested: somebody else is making a key of this handle.
var errContested = errors.New("contested")

// Generate implements [keystore.Generator]. The token must be able to change the
// label and the ID of a key. It fails with ErrUnsupportedKey if the token cannot
// make keys of this algorithm. It waits while somebody else makes a key of the
// same handle, or has been killed in the middle of that.
func (s *Store) Generate(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("pkcs11store: %w", err)
	}
	k, ok := kinds[o.Algorithm]
	if !ok {
		return nil, fmt.Errorf("pkcs11store: algorithm %d: %w", o.Algorithm, keystore.ErrUnsupportedKey)
	}
	if o.Handle != "" {
		if err := keystore.CheckHandle(o.Handle); err != nil {
			return nil, err
		}
	}
	made, err := bounded(ctx, func() (pair, error) { return s.makeAlone(ctx, k, o.Handle) })
	if err != nil {
		return nil, fmt.Errorf("pkcs11store: generate %q: %w", o.Handle, err)
	}
	return s.key(made.label, made)
}

// makeAlone tries until nobody else claims the handle.
func (s *Store) makeAlone(ctx context.Context, k kind, handle string) (pair, error) {
	if err := hold(ctx, s.making); err != nil { // this Store's own callers need no claims
		return pair{}, err
	}
	defer func() { <-s.making }()
	for again := true; ; {
		made, err := s.make(ctx, k, handle)
		switch {
		case errors.Is(err, errContested):
			if err := pause(ctx); err != nil {
				return pair{}, fmt.Errorf("others are making it: %w", err)
			}
		case passes(err) && again: // what was made is removed, or a claim
			again = false
		default:
			return made, err
		}
	}
}

// make tries to make a key, and removes what it has made when it fails.
func (s *Store) make(ctx context.Context, k kind, handle string) (pair, error) {
	if err := s.with(ctx, func(n *session) error { return n.prepare(handle, s.config.Now()) }); err != nil {
		return pair{}, err
	}
	var p pair
	c := newClaim(s.config.Now())
	generated := false
	err := s.with(ctx, func(n *session) (err error) {
		private, err := n.generate(k, handle, c)
		if err != nil {
			return err
		}
		generated = true
		if p, err = s.establish(ctx, n, private, handle, c); err != nil {
			return final{err} // a second pair could be another's rival
		}
		return nil
	})
	if err != nil && generated {
		s.discard(ctx, c)
	}
	return p, err
}

// prepare looks whether the handle is free, and clears up under it.
func (n *session) prepare(handle string, now time.Time) error {
	if err := n.sweep(orNew(handle), now); err != nil || handle == "" {
		return err
	}
	others, err := n.rivals(handle, "")
	if err == nil && len(others) > 0 {
		err = errContested
	}
	return err
}

// generate makes a pair that is a claim.
func (n *session) generate(k kind, handle string, c claim) (pkcs11.ObjectHandle, error) {
	common := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
		byLabel(orNew(handle)),
		byID(c.id()),
	}
	private := append([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
	}, common...)
	var err error
	for _, curve := range k.curves {
		public := append([]*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, false),
			pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
			pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curve),
		}, common...)
		var made pkcs11.ObjectHandle
		if made, err = n.makePair(k.generate, public, private); err == nil {
			return made, nil
		}
		if !refusesCurve(err) {
			break
		}
	}
	if refusesCurve(err) || is(err, pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_FUNCTION_NOT_SUPPORTED) {
		err = fmt.Errorf("%w: %w", keystore.ErrUnsupportedKey, err)
	}
	return 0, err
}

// refusesCurve reports what tokens answer to a spelling that they do not know.
func refusesCurve(err error) bool {
	return is(err, pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_DOMAIN_PARAMS_INVALID, pkcs11.CKR_CURVE_NOT_SUPPORTED,
		pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_MECHANISM_PARAM_INVALID)
}

// establish turns a claim into a key, if nobody else has a right to its handle.
func (s *Store) establish(ctx context.Context, n *session, private pkcs11.ObjectHandle, handle string, c claim) (pair, error) {
	p, err := n.complete(object{private, orNew(handle), c.id()})
	if err != nil {
		return pair{}, err
	}
	if handle == "" {
		if p.label, err = thumbprint(p.public); err != nil {
			return pair{}, err
		}
	}
	if err := s.prevail(ctx, n, p.label, c); err != nil {
		return pair{}, err
	}
	public, err := n.find(pkcs11.CKO_PUBLIC_KEY, byID(c.id()))
	if err != nil {
		return pair{}, err
	}
	for _, h := range append(public, private) { // the private half makes it a key, so it comes last
		if err := n.rename(h, p.label, c.keyID()); err != nil {
			return pair{}, err
		}
	}
	p.id = c.keyID()
	return p, nil
}

// prevail waits until a claim is the only one to its handle. Of several the one
// with the least name stays, and the others go.
func (s *Store) prevail(ctx context.Context, n *session, handle string, c claim) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.config.Now().Sub(c.since) > claimLife/2 {
			return fmt.Errorf("it took longer than %v", claimLife/2)
		}
		others, err := n.rivals(handle, c.name)
		switch {
		case err != nil:
			return err
		case len(others) == 0:
			return nil
		}
		for _, o := range others {
			if o.name < c.name {
				return errContested
			}
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// discard removes the pair of a claim, whatever has become of it. Where it
// cannot, it stays a claim until it is swept, or a whole key.
func (s *Store) discard(ctx context.Context, c claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.with(ctx, func(n *session) error { return n.removeClaim(c) })
}
