package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/keywright/keywright/store"
)

// forgetful is a driver that, once armed, does a statement and says that its
// connection was bad, as some do when the answer is lost.
type forgetful struct {
	driver.Connector
	armed atomic.Bool
}

func (f *forgetful) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return forgetfulConn{c.(*stdlib.Conn), f}, nil
}

type forgetfulConn struct {
	*stdlib.Conn
	f *forgetful
}

func (c forgetfulConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	result, err := c.Conn.ExecContext(ctx, query, args)
	if c.f.armed.CompareAndSwap(true, false) {
		return nil, driver.ErrBadConn
	}
	return result, err
}

func (c forgetfulConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := c.Conn.QueryContext(ctx, query, args)
	if err != nil || !c.f.armed.CompareAndSwap(true, false) {
		return rows, err
	}
	// The statement is done once its rows have been read.
	for next := make([]driver.Value, len(rows.Columns())); rows.Next(next) == nil; {
	}
	return nil, errors.Join(rows.Close(), driver.ErrBadConn)
}

// TestSTO09LostAnswerIsNotRepeated: what was perhaps done is not done again.
func TestSTO09LostAnswerIsNotRepeated(t *testing.T) {
	d := newPostgres(t)
	config, err := pgx.ParseConfig(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	f := &forgetful{Connector: stdlib.GetConnector(*config)}
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	s := d.openOn(t, db, nil)
	ctx := t.Context()

	f.armed.Store(true)
	if err := s.Commit(ctx, store.Insert(store.Record{Kind: "k", ID: "a"})); err == nil || errors.Is(err, store.ErrExists) {
		t.Errorf("Insert: got %v, want an error that leaves the outcome open", err)
	}
	if !one(t, s, "k", "a").Exists() {
		t.Error("the record is not there: nothing was lost, so nothing is proven")
	}
	for name, add := range map[string]func() error{
		"Add":  func() error { _, err := s.Add(ctx, "Add", 1, time.Time{}); return err },
		"Take": func() error { return s.Commit(ctx, store.Take("Take", 1, 9, time.Time{})) },
	} {
		f.armed.Store(true)
		if err := add(); err == nil {
			t.Errorf("%s: got no error", name)
		}
		if n, err := s.Add(ctx, name, 0, time.Time{}); n != 1 || err != nil {
			t.Errorf("%s: the counter stands at %d, %v, want 1", name, n, err)
		}
	}
}

// TestPanicLeavesNoTransaction: a clock that panics, as a host's might, ends
// its Commit and no other.
func TestPanicLeavesNoTransaction(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var bad atomic.Bool
		db := d.connect(t)
		s := d.openOn(t, db, func() time.Time {
			if bad.Load() {
				panic("clock")
			}
			return time.Now()
		})
		bad.Store(true)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the clock did not panic")
				}
			}()
			s.Commit(t.Context(), store.Put(store.Record{Kind: "k", ID: "a"}), store.Put(store.Record{Kind: "k", ID: "b"}))
		}()
		bad.Store(false)
		commit(t, s, store.Put(store.Record{Kind: "k", ID: "c"}))
		other := d.open(t, nil)
		if one(t, other, "k", "a").Exists() || !one(t, other, "k", "c").Exists() {
			t.Error("the Commit after the panic went into its transaction")
		}
		if n := db.Stats().InUse; n != 0 {
			t.Errorf("%d connections in use", n)
		}
	})
}

// TestCheckAfterWaiting: a parent that expires while a Commit waits for it has
// no more children.
func TestCheckAfterWaiting(t *testing.T) {
	d := newPostgres(t)
	var late atomic.Bool
	end := time.Now().Add(time.Hour)
	s := d.open(t, func() time.Time {
		if late.Load() {
			return end
		}
		return end.Add(-time.Minute)
	})
	commit(t, s, store.Insert(store.Record{Kind: "k", ID: "parent", Expires: end}))
	parent := one(t, s, "k", "parent")

	db := d.connect(t)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(`SELECT 1 FROM keywright_records WHERE id = 'parent' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- s.Commit(context.Background(), store.Check(parent), store.Insert(store.Record{Kind: "k", ID: "child"}))
	}()
	awaitLock(t, db)
	late.Store(true)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, store.ErrConflict) {
		t.Errorf("got %v, want ErrConflict", err)
	}
	if one(t, s, "k", "child").Exists() {
		t.Error("the child was made")
	}
}

// awaitLock returns once somebody waits for a lock.
func awaitLock(t *testing.T, db *sql.DB) {
	t.Helper()
	for range 2000 {
		var n int
		if err := db.QueryRow(`SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			return
		}
		time.Sleep(5 * time.Millisecond) // the server tells nobody
	}
	t.Fatal("nobody waits")
}
