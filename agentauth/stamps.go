package agentauth

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"time"
)

// Stamps tell equal requests of one second apart, which would have one signature:
// all but the first get an end, each another. The zero value has seen none.
type stamps struct {
	mu     sync.Mutex
	second int64          // guarded by mu
	seen   map[uint64]int // guarded by mu; by what is covered, in that second
	apart  int            // guarded by mu; seconds that tell this process from others with the key; 0: none is known
}

const (
	stampLife = time.Minute // of a signature with an end
	maxStamps = 10_000      // of one second
	maxApart  = 600         // seconds

	// A request may be dated so much later than it was made: that of one which was
	// made before another and comes after it, or when a clock is set back a little.
	maxPostdated = 2 // seconds
)

// shared says that another process seems to sign the same with the same key. All
// signatures have ends from then on, and others than its own, most likely.
func (s *stamps) shared() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apart = 1 + rand.IntN(maxApart)
}

var stampSeed = maphash.MakeSeed()

// at returns what dates signatures that are made now.
func (s *stamps) at(now time.Time) func(covered []byte) (created, expires time.Time) {
	return func(covered []byte) (time.Time, time.Time) { return s.next(maphash.Bytes(stampSeed, covered), now) }
}

// next returns when a signature is made, and its end; zero: none. Of two signatures
// with the same sum, no two have the same of both, unless the clock is set back.
func (s *stamps) next(sum uint64, now time.Time) (created, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch second := now.Unix(); {
	case s.seen == nil:
		s.second, s.seen = second, make(map[uint64]int)
	case second > s.second, second < s.second-maxPostdated:
		s.second = second
		clear(s.seen)
	}
	if _, known := s.seen[sum]; !known && len(s.seen) >= maxStamps { // which are told apart as if they were all equal
		sum = 0
	}
	n := s.seen[sum]
	s.seen[sum] = n + 1
	created = time.Unix(s.second, 0)
	if n == 0 && s.apart == 0 {
		return created, time.Time{}
	}
	return created, created.Add(stampLife + time.Duration(n+s.apart)*time.Second)
}
