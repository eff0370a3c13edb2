package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // driver "pgx"
	_ "modernc.org/sqlite"             // driver "sqlite"

	"github.com/keywright/keywright/store/sqlstore"
)

func isPostgres(db string) bool {
	return strings.HasPrefix(db, "postgres://") || strings.HasPrefix(db, "postgresql://")
}

func openStore(ctx context.Context, name string) (*sqlstore.Store, func() error, error) {
	driver, dsn, dialect, label := "sqlite", sqliteDSN(name), sqlstore.SQLite, name
	if isPostgres(name) {
		driver, dsn, dialect, label = "pgx", name, sqlstore.PostgreSQL, "PostgreSQL"
	} else if err := touchPrivate(name); err != nil {
		return nil, nil, fmt.Errorf("database: %w", err)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("database %s: %w", label, err)
	}
	db.SetMaxOpenConns(20) // a PostgreSQL server has 100 for all its clients
	st, err := sqlstore.Open(ctx, db, sqlstore.Config{Dialect: dialect})
	if err != nil {
		db.Close()
		return nil, nil, fmt.Errorf("database %s: %w", label, err)
	}
	return st, db.Close, nil
}

// touchPrivate makes the file before SQLite does, which would let others read it.
func touchPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// sqliteDSN asks for what an acknowledged key must survive: synchronous=FULL.
// The journal mode is left to sqlstore, which waits for processes that start at
// the same time; on a connection of its own the pragma would not.
func sqliteDSN(path string) string {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	u.RawQuery = url.Values{"_pragma": {"busy_timeout(5000)", "synchronous(FULL)"}}.Encode()
	return u.String()
}

// sweep deletes what expired more than an hour ago, so that a clock that was
// wrong for a while has forgotten nothing.
func sweep(ctx context.Context, st *sqlstore.Store) {
	every := time.NewTicker(10 * time.Minute)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			if _, err := st.Sweep(ctx, now.Add(-time.Hour), 10_000); err != nil {
				slog.Warn("sweep", "error", err)
			}
		}
	}
}
