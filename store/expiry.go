package store

import (
	"context"
	"time"
)

// grace is how long an expired item is kept even when room is needed.
const grace = int64(time.Hour)

// sweepBatch is how many items go under one hold of the lock.
const sweepBatch = 1000

// makeRoom reports whether so many new items fit, after dropping what expired
// long ago if need be. The caller holds mu.
func (m *Memory) makeRoom(fresh int, now int64) bool {
	for m.size+fresh > m.max() {
		if _, found := m.dropExpired(now - grace); !found {
			return false
		}
	}
	return true
}

// Sweep deletes up to max records and counters that expired before the given
// time, and returns how many it deleted. Callers pass an hour ago or earlier,
// so that a clock which is put back finds what it needs. Other calls are held
// up for a thousand deletions at a time, less than a millisecond.
func (m *Memory) Sweep(ctx context.Context, before time.Time, max int) (int, error) {
	deleted := 0
	for deleted < max {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		n, more := m.sweepBatch(before.UnixNano(), min(max-deleted, sweepBatch))
		if deleted += n; !more {
			break
		}
	}
	return deleted, nil
}

func (m *Memory) sweepBatch(before int64, max int) (deleted int, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range max {
		dropped, found := m.dropExpired(before)
		if !found {
			return deleted, false
		}
		if dropped {
			deleted++
		}
	}
	return deleted, true
}

// dropExpired takes the first place in the queue that is due before the given
// time, if any, and drops its item if that has really expired by then. The
// caller holds mu.
func (m *Memory) dropExpired(before int64) (dropped, found bool) {
	if len(m.queue) == 0 || m.queue[0].at >= before {
		return false, false
	}
	e := m.queue.pop()
	i, there := e.table.items[e.id]
	switch {
	case !there || i.queued != e.at:
		return false, true // the place of something that is gone or stands elsewhere
	case i.expires != 0 && i.expires < before:
		m.drop(e.table, e.id)
		return true, true
	}
	// It was given more time since.
	if i.queued = i.expires; i.expires != 0 {
		m.queue.push(expiry{at: i.expires, table: e.table, id: e.id})
	}
	e.table.items[e.id] = i
	return false, true
}

// trimQueue drops empty places once they are the majority, so that the queue
// stays in proportion to what is held. The caller holds mu.
func (m *Memory) trimQueue() {
	if len(m.queue) <= 2*m.size+sweepBatch {
		return
	}
	kept := m.queue[:0]
	for _, e := range m.queue {
		if i, there := e.table.items[e.id]; there && i.queued == e.at {
			kept = append(kept, e)
		}
	}
	clear(m.queue[len(kept):])
	m.queue = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		m.queue.down(i)
	}
}

// An expiryQueue is a heap with the earliest expiry first. An item stands in
// it once, at or before its own expiry.
type expiryQueue []expiry

type expiry struct {
	at    int64
	table *table
	id    string
}

func (q *expiryQueue) push(e expiry) {
	h := append(*q, e)
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent].at <= h[i].at {
			break
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
	*q = h
}

func (q *expiryQueue) pop() expiry {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], expiry{}
	*q = h[:last]
	q.down(0)
	return first
}

func (q expiryQueue) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(q) {
			return
		}
		if child+1 < len(q) && q[child+1].at < q[child].at {
			child++
		}
		if q[i].at <= q[child].at {
			return
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}
