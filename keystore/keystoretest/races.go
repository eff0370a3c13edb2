package keystoretest

import (
	"errors"
	"fmt"

	"github.com/keywright/keywright/keystore"
)

var races = []promise{
	{"of many who make one key exactly one succeeds", oneMaker},
	{"many sign, load, list, make and delete at once", busy},
	{"a key that is deleted while many sign with it stops for all", endsForAll},
}

func oneMaker(f *fixture) {
	f.generator()
	for round := range 5 {
		h := fmt.Sprintf("%s.%d", handle, round)
		made := make([]keystore.Key, callers)
		errs := f.race(func(i int) (err error) {
			made[i], err = f.tryGenerate(h)
			return err
		})
		winners := 0
		for i, err := range errs {
			if err != nil {
				f.is("Generate", err, keystore.ErrKeyExists)
				continue
			}
			winners++
			f.same(f.load(h), made[i])
			f.signs(made[i])
		}
		if winners != 1 {
			f.Errorf("%d of %d made the key, want 1", winners, callers)
		}
	}
}

func busy(f *fixture) {
	shared := f.generate(handle)
	errs := f.race(func(i int) error {
		for round := range 4 {
			if err := f.passThrough(shared, fmt.Sprintf("%s.%d.%d", handle, i, round)); err != nil {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		if err != nil {
			f.Errorf("one of many: %v", err)
		}
	}
}

// passThrough is the whole life of a key of this handle, and a look at a
// shared one.
func (f *fixture) passThrough(shared keystore.Key, h string) error {
	made, err := f.tryGenerate(h)
	if err != nil {
		return err
	}
	found, err := f.store.Load(f.ctx, shared.Handle())
	if err != nil {
		return err
	}
	for _, k := range []keystore.Key{shared, found, made} {
		signature, err := f.trySign(k, h)
		if err != nil {
			return err
		}
		if !verifies(k.Public(), h, signature) {
			return fmt.Errorf("the signature of key %q does not verify", k.Handle())
		}
	}
	if l, ok := f.store.(keystore.Lister); ok {
		for _, err := range l.List(f.ctx) {
			if err != nil {
				return err
			}
		}
	}
	if d, ok := f.store.(keystore.Deleter); ok {
		return d.Delete(f.ctx, h)
	}
	return nil
}

func endsForAll(f *fixture) {
	d := f.deleter()
	shared := f.generate(handle)
	deleted := make(chan struct{})
	errs := f.race(func(i int) error {
		if i == 0 {
			defer close(deleted)
			return d.Delete(f.ctx, handle)
		}
		k := shared
		if i%2 == 0 { // half of them load the key themselves, some when it is deleted
			found, err := f.store.Load(f.ctx, handle)
			if errors.Is(err, keystore.ErrKeyNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			k = found
		}
		return f.signUntil(k, deleted)
	})
	for _, err := range errs {
		if err != nil {
			f.Errorf("one of many: %v", err)
		}
	}
	f.absent(handle)
}

// signUntil signs until that is ErrKeyNotFound, as it must be once the key is
// deleted.
func (f *fixture) signUntil(k keystore.Key, deleted <-chan struct{}) error {
	for {
		over := false
		select {
		case <-deleted:
			over = true
		default:
		}
		_, err := f.trySign(k, "message")
		switch {
		case errors.Is(err, keystore.ErrKeyNotFound):
			return nil
		case err != nil:
			return err
		case over:
			return errors.New("a key signed after Delete had returned")
		}
	}
}
