package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/keywright/keywright/store"
)

var list = []promise{
	{"IDs come in the order of their bytes, both ways", func(f *fixture) {
		f.insertAll(names...)
		f.compareList(names, store.Query{Kind: kind})
		f.compareList(names, store.Query{Kind: kind, Reverse: true})
	}},
	{"prefix, after, limit and direction", listQueries},
	{"what is listed is what Get returns", func(f *fixture) {
		f.insert(until(f.clock.in(1), "a", "x"))
		f.commit(store.Put(record("b", "y")))
		for _, r := range f.list(store.Query{Kind: kind}) {
			f.unchanged(r)
		}
		if got := len(f.list(store.Query{Kind: "none"})); got != 0 {
			f.Errorf("%d records of a kind that has none", got)
		}
	}},
	{"a list of many is complete, and resumes behind any ID", listMany},
	{"the loop body may use the store", bodyUses},
	{"the loop body may delete and insert", bodyMutates},
	{"a record that stands is listed once while others change", listWhileWriting},
	{"a list may be left early, often, and begun again", func(f *fixture) {
		f.insertAll(numbered(150)...)
		seq := f.store.List(f.ctx, store.Query{Kind: kind})
		for range f.size.rounds {
			for r, err := range seq {
				if err != nil || r.ID != "id-000" {
					f.Fatalf("the list begins with %q, %v", r.ID, err)
				}
				break
			}
		}
		f.insert(record("last", ""))
	}},
}

func numbered(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("id-%03d", i)
	}
	return all
}

func (f *fixture) insertAll(all ...string) {
	f.Helper()
	for chunk := range slices.Chunk(all, store.MaxOps) {
		var ops []store.Op
		for _, id := range chunk {
			ops = append(ops, store.Insert(record(id, id)))
		}
		f.commit(ops...)
	}
}

// compareList checks a list against one made of all IDs by the plainest means.
func (f *fixture) compareList(all []string, q store.Query) {
	f.Helper()
	var want []string
	for _, id := range all {
		behind := q.After == "" || (id > q.After) != q.Reverse && id != q.After
		if strings.HasPrefix(id, q.Prefix) && behind {
			want = append(want, id)
		}
	}
	slices.Sort(want)
	if q.Reverse {
		slices.Reverse(want)
	}
	if q.Limit > 0 && len(want) > q.Limit {
		want = want[:q.Limit]
	}
	if got := idsOf(f.list(q)); !slices.Equal(got, want) {
		f.Errorf("prefix %+q after %+q limit %d reverse %v listed\n%+q, want\n%+q", q.Prefix, q.After, q.Limit, q.Reverse, got, want)
	}
}

func listQueries(f *fixture) {
	all := []string{
		"A", "a", "aB", "ab", "ab/", "ab/1", "ab/2", "ab0", "ab\u007f", "ab\uD7FF", "ab\uD7FFx", "ab\uE000", "ab\uFFFF",
		"ab\U0010FFFF", "ab\U0010FFFF\U0010FFFF", "ab\U0010FFFFx", "ac", "a%", "a_", "b", "\u007f", "\uD7FF", "\uE000",
		"\U0010FFFF", "\U0010FFFF\U0010FFFF",
	}
	f.insertAll(all...)
	f.commit(store.Insert(store.Record{Kind: kind + "x", ID: "ab"}), store.Insert(store.Record{Kind: "a", ID: "ab"}))
	prefixes := []string{
		"", "a", "A", "ab", "ab/", "ab/1", "ab/1x", "ab\u007f", "ab\uD7FF", "ab\uE000", "ab\U0010FFFF",
		"ab\U0010FFFF\U0010FFFF", "\U0010FFFF", "\U0010FFFF\U0010FFFF", "\uD7FF", "a%", "a_", "c", "b",
	}
	afters := []string{
		"", "0", "A", "a", "ab", "ab/", "ab/1", "ab/11", "ab/2", "ab\uD7FF", "ab\uE000", "ab\U0010FFFF", "ac", "b",
		"zz", "\U0010FFFF", "\U0010FFFF\U0010FFFFz",
	}
	for _, prefix := range prefixes {
		for _, after := range afters {
			for _, limit := range []int{0, 1, 3} {
				f.compareList(all, store.Query{Kind: kind, Prefix: prefix, After: after, Limit: limit})
				f.compareList(all, store.Query{Kind: kind, Prefix: prefix, After: after, Limit: limit, Reverse: true})
			}
		}
	}
}

