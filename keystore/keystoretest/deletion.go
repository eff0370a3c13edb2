package keystoretest

import (
	"crypto/rand"

	"github.com/keywright/keywright/keystore"
)

var deletion = []promise{
	{"Delete without a key is ErrKeyNotFound", func(f *fixture) {
		f.is("Delete", f.deleter().Delete(f.ctx, handle), keystore.ErrKeyNotFound)
	}},
	{"a deleted key is not found", func(f *fixture) {
		f.generate(handle)
		f.delete(handle)
		f.absent(handle)
		f.is("Delete again", f.deleter().Delete(f.ctx, handle), keystore.ErrKeyNotFound)
	}},
	{"a deleted key is not listed, and others stay", func(f *fixture) {
		made := f.several()
		f.delete(made[0])
		f.lists(made[1:]...)
		f.signs(f.load(made[1]))
	}},
	{"a deleted key does not sign, whoever holds it", func(f *fixture) {
		f.each(func(_ keystore.Algorithm, made keystore.Key) {
			loaded, again := f.load(made.Handle()), f.load(made.Handle())
			f.delete(made.Handle())
			f.dead(made)
			f.dead(loaded)
			f.dead(again)
		})
	}},
	{"a new key of an old handle does not revive the old one", func(f *fixture) {
		old := f.generate(handle)
		f.delete(handle)
		made := f.generate(handle)
		if equal(made.Public(), old.Public()) {
			f.Errorf("the new key is the old one")
		}
		found := f.load(handle)
		f.same(found, made)
		f.dead(old)
		f.signs(made)
		f.signs(found)
		f.delete(handle)
		f.dead(made)
		f.dead(found)
	}},
}

// delete removes what must be there.
func (f *fixture) delete(handle string) {
	f.Helper()
	if err := f.deleter().Delete(f.ctx, handle); err != nil {
		f.Fatalf("Delete(%q): %v", handle, err)
	}
}

// dead checks that a key signs in no way, and still says which it was.
func (f *fixture) dead(k keystore.Key) {
	f.Helper()
	signature, err := f.trySign(k, "message")
	f.is("Sign with a deleted key", err, keystore.ErrKeyNotFound)
	digest, opts := input(k, "message")
	direct, err := k.Sign(rand.Reader, digest, opts)
	f.is("the method Sign of a deleted key", err, keystore.ErrKeyNotFound)
	if signature != nil || direct != nil {
		f.Errorf("a deleted key signed")
	}
	if k.Public() == nil || k.Handle() == "" {
		f.Errorf("a deleted key does not know its public key or handle")
	}
}
