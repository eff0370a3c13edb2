package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strconv"
)

// querier is what *sql.DB and *sql.Conn share.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// scope says whether a write is one statement, which needs no transaction
// around it, or more.
type scope bool

const (
	alone         scope = false
	inTransaction scope = true
)

// write runs fn and makes what it wrote permanent, or leaves nothing of it.
// While the database is busy, or when it gave up fn in favour of somebody
// else, fn runs again.
func (s *Store) write(ctx context.Context, sc scope, fn func(context.Context, querier) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.turn != nil {
		select {
		case s.turn <- struct{}{}:
			defer func() { <-s.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.retry(ctx, func() error { return s.attempt(ctx, sc, fn) })
}

// attempt is one try of write on one connection.
func (s *Store) attempt(ctx context.Context, sc scope, fn func(context.Context, querier) error) error {
	se, err := s.newSession(ctx)
	if err != nil {
		return err
	}
	defer se.close()
	// Until its outcome is known, nobody else gets the connection, not even
	// when fn panics.
	se.broken = true
	if sc == alone {
		err := fn(se.ctx, se.conn)
		se.broken = false // it was a statement, and is over
		return err
	}
	if _, err := se.conn.ExecContext(se.ctx, s.sql.begin); err != nil {
		se.broken = !isBusy(err)
		return &beginError{err}
	}
	if err = fn(se.ctx, se.conn); err == nil {
		// The last moment at which giving up has a known outcome.
		err = ctx.Err()
	}
	if err != nil {
		se.rollback()
		return err
	}
	if _, err := se.conn.ExecContext(se.ctx, "COMMIT"); err != nil {
		return fmt.Errorf("commit, which may or may not have happened: %w", err)
	}
	se.broken = false
	return nil
}

// A beginError is a failure to begin, so that nothing has happened yet. It is
// how a pooled connection is found to be dead.
type beginError struct{ error }

func (e *beginError) Unwrap() error { return e.error }

// A session is one connection for the time of one write. database/sql repeats
// a statement when a driver says that its connection is bad, also where it was
// sent, but never one on a connection of one's own.
type session struct {
	conn   *sql.Conn
	ctx    context.Context // for its statements
	reset  string          // what gives the connection back its settings, or empty
	broken bool            // the state of the connection is unknown: it is not used again
}

func (s *Store) newSession(ctx context.Context) (*session, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	se := &session{conn: conn, ctx: ctx}
	if s.turn == nil {
		return se, nil
	}
	// A statement on a local file waits for nothing but the lock, which retry
	// waits for: SQLite's own wait does not end with ctx in every driver. So
	// a statement, once begun, is let finish, and its outcome is known.
	se.ctx = context.WithoutCancel(ctx)
	if s.busyTimeout > 0 {
		se.reset = "PRAGMA busy_timeout = " + strconv.FormatInt(s.busyTimeout, 10)
		if _, err := conn.ExecContext(se.ctx, "PRAGMA busy_timeout = 0"); err != nil {
			se.broken = true
			se.close()
			return nil, err
		}
	}
	return se, nil
}

// rollback ends the transaction whatever became of ctx. A server ends it when
// the connection closes; that needs no answer from one that may be silent.
func (se *session) rollback() {
	if se.ctx.Err() != nil {
		return
	}
	_, err := se.conn.ExecContext(se.ctx, "ROLLBACK")
	se.broken = err != nil
}

// close returns the connection to the pool, or drops it.
func (se *session) close() {
	if !se.broken && se.reset != "" {
		_, err := se.conn.ExecContext(se.ctx, se.reset)
		se.broken = err != nil
	}
	if se.broken {
		// The pool closes a connection of which it is told this.
		_ = se.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	_ = se.conn.Close() // it may have been dropped already, which is no harm
}
