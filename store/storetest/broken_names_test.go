package storetest

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenNames = []breaker{
	{"names are folded to lower case", everyName, renamed(strings.ToLower)},
	{"names lose trailing blanks", everyName, renamed(func(s string) string { return strings.TrimRight(s, " ") })},
	{"names are trimmed", everyName, renamed(strings.TrimSpace)},
	{"names are normalised", everyName, renamed(strings.NewReplacer("a\u0301", "á").Replace)},
	{"names lose an ignorable", everyName, renamed(strings.NewReplacer("\u200b", "").Replace)},
	{"names beyond 16 bits are replaced", everyName, renamed(func(s string) string {
		return strings.Map(func(r rune) rune { return min(r, '\uFFFD') }, s)
	})},
	{"names lose their quotes", append([]string{"ids/STO-06 SQL"}, everyName[2]), renamed(strings.NewReplacer("'", "", `"`, "").Replace)},
	{"names end at a semicolon", []string{"ids/STO-06 SQL"}, renamed(func(s string) string { return strings.SplitN(s, ";", 2)[0] })},
	{"names end at 255 bytes", []string{"ids/names reach"}, renamed(func(s string) string { return s[:min(len(s), 255)] })},
	{"names that cannot be are mended", []string{"ids/STO-06 a name"}, renamed(mended)},
	{"names that are too long are hashed", []string{"ids/STO-06 a name"}, renamed(func(s string) string {
		if len(s) > store.MaxID {
			return s[:20]
		}
		return s
	})},
	{"NUL is taken out", []string{"ids/STO-06 a name"}, renamed(strings.NewReplacer("\x00", "").Replace)},
	{"what is not UTF-8 is replaced", []string{"ids/STO-06 a name"}, renamed(func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") })},
	{"a bad query lists nothing", []string{"ids/STO-06 a name"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			if store.ValidateQuery(q) != nil {
				return func(func(store.Record, error) bool) {}
			}
			return m.List(ctx, q)
		}}
	}},
	{"kind and ID are joined", []string{"records/kinds are apart"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return rekeyed(m, func(k store.Key) store.Key { return store.Key{Kind: "all", ID: k.Kind + "/" + k.ID} }, nil)
	}},
	{"kind is ignored", []string{"records/kinds are apart", "commit/a record and a counter"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return rekeyed(m, func(k store.Key) store.Key { return store.Key{Kind: "all", ID: k.ID} }, nil)
	}},
	{"kinds begin with the one that is listed", []string{"records/kinds are apart"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			return func(yield func(store.Record, error) bool) {
				for _, kind := range []string{q.Kind, q.Kind + "/b"} {
					q.Kind = kind
					m.List(ctx, q)(yield)
				}
			}
		}}
	}},
	{"counters and records share names", []string{"counters/counters and records"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			for i, r := range records {
				if n, err := m.Add(ctx, r.ID, 0, never); err == nil && n > 0 {
					records[i].Version = n
				}
			}
			return records, err
		}}
	}},
}

var everyName = []string{"ids/IDs", "ids/kinds", "ids/counters"}

func mended(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	if s == "" {
		return "?"
	}
	return s[:min(len(s), store.MaxKind)]
}

// renamed returns a store that changes kinds, IDs and the names of counters.
func renamed(change func(string) string) func(*store.Memory, func() time.Time) store.Store {
	nonempty := func(s string) string {
		if changed := change(s); changed != "" {
			return changed
		}
		return s
	}
	return func(m *store.Memory, _ func() time.Time) store.Store {
		return rekeyed(m, func(k store.Key) store.Key { return store.Key{Kind: nonempty(k.Kind), ID: nonempty(k.ID)} }, nonempty)
	}
}

// rekeyed returns a store that keeps what it is given under other names.
func rekeyed(m *store.Memory, rekey func(store.Key) store.Key, rename func(string) string) store.Store {
	if rename == nil {
		rename = func(s string) string { return s }
	}
	return broken{
		Memory: m,
		get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			changed := make([]store.Key, len(keys))
			for i, k := range keys {
				changed[i] = rekey(k)
			}
			records, err := m.Get(ctx, changed...)
			for i := range records {
				records[i].Kind, records[i].ID = keys[i].Kind, keys[i].ID
			}
			return records, err
		},
		commit: func(ctx context.Context, ops []store.Op) error {
			changed := slices.Clone(ops)
			for i := range changed {
				k := rekey(changed[i].Record.Key())
				changed[i].Record.Kind, changed[i].Record.ID = k.Kind, k.ID
				changed[i].Counter.Name = rename(changed[i].Counter.Name)
			}
			return m.Commit(ctx, changed...)
		},
		add: func(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
			return m.Add(ctx, rename(counter), n, until)
		},
	}
}
