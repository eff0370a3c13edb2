package storetest

import (
	"time"

	"github.com/keywright/keywright/store"
)

var never time.Time

var counters = []promise{
	{"Add returns the sum", func(f *fixture) {
		f.sum("n", 0)
		f.add("n", 1, never, 1)
		f.add("n", 41, never, 42)
		f.add("n", -2, never, 40)
		f.add("m", 5, never, 5)
		f.sum("n", 40)
	}},
	{"a sum below zero is zero", func(f *fixture) {
		f.add("absent", -5, never, 0)
		f.add("absent", 2, never, 2)
		f.add("n", 3, never, 3)
		f.add("n", -10, never, 0)
		f.add("n", 1, never, 1)
		f.commit(store.Take("n", -7, 9, never))
		f.sum("n", 0)
		f.commit(store.Take("m", -7, 9, never))
		f.commit(store.Take("m", 1, 1, never))
		f.sum("m", 1)
		expired := f.clock.in(time.Second)
		f.add("window", 5, expired, 5)
		f.clock.set(expired)
		f.add("window", -1, never, 0)
		f.add("window", 1, never, 1)
	}},
	{"a counter lives until the instant of its time", func(f *fixture) {
		end := f.clock.in(time.Minute)
		f.add("n", 3, end, 3)
		f.clock.set(end.Add(-1))
		f.sum("n", 3)
		f.add("n", 1, f.clock.in(time.Hour), 4)
		f.clock.set(end)
		f.sum("n", 0)
		f.clock.set(end.Add(time.Minute))
		f.sum("n", 0)
	}},
	{"a live counter keeps its time", keepsTime},
	{"a counter whose time has passed begins again", beginsAgain},
	{"zero means for ever", func(f *fixture) {
		f.add("n", 1, never, 1)
		f.add("n", 1, f.clock.in(time.Second), 2)
		f.clock.set(time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC))
		f.sum("n", 2)
	}},
	{"adding zero only reads", func(f *fixture) {
		soon, later := f.clock.in(time.Second), f.clock.in(time.Hour)
		f.add("n", 0, soon, 0)
		f.commit(store.Take("n", 0, 0, soon))
		f.add("n", 1, later, 1)
		f.add("n", 0, soon, 1)
		f.clock.set(soon)
		f.sum("n", 1)
		f.clock.set(later)
		f.add("n", 0, never, 0)
		f.add("n", 1, f.clock.in(time.Second), 1)
		f.clock.set(f.clock.in(time.Second))
		f.sum("n", 0)
	}},
	{"Take stops exactly at its maximum", takeMaximum},
	{"a refused Take changes nothing", takeRefused},
	{"counters and records do not share names", func(f *fixture) {
		f.add("a", 1, never, 1)
		f.absent("a")
		f.insert(record("a", "x"))
		f.insert(record("b", "x"))
		f.sum("a", 1)
		f.sum("b", 0)
	}},
	{"a change reaches up to its limit", func(f *fixture) {
		f.add("n", store.MaxDelta, never, store.MaxDelta)
		f.add("n", store.MaxDelta, never, 2*store.MaxDelta)
		f.commit(store.Take("n", -store.MaxDelta, store.MaxDelta, never))
		f.add("n", -store.MaxDelta, never, 0)
		for _, n := range []int64{store.MaxDelta + 1, -store.MaxDelta - 1, 1<<63 - 1, -1 << 63} {
			_, err := f.store.Add(f.ctx, "n", n, never)
			f.invalid("a large change", err)
			f.refused(store.ErrInvalid, 0, store.Take("n", n, 1<<62, never))
		}
		f.sum("n", 0)
	}},
}

func keepsTime(f *fixture) {
	end := f.clock.in(time.Minute)
	f.add("added", 1, end, 1)
	f.commit(store.Take("taken", 1, 9, end))
	for _, other := range []time.Time{end.Add(time.Hour), never, f.clock.in(time.Second)} {
		f.add("added", 1, other, f.next("added"))
		f.commit(store.Take("taken", 1, 9, other))
	}
	f.clock.set(end.Add(-1))
	f.sum("added", 4)
	f.sum("taken", 4)
	f.clock.set(end)
	f.sum("added", 0)
	f.sum("taken", 0)
}

// next returns what a counter will be after one more.
func (f *fixture) next(counter string) int64 {
	f.Helper()
	n, err := f.store.Add(f.ctx, counter, 0, never)
	if err != nil {
		f.Fatalf("Add: %v", err)
	}
	return n + 1
}

func beginsAgain(f *fixture) {
	first := f.clock.in(time.Minute)
	second := first.Add(time.Minute)
	f.add("added", 5, first, 5)
	f.commit(store.Take("taken", 5, 5, first))
	f.clock.set(first)
	f.add("added", 2, second, 2)
	f.commit(store.Take("taken", 2, 5, second))
	f.sum("taken", 2)
	f.clock.set(second.Add(-1))
	f.sum("added", 2)
	f.sum("taken", 2)
	f.clock.set(second)
	f.sum("added", 0)
	f.sum("taken", 0)
}

func takeMaximum(f *fixture) {
	f.commit(store.Take("n", 2, 3, never))
	f.refused(store.ErrLimit, 0, store.Take("n", 2, 3, never))
	f.commit(store.Take("n", 1, 3, never))
	f.refused(store.ErrLimit, 0, store.Take("n", 1, 3, never))
	f.commit(store.Take("n", 0, 3, never))
	f.refused(store.ErrLimit, 0, store.Take("n", 0, 2, never))
	f.sum("n", 3)
	// Giving back counts only if it is enough.
	f.refused(store.ErrLimit, 0, store.Take("n", -1, 1, never))
	f.commit(store.Take("n", -1, 2, never))
	f.commit(store.Take("n", 1, 3, never))
	f.refused(store.ErrLimit, 0, store.Take("new", 1, 0, never))
	f.refused(store.ErrLimit, 0, store.Take("new", -1, -1, never))
	f.refused(store.ErrLimit, 0, store.Take("new", 0, -1, never))
	f.sum("new", 0)
}

func takeRefused(f *fixture) {
	soon, later := f.clock.in(time.Second), f.clock.in(time.Hour)
	f.refused(store.ErrLimit, 0, store.Take("new", 2, 1, soon))
	f.add("new", 1, later, 1)
	f.add("old", 1, soon, 1)
	f.refused(store.ErrLimit, 0, store.Take("old", 1, 1, later))
	f.refused(store.ErrLimit, 1, store.Take("beside", 1, 1, never), store.Take("old", 1, 1, later))
	f.refused(store.ErrLimit, 0, store.Take("old", 1, 1, later), store.Take("beside", 1, 1, never))
	f.clock.set(soon)
	f.sum("new", 1)
	f.sum("old", 0)
	f.sum("beside", 0)
	f.refused(store.ErrLimit, 0, store.Take("old", 2, 1, later))
	f.sum("old", 0)
}
