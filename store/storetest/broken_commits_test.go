package storetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenCommits = []breaker{
	{"no ops is an error", []string{"commit/no ops"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		if len(ops) == 0 {
			return errors.New("nothing to do")
		}
		return m.Commit(ctx, ops...)
	})},
	{"only the first op happens", []string{"commit/all ops"}, withAllOps(func(ops []store.Op) []store.Op { return ops[:min(1, len(ops))] })},
	{"the last op does not happen", []string{"commit/all ops", "records/Insert of"}, withAllOps(func(ops []store.Op) []store.Op { return ops[:max(0, len(ops)-1)] })},
	{"ops are done one by one", []string{"commit/one op that fails", "commit/two ops", "commit/an op that is none", "races/STO-01", "races/two Inserts"}, withCommit(oneByOne)},
	{"ops are checked, then done one by one", []string{"commit/a reader"}, halfVisible},
	{"Takes are done before the rest", []string{"commit/one op that fails", "counters/a refused Take"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		isTake := func(op store.Op) bool { return op.Action == store.ActionTake }
		if err := store.Validate(ops...); err != nil {
			return err
		}
		for i, op := range ops {
			if !isTake(op) {
				continue
			}
			if err := m.Commit(ctx, op); err != nil {
				return at(i, op, err)
			}
		}
		err := m.Commit(ctx, slices.DeleteFunc(slices.Clone(ops), isTake)...)
		var failed *store.OpError
		if errors.As(err, &failed) {
			i := slices.IndexFunc(ops, func(op store.Op) bool { return op.Record.Key() == failed.Op.Record.Key() })
			return at(i, ops[i], err)
		}
		return err
	})},
	{"an error names no op", []string{"commit/one op that fails", "records/Insert of"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		return errors.Unwrap(m.Commit(ctx, ops...))
	})},
	{"an error names the first op", []string{"commit/one op that fails"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		err := m.Commit(ctx, ops...)
		if err == nil {
			return nil
		}
		return at(0, ops[0], err)
	})},
	{"an error has the right index and the wrong op", []string{"commit/one op that fails"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		err := m.Commit(ctx, ops...)
		var failed *store.OpError
		if !errors.As(err, &failed) {
			return err
		}
		return at(failed.Index, ops[len(ops)-1-failed.Index], err)
	})},
	{"every error is a conflict", []string{"commit/one op that fails", "counters/Take stops", "records/Insert of"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		err := m.Commit(ctx, ops...)
		var failed *store.OpError
		if !errors.As(err, &failed) || errors.Is(err, store.ErrInvalid) {
			return err
		}
		return at(failed.Index, failed.Op, store.ErrConflict)
	})},
	{"the last of two ops on one record counts", []string{"commit/two ops"}, withAllOps(func(ops []store.Op) []store.Op {
		var kept []store.Op
		for _, op := range ops {
			kept = slices.DeleteFunc(kept, func(other store.Op) bool { return sameThing(op, other) })
			kept = append(kept, op)
		}
		return kept
	})},
	{"a name may occur once in a Commit", []string{"commit/a record and a counter"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		seen := make(map[string]bool)
		for i, op := range ops {
			name := op.Record.ID + op.Counter.Name
			if seen[name] {
				return at(i, op, store.ErrInvalid)
			}
			seen[name] = true
		}
		return m.Commit(ctx, ops...)
	})},
	{"no more than 100 ops", []string{"commit/up to 256"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		if len(ops) > 100 {
			return store.ErrInvalid
		}
		return m.Commit(ctx, ops...)
	})},
	{"any number of ops", []string{"commit/up to 256"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		for chunk := range slices.Chunk(ops, store.MaxOps) {
			if err := m.Commit(ctx, chunk...); err != nil {
				return err
			}
		}
		return nil
	})},
	{"an unknown op is skipped", []string{"commit/an op that is none"}, withAllOps(func(ops []store.Op) []store.Op {
		return slices.DeleteFunc(slices.Clone(ops), func(op store.Op) bool { return op.Action < 1 || op.Action > store.ActionTake })
	})},
	{"counters must come last", []string{"commit/the order"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		for i, op := range ops[:len(ops)-1] {
			if op.Action == store.ActionTake {
				return at(i, op, store.ErrInvalid)
			}
		}
		return m.Commit(ctx, ops...)
	})},
}

func at(i int, op store.Op, err error) error {
	return &store.OpError{Index: i, Op: op, Err: err}
}

func sameThing(a, b store.Op) bool {
	return a.Record.Key() == b.Record.Key() && a.Counter.Name == b.Counter.Name
}

// halfVisible returns a store that lets readers in between two ops: with three
// of them, the fourth Get to end has begun meanwhile.
func halfVisible(m *store.Memory, _ func() time.Time) store.Store {
	read := make(rendezvous)
	return broken{
		Memory: m,
		get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			select {
			case <-read:
			default:
			}
			return records, err
		},
		commit: func(ctx context.Context, ops []store.Op) error {
			if err := store.Validate(ops...); err != nil {
				return err
			}
			for _, op := range ops {
				if err := m.Commit(ctx, op); err != nil {
					return err
				}
				for range 4 {
					read.wait()
				}
			}
			return nil
		},
	}
}