func listMany(f *fixture) {
	all := numbered(520)
	f.insertAll(all...)
	for _, q := range []store.Query{{}, {Limit: 100}, {Limit: 101}, {Limit: 519}, {Limit: 1000}, {Prefix: "id-1"}, {Prefix: "id-", After: "id-099"}} {
		for _, q.Reverse = range []bool{false, true} {
			q.Kind = kind
			f.compareList(all, q)
		}
	}
	for _, reverse := range []bool{false, true} {
		var got []string
		for q := (store.Query{Kind: kind, Limit: 37, Reverse: reverse}); len(got) <= len(all); q.After = got[len(got)-1] {
			page := idsOf(f.list(q))
			if got = append(got, page...); len(page) < q.Limit {
				break
			}
		}
		if reverse {
			slices.Reverse(got)
		}
		if !slices.Equal(got, all) {
			f.Errorf("page by page %d IDs, want %d: %q", len(got), len(all), got)
		}
	}
}

func bodyUses(f *fixture) {
	all := numbered(120)
	f.insertAll(all...)
	f.within("a list whose body uses the store", func() {
		for r, err := range f.store.List(f.ctx, store.Query{Kind: kind, Prefix: "id-"}) {
			if err == nil {
				_, err = f.store.Get(f.ctx, r.Key())
			}
			if err == nil && strings.HasSuffix(r.ID, "0") {
				err = f.store.Commit(f.ctx, store.Check(r), store.Put(record("other", r.ID)))
			}
			for _, inner := range f.store.List(f.ctx, store.Query{Kind: kind, Limit: 2}) {
				if err == nil {
					err = inner
				}
			}
			if err != nil {
				f.Errorf("at %q: %v", r.ID, err)
				return
			}
		}
	})
}

func bodyMutates(f *fixture) {
	for _, reverse := range []bool{false, true} {
		all := numbered(250)
		f.insertAll(all...)
		if reverse {
			slices.Reverse(all)
		}
		var got []string
		f.within("a list whose body writes", func() {
			for r, err := range f.store.List(f.ctx, store.Query{Kind: kind, Prefix: "id-", Reverse: reverse}) {
				if err == nil && !strings.Contains(r.ID, "+") {
					got = append(got, r.ID)
					ops := []store.Op{store.Delete(r), store.Put(record("before "+r.ID, ""))}
					if strings.HasSuffix(r.ID, "0") {
						ops = append(ops, store.Put(record(r.ID+"+", "")))
					}
					err = f.store.Commit(f.ctx, ops...)
				}
				if err != nil {
					f.Errorf("at %q: %v", r.ID, err)
					return
				}
			}
		})
		if !slices.Equal(got, all) {
			f.Fatalf("listed %d records, want %d: %q", len(got), len(all), got)
		}
		for chunk := range slices.Chunk(f.list(store.Query{Kind: kind}), store.MaxOps) {
			var ops []store.Op
			for _, r := range chunk {
				ops = append(ops, store.Delete(r))
			}
			f.commit(ops...)
		}
	}
}

// listWhileWriting lists while another caller inserts and deletes between the
// records that stand.
func listWhileWriting(f *fixture) {
	all := numbered(250)
	f.insertAll(all...)
	var done atomic.Bool
	errs := f.race(2, func(caller int) error {
		for i := 0; caller == 1 && !done.Load(); i++ {
			id := all[i*7%len(all)] + "+"
			if err := f.store.Commit(f.ctx, store.Insert(record(id, ""))); err != nil {
				return err
			}
			r, err := f.store.Get(f.ctx, key(id))
			if err == nil {
				err = f.store.Commit(f.ctx, store.Delete(r[0]))
			}
			if err != nil {
				return err
			}
		}
		if caller == 1 {
			return nil
		}
		defer done.Store(true)
		for range f.size.rounds {
			var got []string
			for r, err := range f.store.List(f.ctx, store.Query{Kind: kind}) {
				if err != nil {
					return err
				}
				if !strings.HasSuffix(r.ID, "+") {
					got = append(got, r.ID)
				}
			}
			if !slices.Equal(got, all) {
				return fmt.Errorf("listed %d records that stand, want %d: %q", len(got), len(all), got)
			}
		}
		return nil
	})
	f.tally(errs, 2, nil)
}
