package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/store"
)

var commit = []promise{
	{"no ops is no change and no error", func(f *fixture) { f.commit() }},
	{"all ops happen", allHappen},
	{"one op that fails leaves nothing, wherever it stands", noneHappens},
	{"two ops on one record or counter are refused", twoOnOne},
	{"a record and a counter, or two kinds, may share a name", func(f *fixture) {
		other := store.Record{Kind: "other", ID: "a", Data: []byte("y")}
		f.commit(store.Insert(record("a", "x")), store.Insert(other), store.Take("a", 1, 1, time.Time{}))
		f.same(f.get("a"), record("a", "x"))
		f.same(f.getAll(other.Key())[0], other)
		f.sum("a", 1)
		f.commit(store.Delete(f.get("a")))
		f.sum("a", 1)
		f.same(f.getAll(other.Key())[0], other)
	}},
	{"up to 256 ops", func(f *fixture) {
		ops := make([]store.Op, store.MaxOps+1)
		for i := range ops {
			ops[i] = store.Insert(record(fmt.Sprint(i), "x"))
		}
		if err := f.store.Commit(f.ctx, ops...); !errors.Is(err, store.ErrInvalid) {
			f.Fatalf("Commit of %d ops returned %v, want ErrInvalid", len(ops), err)
		}
		f.absent("0")
		f.commit(ops[:store.MaxOps]...)
		if got := len(f.list(store.Query{Kind: kind})); got != store.MaxOps {
			f.Errorf("%d records stand, want %d", got, store.MaxOps)
		}
	}},
	{"an op that is none is refused", func(f *fixture) {
		for _, action := range []store.Action{0, -1, store.ActionTake + 1} {
			f.refused(store.ErrInvalid, 1, store.Insert(record("a", "")), store.Op{Action: action, Record: record("b", "")})
		}
		f.absent("a")
	}},
	{"the order of the ops does not matter", func(f *fixture) {
		for i := range f.size.rounds {
			ops := f.scene(fmt.Sprint(i, " "))
			slices.Reverse(ops)
			f.commit(ops...)
			f.sum(fmt.Sprint(i, " taken"), 3)
			f.absent(fmt.Sprint(i, " deleted"))
		}
	}},
	{"a reader never sees half", neverHalf},
}

// scene prepares records whose IDs have the given prefix, and returns one op of
// each action that can be done to them.
func (f *fixture) scene(prefix string) []store.Op {
	f.Helper()
	name := func(s string) string { return prefix + s }
	f.commit(store.Insert(record(name("put"), "old")), store.Insert(record(name("replaced"), "old")),
		store.Insert(record(name("deleted"), "old")), store.Insert(record(name("checked"), "old")))
	f.add(name("taken"), 1, time.Time{}, 1)
	replaced := f.get(name("replaced"))
	replaced.Data = []byte("new")
	return []store.Op{
		store.Insert(record(name("inserted"), "new")),
		store.Put(record(name("put"), "new")),
		store.Replace(replaced),
		store.Delete(f.get(name("deleted"))),
		store.Check(f.get(name("checked"))),
		store.Take(name("taken"), 2, 5, time.Time{}),
	}
}

func allHappen(f *fixture) {
	f.commit(f.scene("")...)
	for _, id := range []string{"inserted", "put", "replaced"} {
		f.same(f.get(id), record(id, "new"))
	}
	f.same(f.get("checked"), record("checked", "old"))
	f.absent("deleted")
	f.sum("taken", 3)
}

