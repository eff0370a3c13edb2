package storetest

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/store"
)

var contexts = []promise{
	{"STO-08 a cancelled context stops every method, and nothing is written", func(f *fixture) {
		ctx, cancel := context.WithCancel(f.ctx)
		cancel()
		f.stopped(ctx, context.Canceled)
	}},
	{"STO-08 a deadline that has passed stops every method, and nothing is written", func(f *fixture) {
		ctx, cancel := context.WithDeadline(f.ctx, time.Unix(0, 0))
		defer cancel()
		f.stopped(ctx, context.DeadlineExceeded)
	}},
	{"STO-08 a list ends soon after its context", listStopped},
	{"STO-08 callers whose context ends leave all or nothing, and the store usable", cutShort},
}

// stopped calls every method with a context that is done.
func (f *fixture) stopped(ctx context.Context, want error) {
	f.Helper()
	ops := f.scene("")
	before := f.state()
	f.within("a call with a context that is done", func() {
		_, err := f.store.Get(ctx, key("put"))
		f.is("Get", err, want)
		f.is("Commit", f.store.Commit(ctx, ops...), want)
		f.is("Commit of one op", f.store.Commit(ctx, ops[0]), want)
		_, err = f.store.Add(ctx, "taken", 1, never)
		f.is("Add", err, want)
		_, err = f.store.Add(ctx, "taken", 0, never)
		f.is("Add of zero", err, want)
		steps := 0
		for r, err := range f.store.List(ctx, store.Query{Kind: kind}) {
			steps++
			f.is("List", err, want)
			if r.Exists() || r.Key() != (store.Key{}) {
				f.Errorf("List yielded %s with its error", describe(r))
			}
		}
		if steps != 1 {
			f.Errorf("List took %d steps, want 1", steps)
		}
	})
	if after := f.state(); after != before {
		f.Errorf("%s\nbecame\n%s", before, after)
	}
	f.commit(ops...)
}

func (f *fixture) is(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s returned %v, want %v", what, err, want)
	}
}

func listStopped(f *fixture) {
	f.insertAll(numbered(600)...)
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var last error
	steps := 0
	for _, last = range f.store.List(ctx, store.Query{Kind: kind}) {
		if steps++; steps == 5 {
			cancel()
		}
	}
	if steps < 5 || steps > 500 || !errors.Is(last, context.Canceled) {
		f.Errorf("after %d steps the list ended with %v, want context.Canceled soon after step 5", steps, last)
	}
}

// cutShort cancels Commits at all moments of their lives.
func cutShort(f *fixture) {
	for i := range f.size.rounds {
		id := numbered(i + 1)[i]
		ctx, cancel := context.WithCancel(f.ctx)
		errs := f.race(2, func(caller int) error {
			if caller == 1 {
				cancel()
				return nil
			}
			return f.store.Commit(ctx, store.Insert(record(id, "")), store.Take(id, 1, 1, never), store.Insert(record(id+"+", "")))
		})
		cancel()
		first, second := f.get(id).Exists(), f.get(id+"+").Exists()
		switch err := errs[0]; {
		case first != second:
			f.Fatalf("the first record stands: %v, the second: %v", first, second)
		case err == nil && !first:
			f.Fatalf("Commit succeeded and nothing stands")
		case err != nil && !errors.Is(err, context.Canceled):
			f.Fatalf("Commit returned %v, want context.Canceled", err)
		}
		if first {
			f.sum(id, 1)
		} else {
			f.sum(id, 0)
		}
	}
	f.insert(record("last", ""))
}
