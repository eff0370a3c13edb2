package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/sqlstore"
)

// calls is every method, as something that returns an error.
func calls(s *sqlstore.Store, stored store.Record) map[string]func(context.Context) error {
	insert := store.Insert(store.Record{Kind: "stalled", ID: "new"})
	return map[string]func(context.Context) error{
		"Get": func(ctx context.Context) error { _, err := s.Get(ctx, stored.Key()); return err },
		"List": func(ctx context.Context) error {
			for _, err := range s.List(ctx, store.Query{Kind: stored.Kind}) {
				return err
			}
			return errors.New("nothing listed")
		},
		"Commit of one":     func(ctx context.Context) error { return s.Commit(ctx, insert) },
		"Commit of several": func(ctx context.Context) error { return s.Commit(ctx, insert, store.Replace(stored)) },
		"Commit of a Check": func(ctx context.Context) error { return s.Commit(ctx, insert, store.Check(stored)) },
		"Commit of a Take":  func(ctx context.Context) error { return s.Commit(ctx, store.Take("n", 1, 9, time.Time{})) },
		"Add":               func(ctx context.Context) error { _, err := s.Add(ctx, "n", 1, time.Time{}); return err },
		"Sweep":             func(ctx context.Context) error { _, err := s.Sweep(ctx, time.Now(), 1000); return err },
	}
}

// late is how long after the end of its context a call may return.
const late = 100 * time.Millisecond

func TestSTO08CancelledContext(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.connect(t)
		s := d.openOn(t, db, nil)
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "a"}))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for name, call := range calls(s, one(t, s, "k", "a")) {
			if err := call(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		untouched(t, s, db)
	})
}

func TestSTO08StalledDatabase(t *testing.T) {
	stalled := func(t *testing.T, d database, stall string, waits func(name string) bool) {
		db := d.connect(t)
		s := d.openOn(t, db, nil)
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "a"}))
		stored := one(t, s, "k", "a")
		other, err := d.connect(t).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if _, err := other.ExecContext(t.Context(), stall); err != nil {
			t.Fatal(err)
		}
		for name, call := range calls(s, stored) {
			const patience = 50 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			start := time.Now()
			err := call(ctx)
			took := time.Since(start)
			cancel()
			switch {
			case !waits(name):
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("%s: %v", name, err)
			case took > patience+late:
				t.Errorf("%s: returned after %v", name, took)
			}
		}
		if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		untouched(t, s, db)
		commit(t, s, store.Replace(stored), store.Insert(store.Record{Kind: "k", ID: "b"}))
	}
	// Readers do not wait for the writer in SQLite.
	writes := func(name string) bool { return name != "Get" && name != "List" }
	t.Run("SQLite", func(t *testing.T) { stalled(t, newSQLite(t), "BEGIN IMMEDIATE", writes) })
	t.Run("SQLite with a busy timeout", func(t *testing.T) {
		d := newSQLite(t)
		d.dsn += "?_pragma=busy_timeout(5000)"
		stalled(t, d, "BEGIN IMMEDIATE", writes)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		stalled(t, newPostgres(t), "BEGIN; LOCK TABLE keywright_records, keywright_counters",
			func(string) bool { return true })
	})
}

// A Commit that is given up half way has a known outcome: nothing.
func TestSTO08CancelledWithinACommit(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		ctx, cancel := context.WithCancel(context.Background())
		db := d.connect(t)
		s := d.openOn(t, db, func() time.Time {
			cancel() // the clock is read after BEGIN
			return time.Now()
		})
		insert := func(id string) store.Op { return store.Insert(store.Record{Kind: "stalled", ID: id}) }
		if err := s.Commit(ctx, insert("new"), insert("newer")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		untouched(t, s, db)
	})
}

// A connection that died in the pool is no failure of the next Commit.
func TestDeadConnectionIsReplaced(t *testing.T) {
	d := newPostgres(t)
	s := d.open(t, nil)
	db := d.connect(t)
	for i := range 5 {
		id := store.ID("k", string(rune('a'+i)))
		if _, err := db.Exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: id}), store.Take("n", 1, 9, time.Time{}))
	}
}

// untouched checks that nothing of calls was written and that no connection
// is in use any more.
func untouched(t *testing.T, s *sqlstore.Store, db *sql.DB) {
	t.Helper()
	if n := db.Stats().InUse; n != 0 {
		t.Errorf("%d connections in use", n)
	}
	if one(t, s, "stalled", "new").Exists() {
		t.Error("a record was written")
	}
	if n, err := s.Add(context.Background(), "n", 0, time.Time{}); n != 0 || err != nil {
		t.Errorf("the counter is %d, %v, want 0", n, err)
	}
}

// The host's connections have the host's settings when it gets them back.
func TestBusyTimeoutIsGivenBack(t *testing.T) {
	d := newSQLite(t)
	d.dsn += "?_pragma=busy_timeout(1234)"
	db := d.connect(t)
	db.SetMaxOpenConns(1)
	s := d.openOn(t, db, nil)
	commit(t, s, store.Insert(store.Record{Kind: "k", ID: "a"}))
	if err := s.Commit(t.Context(), store.Insert(store.Record{Kind: "k", ID: "a"})); !errors.Is(err, store.ErrExists) {
		t.Error(err)
	}
	var timeout int
	if err := db.QueryRow(`PRAGMA busy_timeout`).Scan(&timeout); err != nil || timeout != 1234 {
		t.Errorf("busy_timeout is %d, %v, want 1234", timeout, err)
	}
}
