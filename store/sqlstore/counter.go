package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/store"
)

// Add implements [store.Store] with one statement.
func (s *Store) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if err := store.ValidateAdd(counter, n, until); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, wrap(ctx, "add", err)
	}
	var sum int64
	if n == 0 {
		err := s.retry(ctx, func() (err error) {
			sum, _, err = integer(ctx, s.db, s.sql.counter, counter, nanos(s.now()))
			return err
		})
		return sum, wrap(ctx, "add", err)
	}
	err := s.write(ctx, alone, func(ctx context.Context, q querier) error {
		var ok bool
		var err error
		sum, ok, err = integer(ctx, q, s.sql.add, counter, max(n, 0), nanos(until), n, nanos(s.now()))
		if err == nil && !ok {
			err = errors.New("no sum returned")
		}
		return err
	})
	if err != nil {
		return 0, wrap(ctx, "add", err)
	}
	return sum, nil
}

// take applies one Take.
func (s *Store) take(ctx context.Context, q querier, now time.Time, op numbered) error {
	c := op.Counter
	refused := op.fail(store.ErrLimit)
	if c.N == 0 {
		value, _, err := integer(ctx, q, s.sql.counter, c.Name, nanos(now))
		if err == nil && value > c.Max {
			err = refused
		}
		return err
	}
	// The condition in the statement is about a counter that is there.
	if max(c.N, 0) > c.Max {
		return refused
	}
	return exec(ctx, q, 1, refused, s.sql.take, c.Name, max(c.N, 0), nanos(c.Until), c.N, nanos(now), c.Max)
}
