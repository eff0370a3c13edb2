package pkcs11store_test

import (
	"crypto"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
	"github.com/miekg/pkcs11"
)

var (
	p256   = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	p384   = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
	public = pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PUBLIC_KEY)
	secret = pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)
)

func TestKST14_PrivateKeysDoNotLeaveTheToken(t *testing.T) {
	k := newToken(t)
	s := k.store()
	for _, a := range []keystore.Algorithm{keystore.Ed25519, keystore.ES256} {
		generate(t, s, a, a.String())
		c, h := k.outsider()
		private := k.object(c, h, a.String(), secret)
		for _, value := range []uint{pkcs11.CKA_VALUE, pkcs11.CKA_PRIVATE_EXPONENT} {
			got, err := c.GetAttributeValue(h, private, []*pkcs11.Attribute{pkcs11.NewAttribute(value, nil)})
			if !hasCode(err, pkcs11.CKR_ATTRIBUTE_SENSITIVE) && !hasCode(err, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) {
				t.Errorf("%v: attribute %#x is %v, %v", a, value, got, err)
			}
		}
		for _, weaker := range []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false)} {
			if err := c.SetAttributeValue(h, private, []*pkcs11.Attribute{weaker}); err == nil {
				t.Errorf("%v: the key was made weaker", a)
			}
		}
		for attribute, want := range map[uint]byte{
			pkcs11.CKA_TOKEN: 1, pkcs11.CKA_PRIVATE: 1, pkcs11.CKA_SENSITIVE: 1, pkcs11.CKA_ALWAYS_SENSITIVE: 1,
			pkcs11.CKA_EXTRACTABLE: 0, pkcs11.CKA_NEVER_EXTRACTABLE: 1, pkcs11.CKA_LOCAL: 1,
		} {
			got, err := c.GetAttributeValue(h, private, []*pkcs11.Attribute{pkcs11.NewAttribute(attribute, nil)})
			if err != nil || got[0].Value[0] != want {
				t.Errorf("%v: attribute %#x is %v, %v", a, attribute, got, err)
			}
		}
	}
}

// A foreign key pair is one that another program has made.
type foreign struct {
	label, publicLabel   string
	mechanism            uint
	params               *pkcs11.Attribute
	extractable, secrecy bool
}

func (k *token) foreign(f foreign) {
	k.tb.Helper()
	c, h := k.outsider()
	if f.publicLabel == "" {
		f.publicLabel = f.label
	}
	id := pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(rand.Text()))
	_, _, err := c.GenerateKeyPair(h, []*pkcs11.Mechanism{pkcs11.NewMechanism(f.mechanism, nil)},
		[]*pkcs11.Attribute{f.params, id, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, f.publicLabel)},
		[]*pkcs11.Attribute{id, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true), pkcs11.NewAttribute(pkcs11.CKA_LABEL, f.label), pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true), pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, f.secrecy), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, f.extractable)})
	if err != nil {
		k.tb.Fatal(err)
	}
}

// object finds one that must be there.
func (k *token) object(c *pkcs11.Ctx, h pkcs11.SessionHandle, label string, class *pkcs11.Attribute) pkcs11.ObjectHandle {
	k.tb.Helper()
	if err := c.FindObjectsInit(h, []*pkcs11.Attribute{class, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}); err != nil {
		k.tb.Fatal(err)
	}
	found, _, err := c.FindObjects(h, 10)
	if e := c.FindObjectsFinal(h); err != nil || e != nil || len(found) != 1 {
		k.tb.Fatalf("%d objects %q: %v, %v", len(found), label, err, e)
	}
	return found[0]
}

func TestKeysOfOtherPrograms(t *testing.T) {
	k := newToken(t)
	s := k.store()
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	curve := func(params []byte) *pkcs11.Attribute { return pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params) }
	const ec, rsa = pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN
	k.foreign(foreign{label: "good", mechanism: ec, params: curve(p256), secrecy: true})
	k.foreign(foreign{label: "extractable", mechanism: ec, params: curve(p256), secrecy: true, extractable: true})
	k.foreign(foreign{label: "insensitive", mechanism: ec, params: curve(p256)})
	k.foreign(foreign{label: "p384", mechanism: ec, params: curve(p384), secrecy: true})
	k.foreign(foreign{label: "rsa", mechanism: rsa, params: pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, 2048), secrecy: true})
	k.foreign(foreign{label: "half", publicLabel: "other", mechanism: ec, params: curve(p256), secrecy: true})
	k.foreign(foreign{label: "twin", mechanism: ec, params: curve(p256), secrecy: true})
	k.foreign(foreign{label: "twin", mechanism: ec, params: curve(p256), secrecy: true})
	k.foreign(foreign{label: "no handle", mechanism: ec, params: curve(p256), secrecy: true})
	for handle, want := range map[string]error{
		"extractable": keystore.ErrInsecurePermissions,
		"insensitive": keystore.ErrInsecurePermissions,
		"p384":        keystore.ErrUnsupportedKey,
		"rsa":         keystore.ErrUnsupportedKey,
		"half":        keystore.ErrKeyCorrupt,
		"twin":        keystore.ErrKeyCorrupt,
		"other":       keystore.ErrKeyNotFound, // a public key only
	} {
		wantError(t, s, handle, want)
		if err := generated(t.Context(), s, handle); !errors.Is(err, keystore.ErrKeyExists) && want != keystore.ErrKeyNotFound {
			t.Errorf("Generate(%q): %v, want ErrKeyExists", handle, err)
		}
	}
	good, err := s.Load(t.Context(), "good")
	if err != nil {
		t.Fatal(err)
	}
	wantSigns(t, good)
	if want := []string{"extractable", "good", "half", "insensitive", "other", "p384", "rsa", "twin"}; !slices.Equal(handles(t, s), want) {
		t.Errorf("List yields %q, want %q", handles(t, s), want)
	}
	deleteAll(t, s)
	if got := k.labels(pkcs11.CKO_PRIVATE_KEY); len(got) != 1 {
		t.Errorf("left are %q", got)
	}
	if _, err := sign(t.Context(), good); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("Sign of a deleted key: %v, want ErrKeyNotFound", err)
	}
}

