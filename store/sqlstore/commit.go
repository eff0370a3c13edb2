package sqlstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/store"
)

// A numbered op remembers its place among the arguments of Commit.
type numbered struct {
	index int
	store.Op
}

func (n numbered) fail(err error) error {
	return &store.OpError{Index: n.index, Op: n.Op, Err: err}
}

// Commit implements [store.Store]. The ops are applied in the order of their
// keys, counters last, whatever order they are given in.
func (s *Store) Commit(ctx context.Context, ops ...store.Op) error {
	if err := store.Validate(ops...); err != nil {
		return err
	}
	if len(ops) == 0 {
		return nil
	}
	steps := plan(ops)
	sc := scope(len(ops) > 1)
	err := s.write(ctx, sc, func(ctx context.Context, q querier) error {
		now := s.now()
		for _, step := range steps {
			if err := s.apply(ctx, q, now, step); err != nil {
				return err
			}
		}
		return s.recheck(ctx, q, now, steps)
	})
	return wrap(ctx, "commit", err)
}

// recheckAfter is how long a Commit may wait for locks until what it has
// checked might have expired meanwhile.
const recheckAfter = 10 * time.Millisecond

// recheck does the Checks again, whose records are locked by now, when the
// Commit had to wait.
func (s *Store) recheck(ctx context.Context, q querier, began time.Time, steps [][]numbered) error {
	now := s.now()
	if now.Sub(began) < recheckAfter {
		return nil
	}
	for _, step := range steps {
		if step[0].Action != store.ActionCheck {
			continue
		}
		if err := s.apply(ctx, q, now, step); err != nil {
			return err
		}
	}
	return nil
}

// plan puts ops in an order in which any two Commits lock what they share, so
// that neither waits for the other for ever. Each step is one statement: an op,
// or a run of Inserts.
func plan(ops []store.Op) [][]numbered {
	sorted := make([]numbered, len(ops))
	for i, op := range ops {
		sorted[i] = numbered{i, op}
	}
	slices.SortFunc(sorted, func(a, b numbered) int {
		return cmp.Or(
			cmp.Compare(rank(a.Op), rank(b.Op)),
			cmp.Compare(a.Record.Kind, b.Record.Kind),
			cmp.Compare(a.Record.ID, b.Record.ID),
			cmp.Compare(a.Counter.Name, b.Counter.Name),
		)
	})
	var steps [][]numbered
	for i, j := 0, 0; i < len(sorted); i = j {
		for j = i + 1; j < len(sorted) && sorted[i].Action == store.ActionInsert && sorted[j].Action == store.ActionInsert; j++ {
		}
		steps = append(steps, sorted[i:j])
	}
	return steps
}

// rank puts counters last: they are what most Commits wait for each other at.
func rank(op store.Op) int {
	if op.Action == store.ActionTake {
		return 1
	}
	return 0
}

// apply sends the statement of one step.
func (s *Store) apply(ctx context.Context, q querier, now time.Time, step []numbered) error {
	op := step[0]
	r := op.Record
	switch op.Action {
	case store.ActionInsert:
		return s.insert(ctx, q, now, step)
	case store.ActionPut:
		return exec(ctx, q, 1, nil, s.sql.put, r.Kind, r.ID, newVersion(), nanos(r.Expires), blob(r.Data))
	case store.ActionReplace:
		return exec(ctx, q, 1, op.fail(store.ErrConflict), s.sql.replace,
			r.Kind, r.ID, r.Version, nanos(now), newVersion(), nanos(r.Expires), blob(r.Data))
	case store.ActionDelete:
		return exec(ctx, q, 1, op.fail(store.ErrConflict), s.sql.delete, r.Kind, r.ID, r.Version, nanos(now))
	case store.ActionCheck:
		_, ok, err := integer(ctx, q, s.sql.check, r.Kind, r.ID, r.Version, nanos(now))
		if err == nil && !ok {
			err = op.fail(store.ErrConflict)
		}
		return err
	case store.ActionTake:
		return s.take(ctx, q, now, op)
	}
	return op.fail(store.ErrInvalid)
}

// insert sends a run of Inserts as one statement.
func (s *Store) insert(ctx context.Context, q querier, now time.Time, step []numbered) error {
	args := make([]any, 0, 1+5*len(step))
	args = append(args, nanos(now))
	versions := make([]int64, len(step))
	for i, op := range step {
		versions[i] = newVersion()
		r := op.Record
		args = append(args, r.Kind, r.ID, versions[i], nanos(r.Expires), blob(r.Data))
	}
	failed := step[0].fail(store.ErrExists)
	if len(step) == 1 {
		return exec(ctx, q, 1, failed, s.sql.insert(1), args...)
	}
	err := exec(ctx, q, int64(len(step)), failed, s.sql.insert(len(step)), args...)
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	// Which one was it? The first that has not got our version.
	keys := make([]store.Key, len(step))
	for i, op := range step {
		keys[i] = op.Record.Key()
	}
	have, err := s.read(ctx, q, time.Time{}, keys) // those that were born expired too
	if err != nil {
		return err
	}
	for i, r := range have {
		if r.Version != versions[i] {
			return step[i].fail(store.ErrExists)
		}
	}
	return failed
}

// exec sends a statement that must change n rows; otherwise it returns refused.
func exec(ctx context.Context, q querier, n int64, refused error, text string, args ...any) error {
	result, err := q.ExecContext(ctx, text, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	switch {
	case err != nil:
		return err
	case changed == n:
		return nil
	case refused == nil:
		return fmt.Errorf("%d rows changed, want %d", changed, n)
	}
	return refused
}

// integer sends a statement that returns one integer or nothing. It reads to
// the end of the answer, which is where SQLite reports a failure to commit.
func integer(ctx context.Context, q querier, text string, args ...any) (n int64, ok bool, err error) {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return 0, false, err
	}
	defer rows.Close()
	for rows.Next() {
		ok = true
		if err := rows.Scan(&n); err != nil {
			return 0, false, err
		}
	}
	return n, ok, errors.Join(rows.Err(), rows.Close())
}

// newVersion returns a random positive number. With 63 bits no two writes of
// a record get the same, which a sequence would promise too, but a sequence is
// one more row that all writers lock, and goes back with the database when
// that is restored from a backup.
func newVersion() int64 {
	var b [8]byte
	for {
		rand.Read(b[:]) // never fails
		if v := int64(binary.NativeEndian.Uint64(b[:]) >> 1); v != 0 {
			return v
		}
	}
}

// blob keeps a driver from storing NULL for no data.
func blob(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

var _ querier = (*sql.DB)(nil)
