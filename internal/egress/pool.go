package egress

import (
	"errors"
	"sync"
	"time"
)

const (
	poolSize = 1000

	// idleFor is how long a KeySet is kept that nobody asks for.
	idleFor = 24 * time.Hour

	// sweepFloor is the least time between two vain searches for room.
	sweepFloor = time.Second
)

// ErrFull is returned when a [Pool] is full of what is in use.
var ErrFull = errors.New("egress: too many issuers")

// A Pool keeps a bounded number of KeySets, each under a key: strangers who name
// issuers must not fill the memory, nor take the place of those who are in use.
//
// When it is full, it forgets a KeySet that nobody has asked for in 24 hours, or
// not in a minute if it has no keys that may be used, or none that has
// [KeySet.Proven] useful, and its next fetch may begin. Until then a KeySet that
// has only failed is kept: it is what remembers not to ask again. None is forgotten that is fetching. If that makes no room,
// the newcomer is refused.
//
// A Pool is safe for concurrent use and has no goroutine. Make one with
// [NewPool].
type Pool struct {
	now func() time.Time
	max int

	mu      sync.Mutex
	entries map[string]*entry // guarded by mu
	vain    time.Time         // guarded by mu; when a search last found no room
}

type entry struct {
	set  *KeySet
	used time.Time
}

// NewPool makes a Pool of at most max KeySets. 0 for max means 1,000; nil for
// now means time.Now.
func NewPool(now func() time.Time, max int) *Pool {
	if now == nil {
		now = time.Now
	}
	if max == 0 {
		max = poolSize
	}
	return &Pool{now: now, max: max, entries: make(map[string]*entry)}
}

// Get returns the KeySet of key, which create makes if there is none yet. It is
// called at most once for all who ask at the same time, does no I/O and must not
// use the Pool. Callers ask anew each time that they need keys, which is how the
// Pool knows that a KeySet is in use. The error is [ErrFull].
func (p *Pool) Get(key string, create func() *KeySet) (*KeySet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if e := p.entries[key]; e != nil {
		e.used = now
		return e.set, nil
	}
	if len(p.entries) >= p.max && !p.sweep(now) {
		return nil, ErrFull
	}
	set := create()
	p.entries[key] = &entry{set, now}
	return set, nil
}

// sweep makes room if it can. A search looks at every entry, so a flood of
// newcomers does not get one each.
func (p *Pool) sweep(now time.Time) bool {
	if since := now.Sub(p.vain); since >= 0 && since < sweepFloor {
		return false
	}
	for key, e := range p.entries {
		if e.used.After(now) { // the clock was set back, perhaps by a year
			e.used = now
		}
		if e.set.isSpare(now.Sub(e.used)) {
			delete(p.entries, key)
		}
	}
	if len(p.entries) < p.max {
		return true
	}
	p.vain = now
	return false
}
