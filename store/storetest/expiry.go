package storetest

import (
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/store"
)

var expiry = []promise{
	{"a record lives until the instant of its expiry", liveUntil},
	{"STO-03 a marker is never forgotten before it expires", markerStands},
	{"an expired record cannot be replaced, deleted or checked", func(f *fixture) {
		r := f.insert(until(f.clock.in(time.Minute), "a", "x"))
		f.clock.set(r.Expires)
		late := r
		late.Expires = time.Time{}
		for _, op := range []store.Op{store.Replace(late), store.Delete(r), store.Check(r)} {
			f.refused(store.ErrConflict, 0, op)
		}
		f.absent("a")
	}},
	{"an expired record can be inserted over", func(f *fixture) { f.writeOver(store.Insert) }},
	{"an expired record can be put over", func(f *fixture) { f.writeOver(store.Put) }},
	{"an expired record is not listed", func(f *fixture) {
		expires := f.clock.in(time.Minute)
		f.commit(store.Insert(record("a", "")), store.Insert(until(expires, "b", "")), store.Insert(until(expires.Add(1), "c", "")))
		for after, want := range []string{"[a b c]", "[a c]", "[a]"} {
			f.clock.set(expires.Add(time.Duration(after - 1)))
			if got := fmt.Sprint(idsOf(f.list(store.Query{Kind: kind}))); got != want {
				f.Errorf("listed %s, want %s", got, want)
			}
		}
	}},
	{"what stands behind many expired records is listed", func(f *fixture) {
		all := numbered(350)
		f.insertAll(slices.Concat(all[:50], all[300:])...)
		soon := f.clock.in(time.Minute)
		for chunk := range slices.Chunk(all[50:300], store.MaxOps) {
			var ops []store.Op
			for _, id := range chunk {
				ops = append(ops, store.Insert(until(soon, id, "")))
			}
			f.commit(ops...)
		}
		f.clock.set(soon)
		live := slices.Concat(all[:50], all[300:])
		for _, q := range []store.Query{{}, {Reverse: true}, {Limit: 70}, {Reverse: true, Limit: 70}, {After: all[60]}} {
			q.Kind = kind
			f.compareList(live, q)
		}
	}},
	{"a record may be born expired", func(f *fixture) {
		for i, expires := range []time.Time{f.clock.now(), f.clock.in(-time.Hour)} {
			id := fmt.Sprint(i)
			f.commit(store.Insert(until(expires, id, "x")))
			f.absent(id)
			f.insert(until(f.clock.in(time.Hour), id, "y"))
		}
		f.refused(store.ErrExists, 1, store.Insert(until(f.clock.in(-time.Hour), "-", "")), store.Insert(record("0", "")))
	}},
	{"zero means never", func(f *fixture) {
		r := f.insert(record("a", "x"))
		if !r.Expires.IsZero() {
			f.Errorf("expires %v, want the zero time", r.Expires)
		}
		f.clock.set(time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC))
		f.unchanged(r)
	}},
	{"Replace and Put change the expiry", changeExpiry},
	{"times are kept to the nanosecond, in UTC", nanoseconds},
	{"a time that cannot be kept is refused", func(f *fixture) {
		for _, t := range []time.Time{
			time.Unix(0, 0).UTC(), time.Date(1969, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC),
			time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		} {
			for _, op := range []store.Op{store.Insert(until(t, "a", "")), store.Put(until(t, "a", "")), store.Take("n", 1, 1, t)} {
				f.refused(store.ErrInvalid, 0, op)
			}
			_, err := f.store.Add(f.ctx, "n", 1, t)
			f.invalid(t.String(), err)
		}
		f.absent("a")
		f.sum("n", 0)
	}},
	{"the clock is the one that was given, whatever it says", func(f *fixture) {
		for _, year := range []int{1999, 2200, 2001} {
			f.clock.set(time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC))
			id := fmt.Sprint(year)
			f.insert(until(f.clock.in(time.Nanosecond), id, "x"))
			f.add(id, 1, f.clock.in(time.Nanosecond), 1)
			f.sum(id, 1)
			f.clock.set(f.clock.in(time.Nanosecond))
			f.absent(id)
			f.sum(id, 0)
		}
	}},
}

