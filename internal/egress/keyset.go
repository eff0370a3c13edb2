package egress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

const (
	// fetchBudget is the time for all that one fetch does, discovery too.
	fetchBudget = 5 * time.Second

	// fetchFloor is the least time between the starts of two fetches, so that
	// tokens with invented key ids do not make us flood the issuer. It is also
	// how long a new key may go unseen.
	fetchFloor = time.Minute

	// freshFor is how long keys are used without asking for newer ones.
	freshFor = time.Hour

	// usableFor is how long an issuer may be away before its keys, which it may
	// have withdrawn, are dropped.
	usableFor = 24 * time.Hour

	// minRetry is the least that callers are told to wait.
	minRetry = time.Second
)

// ErrUnknownKey is wrapped when the issuer has no key of the id asked for, or
// none that could be seen yet.
var ErrUnknownKey = errors.New("unknown key id")

var (
	errNoAnswer = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	errTooOld   = errors.New("the keys are too old")
)

// An UnavailableError says that there are no keys to look in.
type UnavailableError struct {
	RetryAfter time.Duration // at least a second
	Err        error         // why the last fetch failed, or why this caller stopped waiting
}

func (e *UnavailableError) Error() string { return "egress: keys unavailable: " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *UnavailableError) Unwrap() error { return e.Err }

// A KeySet keeps the public keys of one issuer. It starts at most one fetch a
// minute, however it ends. Keys are fresh for an hour; for the rest of the day
// they are used while newer ones are fetched in the background; after 24 hours
// without a success they are dropped. A set without a usable key is a failure
// and never replaces another.
//
// A KeySet is safe for concurrent use and has no goroutine except while it
// fetches. Make one with [NewKeySet] or [StaticKeySet].
type KeySet struct {
	// Rejected, if not nil, is told of each key in a fetched set that cannot be
	// used: an operator wants to know of a private key. It wraps
	// [jose.ErrUnsupportedAlgorithm] where the key is merely of another kind.
	// Set it before the first use.
	Rejected func(error)

	now     func() time.Time
	fetch   func(context.Context) ([]byte, error) // nil: static
	budget  time.Duration
	current atomic.Pointer[snapshot] // nil: never had any

	mu   sync.Mutex
	last *attempt // guarded by mu; nil: none yet
}

// A snapshot is never changed.
type snapshot struct {
	keys  map[string][]jose.Key // by key id
	since time.Time             // start of the fetch, by the wall clock, which goes on while a machine sleeps
}

// An attempt is one fetch. Its context ends with it, and with its time.
type attempt struct {
	ctx   context.Context
	began time.Time
	err   error // guarded by KeySet.mu; nil: it brought keys
}

// NewKeySet makes a KeySet that gets the text of a JWK Set (RFC 7517) by
// calling fetch, one call at a time. fetch must heed its context, which outlives
// the caller that caused it and has a deadline of 5 seconds; if it does not, the
// fetch has failed then all the same. Nil for now means time.Now.
func NewKeySet(now func() time.Time, fetch func(context.Context) ([]byte, error)) *KeySet {
	if now == nil {
		now = time.Now
	}
	return &KeySet{now: now, fetch: fetch, budget: fetchBudget}
}

// StaticKeySet makes a KeySet of the text of a JWK Set. It never fetches, and
// its keys do not age. Keys that cannot be used are passed over.
func StaticKeySet(jwks []byte) (*KeySet, error) {
	s := NewKeySet(nil, nil)
	set, err := s.read(jwks, time.Time{})
	if err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	s.current.Store(set)
	return s, nil
}

// Keys returns the issuer's keys of one key id, of which there may be several;
// the caller must not modify the slice. An empty kid matches no key.
//
// A kid that is not known waits for a fetch, if one may be made, until ctx ends.
// The error wraps [ErrUnknownKey] or is an [*UnavailableError].
func (s *KeySet) Keys(ctx context.Context, kid string) ([]jose.Key, error) {
	if kid == "" {
		return nil, fmt.Errorf("egress: empty: %w", ErrUnknownKey)
	}
	now := s.now()
	if set := s.usable(now); set != nil {
		if keys := set.keys[kid]; keys != nil {
			if age := now.Sub(set.since); age >= freshFor || age < 0 {
				s.refresh(ctx)
			}
			return keys, nil
		}
	}
	if a := s.refresh(ctx); a != nil {
		select {
		case <-a.ctx.Done():
		case <-ctx.Done():
			return nil, &UnavailableError{RetryAfter: minRetry, Err: ctx.Err()}
		}
	}
	// Even where no fetch may be made, one may have ended since we looked.
	set := s.usable(s.now())
	if set != nil {
		if keys := set.keys[kid]; keys != nil {
			return keys, nil
		}
	}
	return nil, s.failure(set != nil)
}

// usable returns the keys that may be used, or nil. Keys from the future, after
// a clock was set back, are used but are not fresh.
func (s *KeySet) usable(now time.Time) *snapshot {
	set := s.current.Load()
	if set == nil || s.fetch != nil && now.Sub(set.since) >= usableFor {
		return nil
	}
	return set
}

// failure explains why a key was not found, among keys or for want of any.
func (s *KeySet) failure(usable bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var cause error
	if s.last != nil {
		cause = s.last.err
	}
	switch {
	case usable && cause == nil:
		return fmt.Errorf("egress: %w", ErrUnknownKey)
	case usable:
		return fmt.Errorf("egress: %w; last fetch: %w", ErrUnknownKey, cause)
	case cause == nil:
		cause = errTooOld // the clock leapt while we looked
	}
	wait := s.last.began.Add(fetchFloor).Sub(s.now())
	return &UnavailableError{RetryAfter: min(max(wait, minRetry), fetchFloor), Err: cause}
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
	if a := s.last; a != nil {
		if a.ctx.Err() == nil {
			return a
		}
		// Behind the last attempt the clock was set back, perhaps by a year.
		if since := now.Sub(a.began); since >= 0 && since < fetchFloor {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.budget)
	a := &attempt{ctx: ctx, began: now, err: errNoAnswer}
	s.last = a
	go func() {
		defer cancel()
		s.run(a)
	}()
	return a
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
	text, err := s.fetch(a.ctx)
	if err != nil {
		return nil, err
	}
	return s.read(text, a.began)
}

func (s *KeySet) read(text []byte, began time.Time) (*snapshot, error) {
	set, err := jose.ParseJWKS(text)
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
	return &snapshot{keys, began.Round(0)}, nil
}
