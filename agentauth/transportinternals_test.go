package agentauth

import "time"

// Stamps are those of a transport.
type Stamps struct{ stamps }

// Next dates a signature over what has this sum.
func (s *Stamps) Next(sum uint64, now time.Time) (created, expires time.Time) {
	return s.next(sum, now)
}

// Len is how many sums are kept.
func (s *Stamps) Len() int { return len(s.seen) }
