package sqlstore

import (
	"context"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/keywright/keywright/store"
)

// pageSize is how many records List reads at a time.
const pageSize = 100

// List implements [store.Store]. It reads 100 records at a time, and no
// connection is taken while the body of the loop runs.
func (s *Store) List(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if err := store.ValidateQuery(q); err != nil {
			yield(store.Record{}, err)
			return
		}
		from, to, some := bounds(q)
		left := q.Limit
		for some {
			n := pageSize
			if q.Limit > 0 {
				n = min(n, left)
			}
			page, err := s.page(ctx, q, from, to, n)
			if err != nil {
				yield(store.Record{}, wrap(ctx, "list", err))
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
			}
			left -= len(page)
			if len(page) < n || q.Limit > 0 && left == 0 {
				return
			}
			if last := page[len(page)-1].ID; q.Reverse {
				to = last
			} else {
				from = behind(last)
			}
		}
	}
}

func (s *Store) page(ctx context.Context, q store.Query, from, to string, n int) (page []store.Record, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err = s.retry(ctx, func() error {
		args := []any{nanos(s.now()), q.Kind, n, from}
		if to != "" {
			args = append(args, to)
		}
		rows, err := s.db.QueryContext(ctx, s.sql.list(to != "", q.Reverse), args...)
		if err != nil {
			return err
		}
		page, err = scan(rows, make([]store.Record, 0, n))
		return err
	})
	return page, err
}

// bounds returns the IDs that q selects as from <= id < to, where an empty to
// is no bound. One pair of bounds, rather than a pattern, is what an index is
// searched with. It returns false when no ID is between them.
func bounds(q store.Query) (from, to string, some bool) {
	from, to = q.Prefix, successor(q.Prefix)
	switch {
	case q.After == "":
	case q.Reverse:
		if to == "" || q.After < to {
			to = q.After
		}
	default:
		from = max(from, behind(q.After))
	}
	return from, to, to == "" || from < to
}

// behind returns the first ID after id: IDs have no NUL in them.
func behind(id string) string { return id + "\x01" }

// successor returns the first string that is greater than every string with
// the given prefix, and valid UTF-8 as PostgreSQL demands: the last code point
// that can be is raised by one. It is empty when there is none.
func successor(prefix string) string {
	prefix = strings.TrimRight(prefix, string(utf8.MaxRune))
	if prefix == "" {
		return ""
	}
	last, size := utf8.DecodeLastRuneInString(prefix)
	next := last + 1
	if !utf8.ValidRune(next) {
		next = 0xE000 // past the surrogates
	}
	return prefix[:len(prefix)-size] + string(next)
}
