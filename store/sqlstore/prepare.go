package sqlstore

import (
	"context"
	"fmt"
)

// synchronousFull is SQLite's PRAGMA synchronous = FULL: COMMIT returns when
// the change is on the disk.
const synchronousFull = 2

// prepareSQLite turns write-ahead logging on, which stays with the file, and
// checks what a connection brings along.
func (s *Store) prepareSQLite(ctx context.Context, relaxed bool) error {
	if err := s.db.QueryRowContext(ctx, `PRAGMA busy_timeout`).Scan(&s.busyTimeout); err != nil {
		return err
	}
	return s.write(ctx, alone, func(ctx context.Context, q querier) error {
		// Without it a reader stops the writer, and the other way round.
		var mode, encoding string
		if err := q.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
			return fmt.Errorf("switch to write-ahead logging: %w", err)
		}
		if mode != "wal" {
			return fmt.Errorf("journal mode is %q, want a file on a local disk, which can have \"wal\"", mode)
		}
		if err := q.QueryRowContext(ctx, `PRAGMA encoding`).Scan(&encoding); err != nil {
			return err
		}
		if encoding != "UTF-8" {
			return fmt.Errorf("the encoding of the database is %s, want UTF-8", encoding)
		}
		var synchronous int
		if err := q.QueryRowContext(ctx, `PRAGMA synchronous`).Scan(&synchronous); err != nil {
			return err
		}
		if synchronous < synchronousFull && !relaxed {
			return fmt.Errorf("synchronous is %d, want %d (FULL) in the connection string, or InsecureRelaxedSync", synchronous, synchronousFull)
		}
		return nil
	})
}

func (s *Store) preparePostgres(ctx context.Context, relaxed bool) error {
	var encoding, synchronous, fsync string
	if err := s.db.QueryRowContext(ctx, `SHOW server_encoding`).Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the encoding of the database is %s, want UTF8", encoding)
	}
	if err := s.db.QueryRowContext(ctx, `SHOW synchronous_commit`).Scan(&synchronous); err != nil {
		return err
	}
	if synchronous == "off" && !relaxed {
		return fmt.Errorf("synchronous_commit is off, want on, or InsecureRelaxedSync")
	}
	if err := s.db.QueryRowContext(ctx, `SHOW fsync`).Scan(&fsync); err != nil {
		return err
	}
	if fsync == "off" && !relaxed {
		return fmt.Errorf("fsync is off, want on, or InsecureRelaxedSync")
	}
	return nil
}
