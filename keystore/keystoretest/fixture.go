package keystoretest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"sync"

	"github.com/keywright/keywright/keystore"
)

// A fixture is what one case works with: a store without keys.
type fixture struct {
	tb
	ctx   context.Context
	store keystore.KeyStore
}

// A tb is the part of [testing.TB] that cases need, so that the tests of this
// package can see a case fail without failing themselves.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // only from the goroutine that runs the case
	Skipf(format string, args ...any)
}

// callers is how many take part in a race.
const callers = 16

// handle is that of most keys.
const handle = "keystoretest"

// algorithms are those that a key may be for.
var algorithms = []keystore.Algorithm{keystore.Ed25519, keystore.ES256}

func (f *fixture) generator() keystore.Generator {
	f.Helper()
	g, ok := f.store.(keystore.Generator)
	if !ok {
		f.Skipf("the store is no Generator")
	}
	return g
}

func (f *fixture) lister() keystore.Lister {
	f.Helper()
	l, ok := f.store.(keystore.Lister)
	if !ok {
		f.Skipf("the store is no Lister")
	}
	return l
}

func (f *fixture) deleter() keystore.Deleter {
	f.Helper()
	d, ok := f.store.(keystore.Deleter)
	if !ok {
		f.Skipf("the store is no Deleter")
	}
	return d
}

// tryGenerate makes a key with this handle, for the first algorithm that the
// store can do.
func (f *fixture) tryGenerate(handle string) (keystore.Key, error) {
	f.Helper()
	g := f.generator()
	for _, a := range algorithms {
		k, err := g.Generate(f.ctx, keystore.KeyOptions{Algorithm: a, Handle: handle})
		if !errors.Is(err, keystore.ErrUnsupportedKey) {
			return k, err
		}
	}
	return nil, keystore.ErrUnsupportedKey
}

// generate makes a key, which must succeed.
func (f *fixture) generate(handle string) keystore.Key {
	f.Helper()
	k, err := f.tryGenerate(handle)
	if err != nil {
		f.Fatalf("Generate(%q): %v", handle, err)
	}
	if handle != "" && k.Handle() != handle {
		f.Fatalf("Generate(%q) made a key of handle %q", handle, k.Handle())
	}
	return k
}

// each runs check on a new key of each algorithm that the store can do.
func (f *fixture) each(check func(a keystore.Algorithm, k keystore.Key)) {
	f.Helper()
	g, made := f.generator(), 0
	for _, a := range algorithms {
		k, err := g.Generate(f.ctx, keystore.KeyOptions{Algorithm: a, Handle: handle + "." + a.String()})
		if errors.Is(err, keystore.ErrUnsupportedKey) {
			continue
		}
		if err != nil {
			f.Fatalf("Generate of %v: %v", a, err)
		}
		made++
		check(a, k)
	}
	if made == 0 {
		f.Fatalf("Generate makes keys of no algorithm")
	}
}

// load finds what must be there.
func (f *fixture) load(handle string) keystore.Key {
	f.Helper()
	k, err := f.store.Load(f.ctx, handle)
	if err != nil {
		f.Fatalf("Load(%q): %v", handle, err)
	}
	if k.Handle() != handle {
		f.Fatalf("Load(%q) found a key of handle %q", handle, k.Handle())
	}
	return k
}

// absent checks that Load does not find a key.
func (f *fixture) absent(handle string) {
	f.Helper()
	k, err := f.store.Load(f.ctx, handle)
	f.is("Load of a key that is not there", err, keystore.ErrKeyNotFound)
	if k != nil {
		f.Errorf("Load returned a key with %v", err)
	}
}

// same checks that two Keys are one key.
func (f *fixture) same(got, want keystore.Key) {
	f.Helper()
	if !equal(got.Public(), want.Public()) {
		f.Errorf("the key of handle %q is another one", want.Handle())
	}
}

func equal(a, b crypto.PublicKey) bool {
	pub, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(b)
}

func (f *fixture) is(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s returned %v, want %v", what, err, want)
	}
}

// input returns what the key takes for a message.
func input(k keystore.Key, message string) (digest []byte, opts crypto.SignerOpts) {
	if _, ok := k.Public().(*ecdsa.PublicKey); ok {
		sum := sha256.Sum256([]byte(message))
		return sum[:], crypto.SHA256
	}
	return []byte(message), crypto.Hash(0)
}

func (f *fixture) trySign(k keystore.Key, message string) ([]byte, error) {
	digest, opts := input(k, message)
	return keystore.Sign(f.ctx, k, digest, opts)
}

// signs checks that a key makes good signatures.
func (f *fixture) signs(k keystore.Key) {
	f.Helper()
	// Longer than a digest: what signs its beginning only is found out.
	const message = "a message of more than thirty-two bytes, which is the length of a SHA-256 digest"
	signature, err := f.trySign(k, message)
	if err != nil {
		f.Errorf("Sign: %v", err)
		return
	}
	if !verifies(k.Public(), message, signature) {
		f.Errorf("the signature of key %q does not verify with its public key, a %T", k.Handle(), k.Public())
	}
}

func verifies(pub crypto.PublicKey, message string, signature []byte) bool {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, []byte(message), signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256([]byte(message))
		return pub.Curve == elliptic.P256() && ecdsa.VerifyASN1(pub, sum[:], signature)
	}
	return false
}

// race calls do from several goroutines at once and returns their errors.
func (f *fixture) race(do func(i int) error) []error {
	errs := make([]error, callers)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	running.Wait()
	return errs
}
