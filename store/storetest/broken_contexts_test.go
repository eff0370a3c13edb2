package storetest

import (
	"context"
	"iter"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenContexts = []breaker{
	{"Get ignores its context", done, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			return m.Get(context.WithoutCancel(ctx), keys...)
		}}
	}},
	{"List ignores its context", append([]string{"context/STO-08 a list"}, done...), func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			return m.List(context.WithoutCancel(ctx), q)
		}}
	}},
	{"List looks at its context once", []string{"context/STO-08 a list"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			if ctx.Err() != nil {
				return m.List(ctx, q)
			}
			return m.List(context.WithoutCancel(ctx), q)
		}}
	}},
	{"List ends without its error", append([]string{"context/STO-08 a list"}, done...), func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, list: func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			return func(yield func(store.Record, error) bool) {
				for r, err := range m.List(ctx, q) {
					if err != nil || !yield(r, nil) {
						return
					}
				}
			}
		}}
	}},
	{"Commit ignores its context", done, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		return m.Commit(context.WithoutCancel(ctx), ops...)
	})},
	{"Commit writes and then looks at its context", done, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		if err := m.Commit(context.WithoutCancel(ctx), ops...); err != nil {
			return err
		}
		return ctx.Err()
	})},
	{"Add ignores its context", done, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, add: func(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
			return m.Add(context.WithoutCancel(ctx), counter, n, until)
		}}
	}},
	{"an error hides the context's", done, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		if ctx.Err() != nil {
			return store.ErrConflict
		}
		return m.Commit(ctx, ops...)
	})},
	{"Commit stops half way when its context ends", []string{"context/STO-08 callers"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		for i, op := range ops {
			if err := m.Commit(ctx, op); err != nil {
				return err
			}
			if i > 0 {
				continue
			}
			timeout := time.NewTimer(10 * time.Millisecond)
			select {
			case <-ctx.Done():
			case <-timeout.C:
			}
			timeout.Stop()
		}
		return nil
	})},
}

var done = []string{"context/STO-08 a cancelled", "context/STO-08 a deadline"}
