package pkcs11store

import (
	"context"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// The calls of a session take turns.

func (n *session) call(what string, do func() error) error {
	return named(what, n.turns.shared(do))
}

func (n *session) callAlone(what string, do func() error) error {
	return named(what, n.turns.alone(do))
}

// write calls what changes objects. After that SoftHSM 2.6 takes all that other
// processes have written before for known, so it is made to look at it first.
func (n *session) write(what string, do func() error) error {
	return n.callAlone(what, func() error {
		if n.turns.file != "" {
			nothing := []*pkcs11.Attribute{byLabel(newLabel), byID(newLabel)}
			if err := errors.Join(n.module.FindObjectsInit(n.handle, nothing), n.module.FindObjectsFinal(n.handle)); err != nil {
				return err
			}
		}
		return do()
	})
}

func named(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (n *session) info() (info pkcs11.SessionInfo, err error) {
	err = n.call("look at a session", func() (err error) {
		info, err = n.module.GetSessionInfo(n.handle)
		return err
	})
	return info, err
}

// token fails when it is not there, whatever the module says of it.
func (n *session) token() (info pkcs11.TokenInfo, err error) {
	err = n.call("look at the token", func() (err error) {
		info, err = n.module.GetTokenInfo(n.slot)
		return err
	})
	if err != nil && !endsSessions(err) {
		err = fmt.Errorf("%w: %v", pkcs11.Error(pkcs11.CKR_DEVICE_REMOVED), err)
	}
	return info, err
}

// search returns all objects with these attributes.
func (n *session) search(template []*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	err = n.call("find objects", func() error { return n.module.FindObjectsInit(n.handle, template) })
	if err != nil {
		return nil, err
	}
	defer func() {
		e := n.call("find objects", func() error { return n.module.FindObjectsFinal(n.handle) })
		if err == nil {
			err = e
		}
	}()
	for {
		var some []pkcs11.ObjectHandle
		err := n.call("find objects", func() (err error) {
			some, _, err = n.module.FindObjects(n.handle, 100)
			return err
		})
		if err != nil || len(some) == 0 {
			return found, err
		}
		found = append(found, some...)
	}
}

// read returns attributes of an object, in order.
func (n *session) read(h pkcs11.ObjectHandle, types ...uint) ([][]byte, error) {
	var template []*pkcs11.Attribute
	for _, t := range types {
		template = append(template, pkcs11.NewAttribute(t, nil))
	}
	values := make([][]byte, len(types))
	err := n.call("read an object", func() error {
		attributes, err := n.module.GetAttributeValue(n.handle, h, template)
		for i, a := range attributes {
			values[i] = a.Value
		}
		return err
	})
	return values, err
}

// rename gives an object both its names at once.
func (n *session) rename(h pkcs11.ObjectHandle, label, id string) error {
	return n.write("rename an object", func() error {
		return n.module.SetAttributeValue(n.handle, h, []*pkcs11.Attribute{byLabel(label), byID(id)})
	})
}

func (n *session) destroy(h pkcs11.ObjectHandle) error {
	return n.write("destroy an object", func() error { return n.module.DestroyObject(n.handle, h) })
}

// makePair returns the private half.
func (n *session) makePair(mechanism uint, public, private []*pkcs11.Attribute) (made pkcs11.ObjectHandle, err error) {
	err = n.write("make a key pair", func() (err error) {
		_, made, err = n.module.GenerateKeyPair(n.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, public, private)
		return err
	})
	return made, err
}

// startSigning leaves the session waiting for [session.sign], if it succeeds.
func (n *session) startSigning(mechanism uint, h pkcs11.ObjectHandle) error {
	return n.call("sign", func() error {
		return n.module.SignInit(n.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, h)
	})
}

func (n *session) sign(digest []byte) (signature []byte, err error) {
	err = n.call("sign", func() (err error) {
		signature, err = n.module.Sign(n.handle, digest)
		return err
	})
	return signature, err
}

// close alone: SoftHSM 2.6 may otherwise take a session that is being opened
// for one that has ended.
func (n *session) close() error {
	return n.callAlone("close a session", func() error { return n.module.CloseSession(n.handle) })
}

// bounded waits for do until ctx ends. A call into a module cannot be
// interrupted, so do may go on then: it must clear up what nobody waits for.
func bounded[T any](ctx context.Context, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
