package pkcs11store

import (
	"crypto"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// An object is one half of a key in the token. Label and ID name it for good,
// and its number as long as somebody is logged in.
type object struct {
	number pkcs11.ObjectHandle
	label  string
	id     string
}

// A pair is a key that can be used.
type pair struct {
	object // the private half
	kind   kind
	public crypto.PublicKey
}

func byLabel(label string) *pkcs11.Attribute {
	return pkcs11.NewAttribute(pkcs11.CKA_LABEL, []byte(label))
}
func byID(id string) *pkcs11.Attribute { return pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(id)) }

// find returns the objects of a class that have all these attributes. If there
// are none, there are none: the token has been asked whether it would show them.
func (n *session) find(class uint, attributes ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	found, err := n.search(append(attributes, pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)))
	if err == nil && len(found) == 0 {
		err = n.check()
	}
	return found, err
}

// objects reads the names of what find returns. What is deleted meanwhile is
// left out.
func (n *session) objects(class uint, attributes ...*pkcs11.Attribute) ([]object, error) {
	numbers, err := n.find(class, attributes...)
	if err != nil {
		return nil, err
	}
	var found []object
	for _, h := range numbers {
		names, err := n.read(h, pkcs11.CKA_LABEL, pkcs11.CKA_ID)
		if err == nil {
			found = append(found, object{h, string(names[0]), string(names[1])})
			continue
		}
		now, e := n.find(class, attributes...)
		switch {
		case e != nil:
			return nil, e
		case slices.Contains(now, h):
			return nil, err
		}
	}
	return found, nil
}

// privates returns the private halves with a label.
func (n *session) privates(label string) ([]object, error) {
	return n.objects(pkcs11.CKO_PRIVATE_KEY, byLabel(label))
}

// keys returns the private halves with a label that are no claims.
func (n *session) keys(label string) ([]object, error) {
	all, err := n.privates(label)
	return slices.DeleteFunc(all, func(o object) bool {
		_, ok := parseClaim(o.id)
		return ok
	}), err
}

// load finds the one key of this handle.
func (n *session) load(handle string) (pair, error) {
	found, err := n.keys(handle)
	switch {
	case err != nil:
		return pair{}, err
	case len(found) == 0:
		return pair{}, keystore.ErrKeyNotFound
	case len(found) > 1:
		return pair{}, fmt.Errorf("%w: %d keys have this label", keystore.ErrKeyCorrupt, len(found))
	}
	p, err := n.complete(found[0])
	return p, n.orAbsent(pkcs11.CKO_PRIVATE_KEY, found[0], err)
}

// orAbsent turns an error of what was done with an object into ErrKeyNotFound if
// it is because the object is gone. Tokens say so in several ways, and a key
// that is being deleted may look damaged.
func (n *session) orAbsent(class uint, o object, err error) error {
	if err == nil || endsSessions(err) {
		return err
	}
	found, e := n.find(class, byLabel(o.label), byID(o.id))
	switch {
	case e != nil:
		return e
	case len(found) == 0:
		return keystore.ErrKeyNotFound
	}
	return err
}

// complete finds the public half of a key, and refuses one that the token would
// give away.
func (n *session) complete(private object) (pair, error) {
	guards, err := n.read(private.number, pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_KEY_TYPE)
	if err != nil {
		return pair{}, err
	}
	if !isTrue(guards[0]) || isTrue(guards[1]) {
		return pair{}, fmt.Errorf("%w: the private key is extractable or not sensitive", keystore.ErrInsecurePermissions)
	}
	keyType := ulong(guards[2])
	if keyType != pkcs11.CKK_EC && keyType != ckkECEdwards {
		return pair{}, fmt.Errorf("%w: key type %#x", keystore.ErrUnsupportedKey, keyType)
	}
	public, err := n.find(pkcs11.CKO_PUBLIC_KEY, byLabel(private.label), byID(private.id))
	if err != nil {
		return pair{}, err
	}
	if len(public) != 1 {
		return pair{}, fmt.Errorf("%w: the private key has %d public ones of its label and ID", keystore.ErrKeyCorrupt, len(public))
	}
	values, err := n.read(public[0], pkcs11.CKA_KEY_TYPE, pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT)
	if err != nil {
		return pair{}, err
	}
	if ulong(values[0]) != keyType {
		return pair{}, fmt.Errorf("%w: private and public key are of two types", keystore.ErrKeyCorrupt)
	}
	k, err := kindOf(keyType, values[1])
	if err != nil {
		return pair{}, err
	}
	pub, err := k.parse(values[2])
	return pair{private, k, pub}, err
}

func isTrue(value []byte) bool { return len(value) == 1 && value[0] != 0 }

// ulong reads a CK_ULONG, which is 4 or 8 bytes in the order of the machine.
func ulong(value []byte) uint {
	switch len(value) {
	case 4:
		return uint(binary.NativeEndian.Uint32(value))
	case 8:
		return uint(binary.NativeEndian.Uint64(value))
	}
	return math.MaxUint
}