func deleteAll(t *testing.T, s *pkcs11store.Store) {
	t.Helper()
	for _, handle := range handles(t, s) {
		if err := s.Delete(t.Context(), handle); err != nil {
			t.Errorf("Delete(%q): %v", handle, err)
		}
	}
}

func handles(t *testing.T, s *pkcs11store.Store) (found []string) {
	t.Helper()
	for h, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, h)
	}
	return found
}

// What another process deletes is noticed when it is used.
func TestAKeyThatAnotherDeletes(t *testing.T) {
	k := newToken(t)
	s, other := k.store(), k.store()
	key := generate(t, s, keystore.Ed25519, "handle")
	wantSigns(t, key)
	if err := other.Delete(t.Context(), "handle"); err != nil {
		t.Fatal(err)
	}
	if _, err := sign(t.Context(), key); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("Sign: %v, want ErrKeyNotFound", err)
	}
	made := generate(t, other, keystore.Ed25519, "handle")
	if _, err := sign(t.Context(), key); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("Sign when there is another key: %v, want ErrKeyNotFound", err)
	}
	wantKey(t, s, made)
}

// A key that another deletes while it is being loaded or deleted is absent, and
// neither damaged nor a reason to fail otherwise.
func TestAKeyThatVanishes(t *testing.T) {
	k := newToken(t)
	s := k.store()
	for what, use := range map[string]func(handle string) error{
		"Load": func(handle string) error {
			_, err := s.Load(t.Context(), handle)
			return err
		},
		"Delete": func(handle string) error { return s.Delete(t.Context(), handle) },
	} {
		generate(t, s, keystore.Ed25519, what)
		k.fault("vanish", 1)
		if err := use(what); !errors.Is(err, keystore.ErrKeyNotFound) {
			t.Errorf("%s: %v, want ErrKeyNotFound", what, err)
		}
		k.fault("vanish", 0)
	}
}

// F-19: a wrong signature never leaves.
func TestASignatureIsVerified(t *testing.T) {
	k := newToken(t)
	s := k.store()
	for _, a := range []keystore.Algorithm{keystore.Ed25519, keystore.ES256} {
		key := generate(t, s, a, a.String())
		k.fault("sign", 1) // flips a bit
		var hash crypto.Hash
		if a == keystore.ES256 {
			hash = crypto.SHA256
		}
		signature, err := keystore.Sign(t.Context(), key, make([]byte, 32), hash)
		if !errors.Is(err, keystore.ErrKeyCorrupt) || signature != nil {
			t.Errorf("%v: %x, %v, want ErrKeyCorrupt", a, signature, err)
		}
		k.fault("sign", pkcs11.CKR_FUNCTION_FAILED)
		if _, err := sign(t.Context(), key); !hasCode(err, pkcs11.CKR_FUNCTION_FAILED) {
			t.Errorf("%v: %v", a, err)
		}
		k.fault("sign", 0)
		wantSigns(t, key)
	}
}

// A public key object that somebody has changed for another.
func TestASwappedPublicKey(t *testing.T) {
	k := newToken(t)
	s := k.store()
	generate(t, s, keystore.ES256, "handle")
	k.foreign(foreign{label: "unused", publicLabel: "other", mechanism: pkcs11.CKM_EC_KEY_PAIR_GEN, params: pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, p256), secrecy: true})
	c, h := k.outsider()
	old, other := k.object(c, h, "handle", public), k.object(c, h, "other", public)
	id, err := c.GetAttributeValue(h, old, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, nil)})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(c.DestroyObject(h, old), c.SetAttributeValue(h, other, []*pkcs11.Attribute{id[0], pkcs11.NewAttribute(pkcs11.CKA_LABEL, "handle")}))
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Load(t.Context(), "handle")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sign(t.Context(), key); !errors.Is(err, keystore.ErrKeyCorrupt) {
		t.Errorf("Sign: %v, want ErrKeyCorrupt", err)
	}
}
