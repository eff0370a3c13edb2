package egress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// An attempt is one fetch. Its context ends with it, and with its time.
type attempt struct {
	ctx     context.Context
	began   time.Time
	backOff time.Duration // the pause behind it if it fails
	err     error         // guarded by KeySet.mu; nil: it brought keys
}

func (a *attempt) underWay() bool { return a.ctx.Err() == nil }

// pause is the least time from the start of a to that of the next.
func (a *attempt) pause() time.Duration {
	if a.err == nil {
		return fetchFloor
	}
	return a.backOff
}

// over reports whether the next attempt may begin. Behind the start of a the
// clock was set back, perhaps by a year.
func (a *attempt) over(now time.Time) bool {
	since := now.Sub(a.began)
	return !a.underWay() && (since < 0 || since >= a.pause())
}

// await waits for the attempt that is under way or may be made now, if there is
// one. The error is that of ctx.
func (s *KeySet) await(ctx context.Context) error {
	a := s.refresh(ctx)
	if a == nil {
		return nil
	}
	select {
	case <-a.ctx.Done():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refresh returns the attempt that is under way, perhaps one that it starts, or
// nil if none may be started yet.
func (s *KeySet) refresh(ctx context.Context) *attempt {
	if s.fetch == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now() // under the lock: in the order of the attempts
	switch a := s.last; {
	case a == nil:
	case a.underWay():
		return a
	case !a.over(now):
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.budget)
	a := &attempt{ctx: ctx, began: now, backOff: s.nextBackOff(), err: errNoAnswer}
	s.last = a
	go func() {
		defer cancel()
		s.run(a)
	}()
	return a
}

func (s *KeySet) nextBackOff() time.Duration {
	if !s.BackOff || s.last == nil || s.last.err == nil {
		return fetchFloor
	}
	return min(2*s.last.backOff, maxBackOff)
}

func (s *KeySet) run(a *attempt) {
	set, err := s.load(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != a { // it did not heed its context, and another has begun
		return
	}
	a.err = err
	if err == nil {
		s.current.Store(set)
	}
}

// load returns a panic as an error: nobody else would catch it here, and the
// attempt would be what ends the process.
func (s *KeySet) load(a *attempt) (set *snapshot, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, fmt.Errorf("fetch panicked: %v", p)
		}
	}()
	doc, err := s.fetch(a.ctx)
	if err != nil {
		return nil, err
	}
	return s.read(doc, a.began)
}

func (s *KeySet) read(doc Document, began time.Time) (*snapshot, error) {
	set, err := jose.ParseJWKS(doc.Text)
	if s.Rejected != nil {
		for _, r := range set.Rejected {
			s.Rejected(r)
		}
	}
	if err != nil {
		return nil, err
	}
	keys := make(map[string][]jose.Key)
	for _, k := range set.Keys {
		if id := k.KeyID(); id != "" {
			keys[id] = append(keys[id], k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("JWK Set in which no key has an id")
	}
	for id, list := range keys {
		keys[id] = slices.Clip(list)
	}
	fresh := doc.FreshFor
	if fresh == 0 {
		fresh = freshFor
	}
	return &snapshot{keys, began.Round(0), fresh}, nil
}

// isSpare reports whether s, which nobody has asked for in the time idle, may be
// forgotten: it has been idle for a day, or has no keys that have proven useful
// and might ask for some, as another in its place would.
func (s *KeySet) isSpare(idle time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	switch {
	case s.last != nil && s.last.underWay():
		return false
	case idle >= idleFor:
		return true
	// Whoever has been given s just now may be about to make it fetch.
	case idle < fetchFloor, s.proven.Load() && s.usable(now) != nil:
		return false
	}
	return s.last == nil || s.last.over(now)
}
