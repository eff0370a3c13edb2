package sqlstore_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/keywright/keywright/internal/pgtest"
	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/sqlstore"
)

// A database is somewhere that Stores can be opened in.
type database struct {
	dialect sqlstore.Dialect
	driver  string
	dsn     string
}

// newSQLite returns a file that does not exist yet, with the settings that the
// package documentation recommends.
func newSQLite(tb testing.TB) database {
	return database{sqlstore.SQLite, "sqlite", "file:" + filepath.Join(tb.TempDir(), "keywright.db")}
}

func newPostgres(tb testing.TB) database {
	return database{sqlstore.PostgreSQL, "pgx", pgtest.Start(tb)}
}

// onBoth runs a test on an empty database of each kind.
func onBoth(t *testing.T, test func(*testing.T, database)) {
	t.Run("SQLite", func(t *testing.T) { test(t, newSQLite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, newPostgres(t)) })
}

// connect opens the database without a Store.
func (d database) connect(tb testing.TB) *sql.DB {
	tb.Helper()
	db, err := sql.Open(d.driver, d.dsn)
	if err != nil {
		tb.Fatal(err)
	}
	db.SetMaxOpenConns(20) // a server admits 100, from all processes
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	return db
}

func (d database) open(tb testing.TB, now func() time.Time) *sqlstore.Store {
	tb.Helper()
	return d.openOn(tb, d.connect(tb), now)
}

func (d database) openOn(tb testing.TB, db *sql.DB, now func() time.Time) *sqlstore.Store {
	tb.Helper()
	s, err := sqlstore.Open(context.Background(), db, sqlstore.Config{Dialect: d.dialect, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// one returns the record with the given key.
func one(tb testing.TB, s store.Store, kind, id string) store.Record {
	tb.Helper()
	records, err := s.Get(context.Background(), store.Key{Kind: kind, ID: id})
	if err != nil {
		tb.Fatal(err)
	}
	return records[0]
}

func commit(tb testing.TB, s store.Store, ops ...store.Op) {
	tb.Helper()
	if err := s.Commit(context.Background(), ops...); err != nil {
		tb.Fatal(err)
	}
}
