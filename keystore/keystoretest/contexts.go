package keystoretest

import (
	"context"
	"time"

	"github.com/keywright/keywright/keystore"
)

var contexts = []promise{
	{"a cancelled context stops every method, and nothing changes", func(f *fixture) {
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		f.stopped(ctx, context.Canceled)
	}},
	{"a deadline that has passed stops every method, and nothing changes", func(f *fixture) {
		ctx, cancel := context.WithDeadline(f.ctx, time.Unix(0, 0))
		defer cancel()
		f.stopped(ctx, context.DeadlineExceeded)
	}},
	{"a list ends with its context", func(f *fixture) {
		f.several()
		ctx, cancel := context.WithCancel(f.ctx)
		defer cancel()
		var last error
		for _, last = range f.lister().List(ctx) {
			cancel()
		}
		f.is("List", last, context.Canceled)
	}},
}

// stopped calls all methods that the store has with a context that is done.
func (f *fixture) stopped(ctx context.Context, want error) {
	f.Helper()
	k, err := f.store.Load(ctx, handle)
	f.is("Load", err, want)
	if k != nil {
		f.Errorf("Load returned a key with its error")
	}
	g, ok := f.store.(keystore.Generator)
	if !ok {
		return
	}
	for _, a := range algorithms {
		if _, err := g.Generate(ctx, keystore.KeyOptions{Algorithm: a, Handle: handle}); err == nil {
			f.Errorf("Generate of %v returned no error", a)
		} else {
			f.is("Generate", err, want)
		}
	}
	f.absent(handle)

	made := f.generate(handle)
	digest, opts := input(made, "message")
	_, err = keystore.Sign(ctx, made, digest, opts)
	f.is("Sign", err, want)
	if d, ok := f.store.(keystore.Deleter); ok {
		f.is("Delete", d.Delete(ctx, handle), want)
	}
	if l, ok := f.store.(keystore.Lister); ok {
		steps := 0
		for h, err := range l.List(ctx) {
			steps++
			f.is("List", err, want)
			if h != "" {
				f.Errorf("List yielded %q with its error", h)
			}
		}
		if steps != 1 {
			f.Errorf("List took %d steps, want 1", steps)
		}
	}
	f.signs(made)
	f.same(f.load(handle), made)
}
