package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/store"
)

// A fixture is what one case works with: an empty store and its clock.
type fixture struct {
	tb
	ctx   context.Context
	store store.Store
	clock *clock
	size  scale
}

// A tb is the part of [testing.TB] that cases need, so that the tests of this
// package can see a case fail without failing themselves.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // only from the goroutine that runs the case
}

// kind is that of all records, except where kinds matter.
const kind = "storetest"

// A clock stands still until it is told to move.
type clock struct{ nanos atomic.Int64 }

// newClock returns a clock in the past of every machine's.
func newClock() *clock {
	c := new(clock)
	c.set(time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC))
	return c
}

func (c *clock) now() time.Time               { return time.Unix(0, c.nanos.Load()) }
func (c *clock) set(t time.Time)              { c.nanos.Store(t.UnixNano()) }
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }

// record returns a record that never expires.
func record(id, data string) store.Record {
	return store.Record{Kind: kind, ID: id, Data: []byte(data)}
}

// until returns a record that expires.
func until(t time.Time, id, data string) store.Record {
	return store.Record{Kind: kind, ID: id, Data: []byte(data), Expires: t}
}

func key(id string) store.Key { return store.Key{Kind: kind, ID: id} }

// commit does what must succeed.
func (f *fixture) commit(ops ...store.Op) {
	f.Helper()
	if err := f.store.Commit(f.ctx, ops...); err != nil {
		f.Fatalf("Commit: %v", err)
	}
}

// refused does what must fail with the given error, as the op with that index.
func (f *fixture) refused(want error, index int, ops ...store.Op) {
	f.Helper()
	err := f.store.Commit(f.ctx, ops...)
	if !errors.Is(err, want) {
		f.Fatalf("Commit returned %v, want %v", err, want)
	}
	var failed *store.OpError
	if !errors.As(err, &failed) {
		f.Fatalf("Commit returned %T, want an OpError", err)
	}
	if failed.Index != index {
		f.Fatalf("OpError has index %d, want %d: %v", failed.Index, index, failed)
	}
	got, op := failed.Op, ops[index]
	if got.Action != op.Action || got.Record.Key() != op.Record.Key() || got.Counter.Name != op.Counter.Name {
		f.Fatalf("OpError names %v %q %q, want %v %q %q", got.Action, got.Record.ID, got.Counter.Name,
			op.Action, op.Record.ID, op.Counter.Name)
	}
}

// get returns the record with the given ID, which may be absent.
func (f *fixture) get(id string) store.Record {
	f.Helper()
	return f.getAll(key(id))[0]
}

func (f *fixture) getAll(keys ...store.Key) []store.Record {
	f.Helper()
	got, err := f.store.Get(f.ctx, keys...)
	if err != nil {
		f.Fatalf("Get: %v", err)
	}
	if len(got) != len(keys) {
		f.Fatalf("Get of %d keys returned %d records", len(keys), len(got))
	}
	return got
}

// insert adds a record and returns it as it then stands.
func (f *fixture) insert(r store.Record) store.Record {
	f.Helper()
	f.commit(store.Insert(r))
	got := f.getAll(r.Key())[0]
	f.same(got, r)
	return got
}

// same checks that got is want, whatever version it has.
func (f *fixture) same(got, want store.Record) {
	f.Helper()
	if !got.Exists() {
		f.Fatalf("%s %.80q is absent", want.Kind, want.ID)
	}
	if got.Key() != want.Key() || !bytes.Equal(got.Data, want.Data) || !got.Expires.Equal(want.Expires) {
		f.Fatalf("got %s, want %s", describe(got), describe(want))
	}
}

// absent checks that there is nothing with the given ID, and that this is said
// with the key alone.
func (f *fixture) absent(id string) {
	f.Helper()
	got := f.get(id)
	if got.Key() != key(id) || got.Exists() || len(got.Data) > 0 || !got.Expires.IsZero() {
		f.Fatalf("got %s, want %q absent", describe(got), id)
	}
}

func describe(r store.Record) string {
	return fmt.Sprintf("%s %.80q version %d expires %v data %.80q", r.Kind, r.ID, r.Version, r.Expires, r.Data)
}

// add adds to a counter and checks the sum.
func (f *fixture) add(counter string, n int64, until time.Time, want int64) {
	f.Helper()
	got, err := f.store.Add(f.ctx, counter, n, until)
	if err != nil {
		f.Fatalf("Add: %v", err)
	}
	if got != want {
		f.Fatalf("Add(%q, %d) returned %d, want %d", counter, n, got, want)
	}
}

// sum checks what a counter stands at.
func (f *fixture) sum(counter string, want int64) {
	f.Helper()
	f.add(counter, 0, time.Time{}, want)
}

// list returns what q selects.
func (f *fixture) list(q store.Query) []store.Record {
	f.Helper()
	var got []store.Record
	for r, err := range f.store.List(f.ctx, q) {
		if err != nil {
			f.Fatalf("List: %v", err)
		}
		got = append(got, r)
	}
	return got
}

func idsOf(records []store.Record) []string {
	got := make([]string, len(records))
	for i, r := range records {
		got[i] = r.ID
	}
	return got
}

// race calls do from n goroutines at once and returns their errors.
func (f *fixture) race(n int, do func(i int) error) []error {
	f.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			errs[i] = do(i)
		})
	}
	close(start)
	f.within("a race", running.Wait)
	return errs
}

// within fails the case when do gets stuck.
func (f *fixture) within(what string, do func()) {
	f.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	timeout := time.NewTimer(f.size.patience)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		f.Fatalf("%s did not end in %v", what, f.size.patience)
	}
}

// tally checks that so many of errs are nil and all others are the given one.
func (f *fixture) tally(errs []error, succeed int, others error) {
	f.Helper()
	got := 0
	for i, err := range errs {
		switch {
		case err == nil:
			got++
		case !errors.Is(err, others):
			f.Fatalf("caller %d got %v, want %v", i, err, others)
		}
	}
	if got != succeed {
		f.Fatalf("%d of %d callers succeeded, want %d", got, len(errs), succeed)
	}
}
