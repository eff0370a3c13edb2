package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keywright/keywright/store"
)

var races = []promise{
	{"STO-01 one of many claims the same ID, and only its key stands", oneClaim},
	{"STO-02 one of many inserts the same marker, over an expired one too", oneMarker},
	{"one of many replaces a version", func(f *fixture) {
		r := f.insert(record("a", "old"))
		errs := f.race(f.size.callers, func(i int) error {
			mine := r
			mine.Data = fmt.Append(nil, i)
			return f.store.Commit(f.ctx, store.Replace(mine))
		})
		f.tally(errs, 1, store.ErrConflict)
		f.same(f.get("a"), record("a", strconv.Itoa(winner(errs))))
	}},
	{"one of many deletes a version", func(f *fixture) {
		r := f.insert(record("a", "x"))
		f.tally(f.race(f.size.callers, func(int) error { return f.store.Commit(f.ctx, store.Delete(r)) }), 1, store.ErrConflict)
		f.absent("a")
	}},
	{"a version is replaced or deleted, not both", func(f *fixture) {
		for i := range f.size.rounds {
			r := f.insert(record(strconv.Itoa(i), "x"))
			errs := f.race(2, func(caller int) error {
				// Which of two begins is no matter of chance everywhere.
				if caller == i%2 {
					return f.store.Commit(f.ctx, store.Replace(r))
				}
				return f.store.Commit(f.ctx, store.Delete(r))
			})
			f.tally(errs, 1, store.ErrConflict)
			if replaced := errs[i%2] == nil; f.get(r.ID).Exists() != replaced {
				f.Fatalf("replaced: %v, and yet the record is %s", replaced, describe(f.get(r.ID)))
			}
		}
	}},
	{"no update is lost", noLostUpdate},
	{"Take gives exactly its maximum to many", func(f *fixture) {
		most := f.size.callers/2 | 1 // odd: callers that come in pairs must not stop at it by themselves
		errs := f.race(f.size.callers, func(i int) error {
			return f.store.Commit(f.ctx, store.Take("n", 1, int64(most), never), store.Insert(record(strconv.Itoa(i), "")))
		})
		f.tally(errs, most, store.ErrLimit)
		f.sum("n", int64(most))
		if got := len(f.list(store.Query{Kind: kind})); got != most {
			f.Errorf("%d records stand, want %d", got, most)
		}
	}},
	{"Add counts every caller once", addCounts},
	{"a window that has ended begins again once for all", windowBegins},
	{"two Inserts by many are both or neither", bothOrNeither},
	{"two Commits that check what the other writes do not both succeed", noSkew},
	{"nothing is made for a parent that is gone", noOrphan},
	{"opposite orders do not block each other", noDeadlock},
}

// winner returns the index of the first caller without an error.
func winner(errs []error) int {
	for i, err := range errs {
		if err == nil {
			return i
		}
	}
	return -1
}

func oneClaim(f *fixture) {
	errs := f.race(f.size.callers, func(i int) error {
		return f.store.Commit(f.ctx, store.Insert(record(fmt.Sprint("key ", i), "")), store.Insert(record("claim", strconv.Itoa(i))))
	})
	f.tally(errs, 1, store.ErrExists)
	won := winner(errs)
	f.same(f.get("claim"), record("claim", strconv.Itoa(won)))
	if got := idsOf(f.list(store.Query{Kind: kind, Prefix: "key "})); len(got) != 1 || got[0] != fmt.Sprint("key ", won) {
		f.Errorf("the keys %q stand, want that of caller %d", got, won)
	}
}

func oneMarker(f *fixture) {
	for range 3 {
		marker := until(f.clock.in(time.Minute), "issuer/jti", "")
		errs := f.race(f.size.callers, func(int) error { return f.store.Commit(f.ctx, store.Insert(marker)) })
		f.tally(errs, 1, store.ErrExists)
		f.clock.set(marker.Expires)
	}
}

// noLostUpdate has callers count in a record, each reading again when another
// was faster.
func noLostUpdate(f *fixture) {
	const callers, each = 4, 10
	f.insert(record("n", "0"))
	errs := f.race(callers, func(int) error {
		for done := 0; done < each; {
			r, err := f.store.Get(f.ctx, key("n"))
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(string(r[0].Data))
			if err != nil {
				return err
			}
			r[0].Data = strconv.AppendInt(nil, int64(n+1), 10)
			err = f.store.Commit(f.ctx, store.Replace(r[0]))
			switch {
			case err == nil:
				done++
			case !errors.Is(err, store.ErrConflict):
				return err
			}
		}
		return nil
	})
	f.tally(errs, callers, nil)
	f.same(f.get("n"), record("n", strconv.Itoa(callers*each)))
}

