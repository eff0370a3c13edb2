package keystoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"

	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
)

var keys = []promise{
	{"a handle without a key is ErrKeyNotFound", func(f *fixture) {
		f.absent(handle)
	}},
	{"a new key signs, and is of the kind that was asked for", func(f *fixture) {
		f.each(func(a keystore.Algorithm, k keystore.Key) {
			_, edwards := k.Public().(ed25519.PublicKey)
			_, curve := k.Public().(*ecdsa.PublicKey)
			if edwards != (a == keystore.Ed25519) || curve != (a == keystore.ES256) {
				f.Errorf("a new key for %v has a public key of type %T", a, k.Public())
			}
			f.signs(k)
		})
	}},
	{"a key that was made is found, and signs", func(f *fixture) {
		f.each(func(_ keystore.Algorithm, made keystore.Key) {
			k := f.load(made.Handle())
			f.same(k, made)
			f.signs(k)
		})
	}},
	{"a handle that nobody chose is the thumbprint", thumbprints},
	{"a second key with one handle is ErrKeyExists, and the first stays", func(f *fixture) {
		first := f.generate(handle)
		for _, a := range algorithms {
			k, err := f.generator().Generate(f.ctx, keystore.KeyOptions{Algorithm: a, Handle: handle})
			if err == nil {
				f.Errorf("Generate made a second key %q", k.Handle())
			}
		}
		_, err := f.tryGenerate(handle)
		f.is("Generate of a second key", err, keystore.ErrKeyExists)
		found := f.load(handle)
		f.same(found, first)
		f.signs(first)
		f.signs(found)
	}},
	{"KST-11 a key of an unknown algorithm is ErrUnsupportedKey", func(f *fixture) {
		for _, a := range []keystore.Algorithm{-1, 2, 255} {
			_, err := f.generator().Generate(f.ctx, keystore.KeyOptions{Algorithm: a, Handle: handle})
			f.is("Generate", err, keystore.ErrUnsupportedKey)
		}
		f.absent(handle)
	}},
	{"a key signs nothing but what its algorithm takes", func(f *fixture) {
		f.each(func(_ keystore.Algorithm, k keystore.Key) { f.refusesInput(k) })
	}},
}

func thumbprints(f *fixture) {
	first, second := f.generate(""), f.generate("")
	if first.Handle() == second.Handle() || equal(first.Public(), second.Public()) {
		f.Errorf("two new keys are one, %q", first.Handle())
	}
	for _, k := range []keystore.Key{first, second} {
		pub, err := jose.PublicKey(k.Public())
		if err != nil {
			f.Fatalf("public key of %q: %v", k.Handle(), err)
		}
		if want, err := pub.Thumbprint(); err != nil || k.Handle() != want {
			f.Errorf("the handle is %q, want the thumbprint %q (%v)", k.Handle(), want, err)
		}
		f.same(f.load(k.Handle()), k)
	}
}

// refusesInput tries digests of other hashes, and texts that are no digest.
func (f *fixture) refusesInput(k keystore.Key) {
	type input struct {
		length int
		hash   crypto.Hash
	}
	wrong := []input{{64, crypto.SHA512}, {20, crypto.SHA1}, {32, crypto.SHA512_256}}
	if _, ok := k.Public().(ed25519.PublicKey); ok {
		wrong = append(wrong, input{32, crypto.SHA256})
	} else {
		wrong = append(wrong, input{128, 0}, input{0, crypto.SHA256}, input{31, crypto.SHA256}, input{33, crypto.SHA256})
	}
	for _, w := range wrong {
		if signature, err := k.Sign(rand.Reader, make([]byte, w.length), w.hash); err == nil || signature != nil {
			f.Errorf("a %T signed %d bytes as those of %v", k.Public(), w.length, w.hash)
		}
	}
	f.signs(k)
}
