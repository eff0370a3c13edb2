package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A Memory is a [Store] that keeps everything in this process: for tests, and
// for servers of one replica that may forget everything when they restart.
// The zero value is empty and ready to use. A Memory is safe for concurrent use
// and must not be copied after first use.
//
// It never forgets a live record or counter to make room. One that has expired
// goes when room is needed, an hour later at the earliest, so that a clock
// which jumps ahead and back again does not revive a replay marker's token; or
// when [Memory.Sweep] is called. Kinds are expected to be few.
type Memory struct {
	// Now is the clock that Expires is compared with; nil means [time.Now].
	// It is called with a lock held, so it must not use the Memory.
	Now func() time.Time

	// Max is how many records and counters are held together, expired ones
	// that are not swept yet included; 0 means 1<<20. Beyond it Insert, Put,
	// Take and Add of new ones fail with ErrFull. A record with a 64-byte ID
	// and no data costs about 200 bytes.
	Max int

	mu      sync.RWMutex
	tables  map[string]*table // by kind; none of them is empty
	held    int               // entries in all tables
	version int64             // the last that was given out
}

var _ Store = (*Memory)(nil)

const (
	defaultMax = 1 << 20

	// counters is the kind whose table holds the counters: no record has it.
	counters = ""

	// maxSum is where a counter stops. MaxDelta more is still an int64.
	maxSum = 1 << 62

	// grace is how long an expired entry is kept while there is no Sweep.
	grace = time.Hour
)

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, keys ...Key) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := ValidateKeys(keys...); err != nil {
		return nil, err
	}
	records := make([]Record, len(keys))
	m.mu.RLock()
	defer m.mu.RUnlock()
	now := m.now()
	for i, k := range keys {
		if e := m.find(k); e != nil && e.live(now) {
			records[i] = e.record(k.Kind)
		} else {
			records[i] = Record{Kind: k.Kind, ID: k.ID}
		}
	}
	return records, nil
}

// Add implements [Store].
func (m *Memory) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := ValidateAdd(counter, n, until); err != nil {
		return 0, err
	}
	key := Key{Kind: counters, ID: counter}
	if n == 0 {
		m.mu.RLock()
		defer m.mu.RUnlock()
		return m.sum(key, 0, m.now()), nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if m.find(key) == nil && !m.room(1, now) {
		return 0, fmt.Errorf("store: add to counter %q: %w", clip(counter), ErrFull)
	}
	return m.count(key, n, until, now), nil
}

// sum returns what a counter would be after n more.
func (m *Memory) sum(counter Key, n int64, now int64) int64 {
	if e := m.find(counter); e != nil && e.live(now) {
		n += e.number
	}
	return min(max(n, 0), maxSum)
}

// count adds n to a counter and returns the sum.
func (m *Memory) count(counter Key, n int64, until time.Time, now int64) int64 {
	sum := m.sum(counter, n, now)
	expires := nanos(until)
	if e := m.find(counter); e != nil && e.live(now) {
		expires = e.expires
	}
	m.write(counter, sum, expires, nil)
	return sum
}

// sweepBatch is how many entries Sweep removes before it lets others in: some
// milliseconds of work at the worst.
const sweepBatch = 500

// Sweep deletes records and counters that expired before the given time, at
// most max of them, and returns how many. What still lives is never deleted.
// Callers pass a time in the past, so that a clock that is ahead deletes
// nothing that they still need.
//
// Others use the Memory meanwhile: it is locked for a few hundred deletions at
// a time.
func (m *Memory) Sweep(ctx context.Context, before time.Time, max int) (int, error) {
	total := 0
	for total < max {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		batch := min(sweepBatch, max-total)
		n := m.sweep(before, batch)
		total += n
		if n < batch {
			break
		}
	}
	return total, nil
}

func (m *Memory) sweep(before time.Time, max int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	switch {
	case before.After(time.Unix(0, now)):
		return m.forget(now, max)
	case before.Before(time.Unix(0, 0)):
		return 0 // no expiry is as early, and nanoseconds do not reach there
	}
	return m.forget(before.UnixNano(), max)
}

// now is the time in nanoseconds since 1970.
func (m *Memory) now() int64 {
	if m.Now == nil {
		return time.Now().UnixNano()
	}
	return m.Now().UnixNano()
}

// nanos is a time as an entry keeps it: zero for never.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
