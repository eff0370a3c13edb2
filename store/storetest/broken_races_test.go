package storetest

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenRaces = []breaker{
	{"Insert looks, then writes", []string{"races/STO-01", "races/STO-02", "races/two Inserts"}, withCommit(careless(store.ActionInsert, true))},
	{"Replace looks, then writes", []string{"races/one of many replaces", "races/no update", "races/a version is replaced"}, withCommit(careless(store.ActionReplace, true))},
	{"Delete looks, then deletes", []string{"races/one of many deletes", "races/a version is replaced"}, withCommit(careless(store.ActionDelete, true))},
	{"Check looks before the others write", []string{"races/two Commits that check", "races/nothing is made"}, withCommit(careless(store.ActionCheck, true))},
	{"Take looks, then adds", []string{"races/Take gives"}, withCommit(careless(store.ActionTake, true))},
	{"Add returns what it read before", []string{"races/Add counts"}, func(m *store.Memory, _ func() time.Time) store.Store {
		meet := make(rendezvous)
		return broken{Memory: m, add: func(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
			before, err := m.Add(ctx, counter, 0, until)
			if err != nil || n == 0 {
				return before, err
			}
			meet.wait()
			_, err = m.Add(ctx, counter, n, until)
			return before + n, err
		}}
	}},
	{"an ended window begins again in two steps", []string{"races/a window"}, func(m *store.Memory, _ func() time.Time) store.Store {
		meet := make(rendezvous)
		return broken{Memory: m, add: func(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
			before, err := m.Add(ctx, counter, 0, until)
			if err == nil && before == 0 && n != 0 {
				meet.wait()
				_, err = m.Add(ctx, counter, -store.MaxDelta, until)
			}
			if err != nil {
				return 0, err
			}
			return m.Add(ctx, counter, n, until)
		}}
	}},
	{"locks are taken in the order of the ops", []string{"races/opposite orders"}, func(m *store.Memory, _ func() time.Time) store.Store {
		locks := rowLocks{rows: make(map[store.Key]chan struct{}), meet: make(rendezvous)}
		return broken{Memory: m, commit: func(ctx context.Context, ops []store.Op) error {
			unlock, err := locks.lock(ctx, ops)
			defer unlock()
			if err != nil {
				return err
			}
			return m.Commit(ctx, ops...)
		}}
	}},
}

// A rendezvous is where two callers wait for each other, though not for long.
type rendezvous chan struct{}

func (r rendezvous) wait() {
	timeout := time.NewTimer(20 * time.Millisecond)
	defer timeout.Stop()
	select {
	case r <- struct{}{}:
	case <-r:
	case <-timeout.C:
	}
}

// careless returns a Commit that looks whether ops of one action can be done,
// or does not even look, and then does them come what may.
func careless(action store.Action, look bool) func(context.Context, *store.Memory, []store.Op) error {
	meet := make(rendezvous)
	return func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		if err := store.Validate(ops...); err != nil {
			return err
		}
		for i, op := range ops {
			if !look || op.Action != action {
				continue
			}
			if err := allowed(ctx, m, op); err != nil {
				return &store.OpError{Index: i, Op: op, Err: err}
			}
		}
		if look && slices.ContainsFunc(ops, func(op store.Op) bool { return op.Action == action }) {
			meet.wait()
		}
		for {
			err := m.Commit(ctx, forced(ctx, m, action, ops)...)
			var failed *store.OpError
			if !errors.As(err, &failed) || failed.Op.Action != action {
				return err
			}
		}
	}
}

// allowed says what is wrong with an op now.
func allowed(ctx context.Context, m *store.Memory, op store.Op) error {
	if op.Action == store.ActionTake {
		n, err := m.Add(ctx, op.Counter.Name, 0, never)
		if err == nil && n+op.Counter.N > op.Counter.Max {
			err = store.ErrLimit
		}
		return err
	}
	records, err := m.Get(ctx, op.Record.Key())
	switch {
	case err != nil:
		return err
	case op.Action == store.ActionInsert && records[0].Exists():
		return store.ErrExists
	case op.Action != store.ActionInsert && records[0].Version != op.Record.Version:
		return store.ErrConflict
	}
	return nil
}

// forced returns ops with those of one action turned into what cannot fail.
func forced(ctx context.Context, m *store.Memory, action store.Action, ops []store.Op) []store.Op {
	var all []store.Op
	for _, op := range ops {
		switch {
		case op.Action != action:
		case action == store.ActionInsert, action == store.ActionReplace:
			op.Action = store.ActionPut
		case action == store.ActionTake:
			op.Counter.Max = math.MaxInt64
		case action == store.ActionDelete:
			records, err := m.Get(ctx, op.Record.Key())
			if err != nil || !records[0].Exists() {
				continue
			}
			op.Record = records[0]
		default:
			continue
		}
		all = append(all, op)
	}
	return all
}

// rowLocks are locks such as a database has, one for each record and counter.
type rowLocks struct {
	mu   sync.Mutex
	rows map[store.Key]chan struct{}
	meet rendezvous
}

func (l *rowLocks) lock(ctx context.Context, ops []store.Op) (unlock func(), err error) {
	var held []chan struct{}
	unlock = func() {
		for _, row := range held {
			<-row
		}
	}
	for _, op := range ops {
		select {
		case l.row(op) <- struct{}{}:
			held = append(held, l.row(op))
		case <-ctx.Done():
			return unlock, ctx.Err()
		}
		if len(held) == 1 {
			l.meet.wait()
		}
	}
	return unlock, nil
}

func (l *rowLocks) row(op store.Op) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := op.Record.Key()
	if op.Action == store.ActionTake {
		k.ID = op.Counter.Name
	}
	if l.rows[k] == nil {
		l.rows[k] = make(chan struct{}, 1)
	}
	return l.rows[k]
}
