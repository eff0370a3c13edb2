package sqlstore

import (
	"context"
	"time"
)

// sweepBatch is how many rows one statement of Sweep deletes. Writers wait for
// it in SQLite, so it is small.
const sweepBatch = 500

// Sweep deletes records and counters that expired before the given time, at
// most max of them, and returns how many. What still lives is never deleted.
// Callers pass a time in the past, so that a clock that is ahead deletes
// nothing that others still need.
//
// It deletes a few hundred at a time, so other writers need not wait for all
// of it. Several processes may sweep at once.
func (s *Store) Sweep(ctx context.Context, before time.Time, max int) (int, error) {
	if now := s.now(); before.After(now) {
		before = now
	}
	if before.Before(time.Unix(0, 0)) {
		return 0, nil // no expiry is as early, and nanoseconds do not reach there
	}
	total := 0
	for _, text := range []string{s.sql.sweepRecords, s.sql.sweepCounters} {
		for total < max {
			want := min(sweepBatch, max-total)
			var deleted int64
			err := s.write(ctx, alone, func(ctx context.Context, q querier) error {
				result, err := q.ExecContext(ctx, text, nanos(before), want)
				if err != nil {
					return err
				}
				deleted, err = result.RowsAffected()
				return err
			})
			total += int(deleted)
			if err != nil {
				return total, wrap(ctx, "sweep", err)
			}
			if deleted < int64(want) {
				break
			}
		}
	}
	return total, nil
}
