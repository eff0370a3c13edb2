package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/store"
)

// A Dialect is a kind of database. Zero is none, and refused.
type Dialect int

// The databases that a Store can live in.
const (
	SQLite     Dialect = iota + 1 // 3.37 or newer, a file on a local disk
	PostgreSQL                    // 13 or newer
)

func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case PostgreSQL:
		return "PostgreSQL"
	}
	return "unknown dialect"
}

// Config says how to use a database.
type Config struct {
	// Dialect is required.
	Dialect Dialect

	// Now is the clock that Expires is compared with; nil means [time.Now].
	// The database's own clock is never asked.
	Now func() time.Time

	// InsecureRelaxedSync accepts a database that answers before a change is
	// on the disk: SQLite with synchronous below FULL, PostgreSQL with
	// synchronous_commit or fsync off. A power failure may then undo the last changes
	// that Commit reported as done: a one-time token works again, a revoked
	// key lives. Zero refuses such a database.
	InsecureRelaxedSync bool
}

// A Store keeps records in a database. It is safe for concurrent use, and any
// number of Stores, in any number of processes, may share one database.
type Store struct {
	db  *sql.DB
	now func() time.Time
	sql *statements

	prepared []*sql.Stmt // for a Get of one key, of two, and so on; may be empty

	// turn admits one writer at a time where the database does too, so that
	// writers of one process queue here rather than poll; nil admits all.
	turn chan struct{}

	// busyTimeout is what the host's connections have, in milliseconds, and
	// get back after a write; see session.
	busyTimeout int64
}

var _ store.Store = (*Store)(nil)

// Open returns the Store in db. It creates the tables when there are none,
// also when several processes do so at once, and otherwise checks that they
// are what this version of the package needs: the error names the first thing
// that is not. The connections of db stay the caller's, who closes it when the
// Store is no longer used.
func Open(ctx context.Context, db *sql.DB, c Config) (*Store, error) {
	if db == nil {
		return nil, errors.New("sqlstore: no database")
	}
	s := &Store{db: db, now: c.Now}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	switch c.Dialect {
	case SQLite:
		s.sql, s.turn = &sqliteStatements, make(chan struct{}, 1)
		err = s.prepareSQLite(ctx, c.InsecureRelaxedSync)
	case PostgreSQL:
		s.sql = &postgresStatements
		err = s.preparePostgres(ctx, c.InsecureRelaxedSync)
	default:
		return nil, fmt.Errorf("sqlstore: %v: want SQLite or PostgreSQL", c.Dialect)
	}
	if err == nil {
		err = s.write(ctx, inTransaction, s.ensureSchema)
	}
	if err == nil && c.Dialect == SQLite {
		err = s.prepareGets(ctx)
	}
	if err != nil {
		return nil, wrap(ctx, "open", err)
	}
	return s, nil
}

// wrap names the method that failed. The end of ctx shows through whatever a
// driver made of it.
func wrap(ctx context.Context, method string, err error) error {
	ended := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*store.OpError)):
		return err
	case ended != nil && !errors.Is(err, ended):
		return fmt.Errorf("sqlstore: %s: %w: %w", method, ended, err)
	}
	return fmt.Errorf("sqlstore: %s: %w", method, err)
}

// nanos is a time as the tables keep it: zero for never.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
