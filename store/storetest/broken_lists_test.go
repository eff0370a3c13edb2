package storetest

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/store"
)

const queries = "list/prefix, after"

var brokenLists = []breaker{
	{"order is that of words", []string{"list/IDs come", queries}, withList(sorted(func(a, b store.Record) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.ID), strings.ToLower(b.ID)), cmp.Compare(a.ID, b.ID))
	}))},
	{"order is that of UTF-16", []string{"list/IDs come", queries}, withList(sorted(func(a, b store.Record) int {
		return slices.CompareFunc([]rune(a.ID), []rune(b.ID), func(x, y rune) int { return cmp.Compare(surrogate(x), surrogate(y)) })
	}))},
	{"there is one direction", []string{"list/IDs come", queries}, withQuery(func(q store.Query) store.Query {
		q.Reverse = false
		return q
	})},
	{"After is ignored", []string{queries, "list/a list of many"}, withQuery(func(q store.Query) store.Query {
		q.After = ""
		return q
	})},
	{"After is ignored outside the prefix", []string{queries}, withQuery(func(q store.Query) store.Query {
		if !strings.HasPrefix(q.After, q.Prefix) {
			q.After = ""
		}
		return q
	})},
	{"After stands for itself too", []string{queries}, withList(func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		if records, err := m.Get(ctx, store.Key{Kind: q.Kind, ID: q.After}); err == nil && strings.HasPrefix(q.After, q.Prefix) && records[0].Exists() {
			if !yield(records[0], nil) {
				return
			}
		}
		m.List(ctx, q)(yield)
	})},
	{"After must exist", []string{queries}, withList(func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		if records, err := m.Get(ctx, store.Key{Kind: q.Kind, ID: q.After}); err == nil && !records[0].Exists() {
			return
		}
		m.List(ctx, q)(yield)
	})},
	{"the limit is ignored", []string{queries, "list/a list of many"}, withQuery(func(q store.Query) store.Query {
		q.Limit = 0
		return q
	})},
	{"a prefix ends before U+FFFF", []string{queries}, withList(kept(func(q store.Query, id string) bool { return id < q.Prefix+"\uFFFF" }))},
	{"a prefix is not its own", []string{queries}, withList(kept(func(q store.Query, id string) bool { return q.Prefix == "" || id != q.Prefix }))},
	{"a prefix is a folder", []string{queries}, withList(kept(func(q store.Query, id string) bool {
		return q.Prefix == "" || id == q.Prefix || strings.HasPrefix(id, strings.TrimSuffix(q.Prefix, "/")+"/")
	}))},
	{"% and _ in a prefix match anything", []string{queries}, withQuery(func(q store.Query) store.Query {
		q.Prefix = strings.TrimRight(q.Prefix, "%_")
		return q
	})},
	{"a prefix matches either case", []string{queries}, withList(func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		all := q
		all.Prefix, all.Limit = "", 0
		for r, err := range m.List(ctx, all) {
			if strings.HasPrefix(strings.ToLower(r.ID), strings.ToLower(q.Prefix)) && !yield(r, err) {
				return
			}
		}
	})},
	{"a list has no data", []string{"list/what is listed"}, withList(changed(func(r store.Record) store.Record {
		r.Data = nil
		return r
	}))},
	{"a list has no versions", []string{"list/what is listed"}, withList(changed(func(r store.Record) store.Record {
		r.Version = 1
		return r
	}))},
	{"a list has no expiry", []string{"list/what is listed", "expiry/times are kept"}, withList(changed(func(r store.Record) store.Record {
		r.Expires = never
		return r
	}))},
	{"a list ends after 500", []string{"list/a list of many"}, withQuery(func(q store.Query) store.Query {
		if q.Limit == 0 || q.Limit > 500 {
			q.Limit = 500
		}
		return q
	})},
	{"a page ends with what the next begins with", []string{"list/a list of many", "list/the loop body may delete"}, withList(func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		i := 0
		for r, err := range m.List(ctx, q) {
			if i++; i == 100 && !yield(r, err) || !yield(r, err) {
				return
			}
		}
	})},
	{"pages are counted from the start", []string{"list/the loop body may delete", "list/a record that stands"}, withList(byOffset)},
	{"a lock is held in the loop", []string{"list/the loop body may use", "list/the loop body may delete"}, lockedList},
	{"a list that is left keeps its connection", []string{"list/a list may be left"}, leakingList},
}

// surrogate orders a rune as its first UTF-16 code unit would.
func surrogate(r rune) rune {
	if r > 0xFFFF {
		return 0xD800
	}
	return r
}

func withQuery(change func(store.Query) store.Query) func(*store.Memory, func() time.Time) store.Store {
	return withList(func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		m.List(ctx, change(q))(yield)
	})
}

type lister func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool)

func withList(list lister) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			return func(yield func(store.Record, error) bool) { list(ctx, m, q, yield) }
		}}
	}
}

// sorted lists in an order of its own.
func sorted(compare func(a, b store.Record) int) lister {
	return func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		var all []store.Record
		for r, err := range m.List(ctx, q) {
			if err != nil {
				yield(r, err)
				return
			}
			all = append(all, r)
		}
		slices.SortFunc(all, compare)
		if q.Reverse {
			slices.Reverse(all)
		}
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// kept lists some of what it should.
func kept(keep func(q store.Query, id string) bool) lister {
	return func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		for r, err := range m.List(ctx, q) {
			if keep(q, r.ID) && !yield(r, err) {
				return
			}
		}
	}
}

func changed(change func(store.Record) store.Record) lister {
	return func(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
		for r, err := range m.List(ctx, q) {
			if !yield(change(r), err) {
				return
			}
		}
	}
}

func byOffset(ctx context.Context, m *store.Memory, q store.Query, yield func(store.Record, error) bool) {
	const page = 100
	for offset := 0; ; offset += page {
		i, found := 0, false
		for r, err := range m.List(ctx, q) {
			if i++; i <= offset {
				continue
			}
			if i > offset+page {
				break
			}
			if found = true; !yield(r, err) {
				return
			}
		}
		if !found {
			return
		}
		runtime.Gosched() // so that others get between also where there is one processor
	}
}

func lockedList(m *store.Memory, _ func() time.Time) store.Store {
	var mu sync.Mutex
	return broken{
		Memory: m,
		list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			return func(yield func(store.Record, error) bool) {
				mu.Lock()
				defer mu.Unlock()
				m.List(ctx, q)(yield)
			}
		},
		commit: func(ctx context.Context, ops []store.Op) error {
			mu.Lock()
			defer mu.Unlock()
			return m.Commit(ctx, ops...)
		},
	}
}

func leakingList(m *store.Memory, _ func() time.Time) store.Store {
	connections := make(chan struct{}, 5)
	return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
		return func(yield func(store.Record, error) bool) {
			select {
			case connections <- struct{}{}:
			default:
				yield(store.Record{}, errors.New("no connection left"))
				return
			}
			for r, err := range m.List(ctx, q) {
				if !yield(r, err) {
					return
				}
			}
			<-connections
		}
	}}
}
