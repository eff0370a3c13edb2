package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/keywright/keywright/store"
)

// Get implements [store.Store] with one SELECT, so all records are of one
// moment.
func (s *Store) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if err := store.ValidateKeys(keys...); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, wrap(ctx, "get", err)
	}
	if len(keys) == 0 {
		return nil, nil
	}
	var records []store.Record
	err := s.retry(ctx, func() (err error) {
		records, err = s.read(ctx, s.db, s.now(), keys)
		return err
	})
	if err != nil {
		return nil, wrap(ctx, "get", err)
	}
	return records, nil
}

// read returns the live records with the given keys, in that order.
func (s *Store) read(ctx context.Context, q querier, now time.Time, keys []store.Key) ([]store.Record, error) {
	args := make([]any, 1, 1+2*len(keys))
	args[0] = nanos(now)
	for _, k := range keys {
		args = append(args, k.Kind, k.ID)
	}
	rows, err := s.query(ctx, q, len(keys), args)
	if err != nil {
		return nil, err
	}
	found, err := scan(rows, make([]store.Record, 0, len(keys)))
	if err != nil {
		return nil, err
	}
	records := make([]store.Record, len(keys))
	for i, k := range keys {
		records[i] = store.Record{Kind: k.Kind, ID: k.ID}
		for _, r := range found {
			if r.Key() == k {
				records[i] = r
				break
			}
		}
	}
	return records, nil
}

// query asks for n records, with a prepared statement where there is one.
func (s *Store) query(ctx context.Context, q querier, n int, args []any) (*sql.Rows, error) {
	if q == s.db && n <= len(s.prepared) {
		return s.prepared[n-1].QueryContext(ctx, args...)
	}
	return q.QueryContext(ctx, s.sql.get(n), args...)
}

// prepareGets prepares the Get of a credential, and of one and its parent,
// which make up most of what a server asks. It more than halves their time in
// SQLite, where drivers otherwise compile a statement each time. PostgreSQL's
// drivers remember statements themselves, in ways that suit a connection
// pooler in between.
//
// The statements live as long as the connections of db: nothing to close, and
// no reason to open a second Store over one db.
func (s *Store) prepareGets(ctx context.Context) error {
	for n := 1; n <= 2; n++ {
		statement, err := s.db.PrepareContext(ctx, s.sql.get(n))
		if err != nil {
			for _, p := range s.prepared {
				err = errors.Join(err, p.Close())
			}
			return err
		}
		s.prepared = append(s.prepared, statement)
	}
	return nil
}

// scan appends the records of an answer, and closes it.
func scan(rows *sql.Rows, records []store.Record) ([]store.Record, error) {
	defer rows.Close()
	for rows.Next() {
		var r store.Record
		var expires int64
		if err := rows.Scan(&r.Kind, &r.ID, &r.Version, &expires, &r.Data); err != nil {
			return nil, err
		}
		r.Expires = fromNanos(expires)
		records = append(records, r)
	}
	return records, rows.Err()
}
