package store

import (
	"container/heap"
	"strings"
	"time"
)

// An entry is one record or counter that a [Memory] holds. There may be a
// million of them, so they are kept within 64 bytes.
type entry struct {
	id      string
	data    []byte // of a record; never modified
	number  int64  // the version of a record, the value of a counter
	expires int64  // in nanoseconds since 1970; 0 means never
	place   int    // in the table's heap, when there is an expiry
}

func (e *entry) live(now int64) bool { return e.expires == 0 || now < e.expires }

func (e *entry) record(kind string) Record {
	r := Record{Kind: kind, ID: e.id, Version: e.number, Data: e.data}
	if e.expires != 0 {
		r.Expires = time.Unix(0, e.expires).UTC()
	}
	return r
}

// A table holds the entries of one kind, found by ID, listed in the order of
// their IDs and forgotten in the order of their expiry.
type table struct {
	byID     map[string]*entry
	ordered  index
	expiring expiryHeap
}

// find returns the entry with the given key, which may have expired, or nil.
func (m *Memory) find(k Key) *entry {
	t := m.tables[k.Kind]
	if t == nil {
		return nil
	}
	return t.byID[k.ID]
}

// write makes or changes an entry, and keeps data.
func (m *Memory) write(k Key, number, expires int64, data []byte) {
	t := m.tables[k.Kind]
	if t == nil {
		if m.tables == nil {
			m.tables = make(map[string]*table)
		}
		t = &table{byID: make(map[string]*entry)}
		m.tables[strings.Clone(k.Kind)] = t
	}
	e := t.byID[k.ID]
	if e == nil {
		// The caller's ID may be a small part of a large request.
		e = &entry{id: strings.Clone(k.ID)}
		t.byID[e.id] = e
		t.ordered.insert(e)
		m.held++
	}
	e.number, e.data = number, data
	t.expire(e, expires)
}

// expire changes when e expires.
func (t *table) expire(e *entry, expires int64) {
	had := e.expires != 0
	switch {
	case had && expires == 0:
		heap.Remove(&t.expiring, e.place)
		e.expires = 0
	case had:
		e.expires = expires
		heap.Fix(&t.expiring, e.place)
	case expires != 0:
		e.expires = expires
		heap.Push(&t.expiring, e)
	}
}

// remove deletes the entry e of the given kind.
func (m *Memory) remove(kind string, e *entry) {
	t := m.tables[kind]
	t.expire(e, 0)
	t.ordered.remove(e)
	delete(t.byID, e.id)
	m.held--
	if len(t.byID) == 0 {
		delete(m.tables, kind)
	}
}

// room makes sure that n entries can be added, if need be by forgetting what
// expired long ago.
func (m *Memory) room(n int, now int64) bool {
	limit := m.Max
	if limit == 0 {
		limit = defaultMax
	}
	excess := m.held + n - limit
	return excess <= 0 || m.forget(now-int64(grace), excess) == excess
}

// forget removes at most n entries that expired before the given time, and
// returns how many.
func (m *Memory) forget(before int64, n int) int {
	forgotten := 0
	for kind, t := range m.tables {
		for forgotten < n && len(t.expiring) > 0 && t.expiring[0].expires < before {
			m.remove(kind, t.expiring[0])
			forgotten++
		}
	}
	return forgotten
}

// An expiryHeap is a [heap.Interface] with the entry that expires first at
// index 0. Every entry knows its place, so none is left in it that was deleted
// or has another expiry now.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires < h[j].expires }

func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements [heap.Interface].
func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.place = len(*h)
	*h = append(*h, e)
}

// Pop implements [heap.Interface].
func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
