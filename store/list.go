package store

import (
	"context"
	"iter"
	"slices"
	"strings"
)

// List implements [Store]. It sorts the IDs that match, so one call costs as
// much as they are many, whatever its Limit.
func (m *Memory) List(ctx context.Context, q Query) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if err := ValidateQuery(q); err != nil {
			yield(Record{}, err)
			return
		}
		yielded := 0
		for _, id := range m.ids(q) {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			r := m.one(Key{q.Kind, id})
			if !r.Exists() {
				continue // gone since
			}
			if !yield(r, nil) {
				return
			}
			if yielded++; yielded == q.Limit {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(Record{}, err)
		}
	}
}

func (m *Memory) one(k Key) Record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.record(k, m.now())
}

// ids returns what q selects now, in its order, without regard to its Limit.
func (m *Memory) ids(q Query) []string {
	m.mu.RLock()
	var ids []string
	now := m.now()
	if t := m.kinds[q.Kind]; t != nil {
		for id, i := range t.items {
			if i.liveAt(now) && q.selects(id) {
				ids = append(ids, id)
			}
		}
	}
	m.mu.RUnlock()
	slices.Sort(ids)
	if q.Reverse {
		slices.Reverse(ids)
	}
	return ids
}

func (q Query) selects(id string) bool {
	switch {
	case !strings.HasPrefix(id, q.Prefix):
		return false
	case q.After == "":
		return true
	case q.Reverse:
		return id < q.After
	}
	return id > q.After
}
