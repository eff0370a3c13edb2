package store

import (
	"context"
	"iter"
	"strings"
)

// List reads listPage records, and steps over at most listScan entries, each
// time that it holds the lock.
const (
	listPage = 100
	listScan = 1000
)

// List implements [Store].
func (m *Memory) List(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := ValidateQuery(q); err != nil {
			yield(Record{}, err)
			return
		}
		rest, left := q, q.Limit
		var page []Record
		for more := true; more; {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			page, rest.After, more = m.page(rest, page[:0])
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// page appends the next records of q to page. It returns with them the last ID
// it saw, and whether there may be more behind that.
func (m *Memory) page(q Query, page []Record) (_ []Record, last string, more bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	t := m.tables[q.Kind]
	if t == nil {
		return page, "", false
	}
	now := m.now()
	step, at := t.ordered.next, t.ordered.search(func(id string) bool {
		return id >= q.Prefix && id > q.After
	})
	if q.Reverse {
		step, at = t.ordered.previous, t.ordered.search(func(id string) bool {
			return id > q.Prefix && !strings.HasPrefix(id, q.Prefix) || q.After != "" && id >= q.After
		})
	}
	for range listScan {
		var e *entry
		e, at = step(at)
		if e == nil || !strings.HasPrefix(e.id, q.Prefix) {
			return page, "", false
		}
		last = e.id
		if e.live(now) {
			page = append(page, e.record(q.Kind))
		}
		if len(page) == listPage || len(page) == q.Limit {
			return page, last, true
		}
	}
	return page, last, true
}
