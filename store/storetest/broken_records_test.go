package storetest

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenRecords = []breaker{
	{"absence is an empty record", []string{"records/an absent"}, withGet(func(records []store.Record) []store.Record {
		for i, r := range records {
			if !r.Exists() {
				records[i] = store.Record{}
			}
		}
		return records
	})},
	{"absence is an error", []string{"records/an absent", "records/Get answers"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			for _, r := range records {
				if !r.Exists() {
					return nil, errors.New("not found")
				}
			}
			return records, err
		}}
	}},
	{"Get leaves out what is absent", []string{"records/Get answers"}, withGet(func(records []store.Record) []store.Record {
		return slices.DeleteFunc(records, func(r store.Record) bool { return !r.Exists() })
	})},
	{"Get answers in its own order", []string{"records/Get answers"}, withGet(func(records []store.Record) []store.Record {
		slices.SortFunc(records, func(a, b store.Record) int { return bytes.Compare(a.Data, b.Data) })
		return records
	})},
	{"Get answers a repeated key once", []string{"records/Get answers"}, withGet(func(records []store.Record) []store.Record {
		seen := make(map[store.Key]bool)
		for i, r := range records {
			if seen[r.Key()] {
				records[i] = store.Record{Kind: r.Kind, ID: r.ID}
			}
			seen[r.Key()] = true
		}
		return records
	})},
	{"Get takes no more than 100 keys", []string{"records/Get takes"}, limitedGet(100)},
	{"Get takes any number of keys", []string{"records/Get takes"}, limitedGet(math.MaxInt)},
	{"data is cut at a NUL", []string{"records/data comes"}, withData(func(data []byte) []byte {
		before, _, _ := bytes.Cut(data, []byte{0})
		return before
	})},
	{"data is made UTF-8", []string{"records/data comes"}, withData(func(data []byte) []byte {
		return bytes.ToValidUTF8(data, []byte("\uFFFD"))
	})},
	{"data is trimmed", []string{"records/data comes"}, withData(bytes.TrimSpace)},
	{"no data is null", []string{"records/data comes"}, withData(func(data []byte) []byte {
		if len(data) == 0 {
			return []byte("null")
		}
		return data
	})},
	{"data ends at 64 KiB", []string{"records/data comes"}, withData(func(data []byte) []byte { return data[:min(len(data), 1<<16)] })},
	{"data ends at 1 MiB", []string{"records/data of more"}, withData(func(data []byte) []byte { return data[:min(len(data), store.MaxData)] })},
	{"data is the caller's", []string{"records/data is copied"}, aliased},
	{"Insert writes over", []string{"records/Insert of", "commit/one op that fails", "races/STO-01", "races/STO-02"}, withOps(func(op store.Op) store.Op {
		if op.Action == store.ActionInsert {
			op.Action = store.ActionPut
		}
		return op
	})},
	{"Put does not write over", []string{"records/Put"}, withOps(func(op store.Op) store.Op {
		if op.Action == store.ActionPut {
			op.Action = store.ActionInsert
		}
		return op
	})},
	{"Replace takes any version", []string{"records/Replace needs", "races/one of many replaces"}, withOps(func(op store.Op) store.Op {
		if op.Action == store.ActionReplace {
			op.Action = store.ActionPut
		}
		return op
	})},
	{"Delete takes any version", []string{"records/Delete needs", "races/one of many deletes"}, withCommit(careless(store.ActionDelete, false))},
	{"Check is ignored", []string{"records/Check needs", "races/two Commits that check", "races/nothing is made"}, withAllOps(func(ops []store.Op) []store.Op {
		return slices.DeleteFunc(slices.Clone(ops), func(op store.Op) bool { return op.Action == store.ActionCheck })
	})},
	{"Check writes", []string{"records/Check needs"}, withOps(func(op store.Op) store.Op {
		if op.Action == store.ActionCheck {
			op.Action = store.ActionReplace
		}
		return op
	})},
	{"versions count from one for each record", []string{"records/a version is never"}, countedVersions},
	{"versions are the caller's", []string{"records/the version given"}, givenVersions},
	{"no version is any version", []string{"records/Replace, Delete and Check"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		ops = slices.Clone(ops)
		for i, op := range ops {
			if records, err := m.Get(ctx, op.Record.Key()); err == nil && op.Record.Version == 0 {
				ops[i].Record.Version = records[0].Version
			}
		}
		return m.Commit(ctx, ops...)
	})},
}

func limitedGet(limit int) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			if len(keys) > limit {
				return nil, store.ErrInvalid
			}
			var all []store.Record
			for _, k := range keys {
				records, err := m.Get(ctx, k)
				if err != nil {
					return nil, err
				}
				all = append(all, records...)
			}
			return all, nil
		}}
	}
}

func withData(change func([]byte) []byte) func(*store.Memory, func() time.Time) store.Store {
	return withOps(func(op store.Op) store.Op {
		op.Record.Data = change(op.Record.Data)
		return op
	})
}

// aliased returns a store that hands out the slices it was given.
func aliased(m *store.Memory, _ func() time.Time) store.Store {
	given := make(map[store.Key][]byte)
	return broken{
		Memory: m,
		commit: func(ctx context.Context, ops []store.Op) error {
			for _, op := range ops {
				given[op.Record.Key()] = op.Record.Data
			}
			return m.Commit(ctx, ops...)
		},
		get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			for i, r := range records {
				records[i].Data = given[r.Key()]
			}
			return records, err
		},
	}
}

// countedVersions returns a store that begins to count again when a record is
// made again.
func countedVersions(m *store.Memory, _ func() time.Time) store.Store {
	type version struct{ shown, real int64 }
	versions := make(map[store.Key]version)
	return broken{
		Memory: m,
		get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			for i, r := range records {
				v := versions[r.Key()]
				switch {
				case !r.Exists():
					v = version{}
				case v.real != r.Version:
					v = version{v.shown + 1, r.Version}
				}
				versions[r.Key()] = v
				records[i].Version = v.shown
			}
			return records, err
		},
		commit: func(ctx context.Context, ops []store.Op) error {
			ops = slices.Clone(ops)
			for i, op := range ops {
				ops[i].Record.Version = versions[op.Record.Key()].real
				if op.Action == store.ActionDelete {
					delete(versions, op.Record.Key())
				}
			}
			return m.Commit(ctx, ops...)
		},
	}
}

func givenVersions(m *store.Memory, _ func() time.Time) store.Store {
	given := make(map[store.Key]int64)
	return broken{
		Memory: m,
		commit: func(ctx context.Context, ops []store.Op) error {
			for _, op := range ops {
				given[op.Record.Key()] = op.Record.Version
			}
			return m.Commit(ctx, ops...)
		},
		get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			for i, r := range records {
				if v := given[r.Key()]; v != 0 {
					records[i].Version = v
				}
			}
			return records, err
		},
	}
}
