package keystore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/keywright/keywright/keystore"
)

// A slow operator answers when told to.
type slowOperator struct {
	asked chan context.Context
	say   chan string // "": the error of the context
}

func (o slowOperator) answer(ctx context.Context) ([]byte, error) {
	o.asked <- ctx
	if text := <-o.say; text != "" {
		return []byte(text), nil
	}
	return nil, ctx.Err()
}

// slowly loads one key many times at once while an operator thinks. Once the
// operator is asked, do is called and all others wait.
func slowly(t *testing.T, do func(o slowOperator, cancelFirst func(), results chan error)) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	synctest.Test(t, func(t *testing.T) {
		o := slowOperator{make(chan context.Context), make(chan string)}
		d := open(t, keystore.DirConfig{Path: filepath.Dir(f.name), Passphrase: o.answer})
		load := func(ctx context.Context, results chan error) {
			_, err := d.Load(ctx, "handle")
			results <- err
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 50)
		go load(ctx, results)
		<-o.asked
		for range 49 {
			go load(t.Context(), results)
		}
		synctest.Wait()
		do(o, cancel, results)
	})
}

func TestManyWhoWaitShareOneAnswer(t *testing.T) {
	for text, want := range map[string]error{passphrase: nil, "wrong": keystore.ErrWrongPassphrase} {
		slowly(t, func(o slowOperator, _ func(), results chan error) {
			o.say <- text
			for range 50 {
				if err := <-results; !errors.Is(err, want) {
					t.Errorf("Load: %v, want %v", err, want)
				}
			}
		})
	}
}

func TestWhoGivesUpDoesNotFailTheOthers(t *testing.T) {
	slowly(t, func(o slowOperator, cancelFirst func(), results chan error) {
		cancelFirst()
		o.say <- ""
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("the first: %v, want context.Canceled", err)
		}
		<-o.asked // by one of the others
		o.say <- passphrase
		for range 49 {
			if err := <-results; err != nil {
				t.Errorf("one of the others: %v", err)
			}
		}
	})
}

func TestWhoWaitsMayGiveUp(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	second := newKeyFile(t, withPassphrase, keystore.Ed25519) // of another salt
	overwrite(t, filepath.Join(filepath.Dir(f.name), "second.jwk.json"), sealedAs(t, second, "second"))
	synctest.Test(t, func(t *testing.T) {
		o := slowOperator{make(chan context.Context), make(chan string)}
		d := open(t, keystore.DirConfig{Path: filepath.Dir(f.name), Passphrase: o.answer})
		first := make(chan error, 1)
		go func() {
			_, err := d.Load(t.Context(), "handle")
			first <- err
		}()
		<-o.asked
		for _, handle := range []string{"handle", "second"} { // which wait for the answer, and for their turn
			ctx, cancel := context.WithCancel(t.Context())
			waiting := make(chan error, 1)
			go func() {
				_, err := d.Load(ctx, handle)
				waiting <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-waiting; !errors.Is(err, context.Canceled) {
				t.Errorf("Load of %s: %v, want context.Canceled", handle, err)
			}
		}
		o.say <- passphrase
		if err := <-first; err != nil {
			t.Errorf("the first: %v", err)
		}
	})
}

// sealedAs moves a key to another handle of its directory.
func sealedAs(t *testing.T, f keyFile, handle string) []byte {
	t.Helper()
	generate(t, f.dir, keystore.Ed25519, handle)
	return must(os.ReadFile(filepath.Join(filepath.Dir(f.name), handle+".jwk.json")))
}

func TestACallbackThatPanicsLeavesNobodyWaiting(t *testing.T) {
	f := newKeyFile(t, withPassphrase, keystore.Ed25519)
	fine := false
	c := keystore.DirConfig{Path: filepath.Dir(f.name), Passphrase: func(context.Context) ([]byte, error) {
		if !fine {
			panic("no terminal")
		}
		return []byte(passphrase), nil
	}}
	d := open(t, c)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		d.Load(t.Context(), "handle")
	}()
	fine = true
	wantKey(t, d, f.key)
}