func noneHappens(f *fixture) {
	f.commit(store.Insert(record("stale", "first")), store.Insert(until(f.clock.in(time.Minute), "expired", "")))
	stale, expired := f.get("stale"), f.get("expired")
	f.clock.set(expired.Expires)
	f.commit(store.Put(record("stale", "second")))
	f.add("full", 7, time.Time{}, 7)
	gone := record("gone", "")
	gone.Version = stale.Version
	good := f.scene("")
	before := f.state()
	for _, bad := range []struct {
		op  store.Op
		err error
	}{
		{store.Insert(record("stale", "x")), store.ErrExists},
		{store.Replace(stale), store.ErrConflict},
		{store.Delete(stale), store.ErrConflict},
		{store.Check(stale), store.ErrConflict},
		{store.Replace(gone), store.ErrConflict},
		{store.Delete(gone), store.ErrConflict},
		{store.Check(gone), store.ErrConflict},
		{store.Check(expired), store.ErrConflict},
		{store.Take("full", 1, 7, time.Time{}), store.ErrLimit},
		{store.Take("absent", 8, 7, time.Time{}), store.ErrLimit},
		{store.Insert(record("", "")), store.ErrInvalid},
		{store.Take("", 1, 1, time.Time{}), store.ErrInvalid},
	} {
		for i := range len(good) + 1 {
			f.refused(bad.err, i, slices.Insert(slices.Clone(good), i, bad.op)...)
			if after := f.state(); after != before {
				f.Fatalf("%v as op %d failed, and yet\n%s\nbecame\n%s", bad.op.Action, i, before, after)
			}
		}
	}
	f.commit(good...)
}

// state describes everything that the ops of a scene could have changed.
func (f *fixture) state() string {
	f.Helper()
	var b strings.Builder
	for _, r := range f.list(store.Query{Kind: kind}) {
		fmt.Fprintln(&b, describe(r))
	}
	for _, counter := range []string{"taken", "full", "absent"} {
		n, err := f.store.Add(f.ctx, counter, 0, time.Time{})
		if err != nil {
			f.Fatalf("Add: %v", err)
		}
		fmt.Fprintln(&b, counter, n)
	}
	return b.String()
}

func twoOnOne(f *fixture) {
	a := f.insert(record("a", "x"))
	f.add("n", 1, time.Time{}, 1)
	onA := []store.Op{store.Insert(a), store.Put(a), store.Replace(a), store.Delete(a), store.Check(a)}
	for _, first := range onA {
		for _, second := range onA {
			f.refused(store.ErrInvalid, 2, first, store.Put(record("between", "")), second)
		}
	}
	f.refused(store.ErrInvalid, 1, store.Take("n", 1, 9, time.Time{}), store.Take("n", 1, 9, time.Time{}))
	b := record("b", "")
	f.refused(store.ErrInvalid, 1, store.Insert(b), store.Insert(b))
	f.unchanged(a)
	f.absent("between")
	f.absent("b")
	f.sum("n", 1)
}

// neverHalf writes two records in step, and a third by turns with a fourth,
// while others read them.
func neverHalf(f *fixture) {
	f.commit(store.Insert(record("a", "0")), store.Insert(record("b", "0")), store.Insert(record("even", "")))
	keys := []store.Key{key("a"), key("even"), key("odd"), key("b")}
	var done atomic.Bool
	errs := f.race(4, func(caller int) error {
		if caller == 0 {
			defer done.Store(true)
			return f.inStep(keys)
		}
		for !done.Load() {
			r, err := f.store.Get(f.ctx, keys...)
			if err != nil {
				return err
			}
			if string(r[0].Data) != string(r[3].Data) || r[1].Exists() == r[2].Exists() {
				return fmt.Errorf("read a = %q, b = %q, even: %v, odd: %v", r[0].Data, r[3].Data, r[1].Exists(), r[2].Exists())
			}
		}
		return nil
	})
	if err := errors.Join(errs...); err != nil {
		f.Fatalf("%v", err)
	}
}

func (f *fixture) inStep(keys []store.Key) error {
	for i := range 2 * f.size.rounds {
		r, err := f.store.Get(f.ctx, keys...)
		if err != nil {
			return err
		}
		gone, come := r[1], "odd"
		if r[2].Exists() {
			gone, come = r[2], "even"
		}
		a, b := r[0], r[3]
		a.Data, b.Data = fmt.Append(nil, i), fmt.Append(nil, i)
		if err := f.store.Commit(f.ctx, store.Replace(b), store.Delete(gone), store.Insert(record(come, "")), store.Replace(a)); err != nil {
			return err
		}
	}
	return nil
}