func liveUntil(f *fixture) {
	r := f.insert(until(f.clock.in(time.Minute), "a", "x"))
	for _, d := range []time.Duration{time.Minute, time.Millisecond, 1} {
		f.clock.set(r.Expires.Add(-d))
		f.unchanged(r)
		f.commit(store.Check(r))
		f.refused(store.ErrExists, 0, store.Insert(record("a", "y")))
	}
	for _, d := range []time.Duration{0, 1, time.Millisecond, time.Hour, 10000 * time.Hour} {
		f.clock.set(r.Expires.Add(d))
		f.absent("a")
	}
}

// markerStands tries to get one marker in twice, up to its last nanosecond,
// while others come and go.
func markerStands(f *fixture) {
	marker := until(f.clock.in(time.Hour), "marker", "")
	f.commit(store.Insert(marker))
	for i, before := range []time.Duration{time.Hour, time.Minute, time.Millisecond, 1} {
		f.clock.set(marker.Expires.Add(-before))
		f.refused(store.ErrExists, 0, store.Insert(marker))
		f.insert(until(f.clock.in(before/2+1), fmt.Sprint("other ", i), ""))
	}
	f.clock.set(marker.Expires)
	f.absent("marker")
}

func (f *fixture) writeOver(write func(store.Record) store.Op) {
	f.Helper()
	old := f.insert(until(f.clock.in(time.Minute), "a", "old"))
	f.clock.set(old.Expires)
	next := until(f.clock.in(time.Minute), "a", "new")
	f.commit(write(next))
	got := f.get("a")
	f.same(got, next)
	if got.Version == old.Version {
		f.Errorf("version %d was that of the expired record", got.Version)
	}
	f.refused(store.ErrConflict, 0, store.Delete(old))
	f.refused(store.ErrExists, 0, store.Insert(next))
}

func changeExpiry(f *fixture) {
	r := f.insert(until(f.clock.in(time.Minute), "a", "x"))
	longer := r
	longer.Expires = f.clock.in(time.Hour)
	f.commit(store.Replace(longer))
	f.clock.set(r.Expires)
	f.same(f.get("a"), longer)

	shorter := f.get("a")
	shorter.Expires = f.clock.in(time.Second)
	f.commit(store.Replace(shorter))
	f.clock.set(shorter.Expires)
	f.absent("a")

	f.insert(until(f.clock.in(time.Minute), "a", "x"))
	f.commit(store.Put(record("a", "x")))
	f.clock.set(f.clock.in(time.Hour))
	f.same(f.get("a"), record("a", "x"))
	f.commit(store.Put(until(f.clock.in(time.Minute), "a", "x")))
	f.clock.set(f.clock.in(time.Minute))
	f.absent("a")
}

func nanoseconds(f *fixture) {
	zone := time.FixedZone("", -5*3600)
	f.clock.set(time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC))
	for i, t := range []time.Time{
		time.Date(1971, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(2026, 3, 29, 1, 30, 0, 123456789, zone),
		time.Date(2261, 12, 31, 23, 59, 59, 999999999, time.UTC),
		time.Now().Add(time.Hour), // with a monotonic reading
	} {
		r := f.insert(until(t, fmt.Sprint(i), ""))
		listed := f.list(store.Query{Kind: kind, Prefix: r.ID})
		if len(listed) != 1 {
			f.Fatalf("listed %d records, want 1", len(listed))
		}
		for _, got := range []time.Time{r.Expires, listed[0].Expires} {
			// Not Equal: neither a zone nor a monotonic reading is kept.
			if got != t.Round(0).UTC() {
				f.Errorf("expires %v, want %v", got, t.Round(0).UTC())
			}
		}
	}
}