func addCounts(f *fixture) {
	sums := make([]int64, f.size.callers)
	errs := f.race(f.size.callers, func(i int) (err error) {
		sums[i], err = f.store.Add(f.ctx, "n", 1, never)
		return err
	})
	f.tally(errs, f.size.callers, nil)
	f.sum("n", int64(f.size.callers))
	seen := make(map[int64]bool)
	for _, sum := range sums {
		if seen[sum] {
			f.Errorf("two callers were told %d", sum)
		}
		seen[sum] = true
	}
}

// windowBegins has callers meet at the first moment of a new window.
func windowBegins(f *fixture) {
	const callers = 16
	for round := range int64(5) {
		end := f.clock.in(time.Second)
		f.add("n", 7, end, 7+callers*min(round, 1))
		f.clock.set(end)
		next := f.clock.in(time.Second)
		errs := f.race(callers, func(i int) error {
			if (int64(i)+round)%2 == 0 {
				return f.store.Commit(f.ctx, store.Take("n", 1, 1<<40, next))
			}
			_, err := f.store.Add(f.ctx, "n", 1, next)
			return err
		})
		f.tally(errs, callers, nil)
		f.sum("n", callers)
	}
}

// bothOrNeither has callers insert a record with a neighbour's, so that each
// record is wanted by two of them.
func bothOrNeither(f *fixture) {
	n := f.size.callers
	errs := f.race(n, func(i int) error {
		mine := strconv.Itoa(i)
		return f.store.Commit(f.ctx, store.Insert(record(mine, mine)), store.Insert(record(strconv.Itoa((i+1)%n), mine)))
	})
	want := 0
	for i, err := range errs {
		if err == nil {
			want += 2
			f.same(f.get(strconv.Itoa(i)), record(strconv.Itoa(i), strconv.Itoa(i)))
		} else if !errors.Is(err, store.ErrExists) {
			f.Fatalf("caller %d got %v, want ErrExists", i, err)
		}
	}
	if got := len(f.list(store.Query{Kind: kind})); want == 0 || got != want {
		f.Errorf("%d records stand, want %d", got, want)
	}
}

// noSkew has each of two callers write one record on the condition that the
// other still stands as it was.
func noSkew(f *fixture) {
	for i := range f.size.rounds {
		a, b := f.insert(record(fmt.Sprint(i, "a"), "")), f.insert(record(fmt.Sprint(i, "b"), ""))
		errs := f.race(2, func(caller int) error {
			if caller == 0 {
				return f.store.Commit(f.ctx, store.Check(a), store.Replace(b))
			}
			return f.store.Commit(f.ctx, store.Replace(a), store.Check(b))
		})
		f.tally(errs, 1, store.ErrConflict)
	}
}

// noOrphan deletes a parent while others make children of it.
func noOrphan(f *fixture) {
	for round := range f.size.rounds {
		parent := f.insert(record(fmt.Sprint("parent ", round), ""))
		children := store.Query{Kind: kind, Prefix: fmt.Sprint("child ", round, "/")}
		var before []string
		errs := f.race(4, func(i int) error {
			if i != round%4 {
				return f.store.Commit(f.ctx, store.Insert(record(fmt.Sprint(children.Prefix, i), "")), store.Check(parent))
			}
			err := f.store.Commit(f.ctx, store.Delete(parent))
			for r, listed := range f.store.List(f.ctx, children) {
				if err == nil {
					err = listed
				}
				before = append(before, r.ID)
			}
			return err
		})
		if err := errs[round%4]; err != nil {
			f.Fatalf("Delete: %v", err)
		}
		f.tally(errs, 1+len(before), store.ErrConflict)
		if after := f.list(children); len(after) != len(before) {
			f.Fatalf("%d children, but %d when the parent was gone", len(after), len(before))
		}
	}
}

func noDeadlock(f *fixture) {
	there := []store.Op{
		store.Put(record("a", "")), store.Take("n", 1, 1<<40, never), store.Put(record("b", "")),
		store.Put(record("c", "")), store.Take("m", 1, 1<<40, never),
	}
	back := make([]store.Op, len(there))
	for i, op := range there {
		back[len(back)-1-i] = op
	}
	errs := f.race(2, func(caller int) error {
		ops := there
		if caller == 1 {
			ops = back
		}
		for range 2 * f.size.rounds {
			if err := f.store.Commit(f.ctx, ops...); err != nil {
				return err
			}
		}
		return nil
	})
	f.tally(errs, 2, nil)
	f.sum("n", int64(4*f.size.rounds))
}
