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

	// maxBackOff is the most that failures make of it.
	maxBackOff = 5 * time.Minute

	// freshFor is how long keys are used without asking for newer ones, where
	// the issuer does not say.
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
	RetryAfter time.Duration // until when there will be no fetch; at least a second
	Err        error         // why the last fetch failed, or why this caller stopped waiting
}

func (e *UnavailableError) Error() string { return "egress: keys unavailable: " + e.Err.Error() }

// Unwrap returns e.Err.
func (e *UnavailableError) Unwrap() error { return e.Err }

// A KeySet keeps the public keys of one issuer. It starts at most one fetch a
// minute, however it ends. Keys are fresh for as long as the fetch said, or an
// hour; for the rest of the day they are used while newer ones are fetched in
// the background; after 24 hours without a success they are dropped. A set
// without a usable key is a failure and never replaces another.
//
// A KeySet is safe for concurrent use and has no goroutine except while it
// fetches. Make one with [NewKeySet] or [StaticKeySet].
type KeySet struct {
	// Rejected, if not nil, is told of each key in a fetched set that cannot be
	// used: an operator wants to know of a private key. It wraps
	// [jose.ErrUnsupportedAlgorithm] where the key is merely of another kind.
	// Set it before the first use.
	Rejected func(error)

	// BackOff makes the time between two fetches grow while they fail: 1, 2, 4
	// minutes, then 5. A success ends it. False: it stays a minute. Set it before
	// the first use.
	BackOff bool

	now     func() time.Time
	fetch   func(context.Context) (Document, error) // nil: static
	budget  time.Duration
	current atomic.Pointer[snapshot] // nil: never had any
	proven  atomic.Bool

	mu   sync.Mutex
	last *attempt // guarded by mu; nil: none yet
}

// A snapshot is never changed.
type snapshot struct {
	keys  map[string][]jose.Key // by key id
	since time.Time             // start of the fetch, by the wall clock, which goes on while a machine sleeps
	fresh time.Duration
}

// NewKeySet makes a KeySet that gets the text of a JWK Set (RFC 7517) by
// calling fetch, one call at a time. fetch must heed its context, which outlives
// the caller that caused it and has a deadline of 5 seconds; if it does not, the
// fetch has failed then all the same. Nil for now means time.Now.
func NewKeySet(now func() time.Time, fetch func(context.Context) (Document, error)) *KeySet {
	if now == nil {
		now = time.Now
	}
	return &KeySet{now: now, fetch: fetch, budget: fetchBudget}
}

// StaticKeySet makes a KeySet of the text of a JWK Set. It never fetches, and
// its keys do not age. Keys that cannot be used are passed over.
func StaticKeySet(jwks []byte) (*KeySet, error) {
	s := NewKeySet(nil, nil)
	set, err := s.read(Document{Text: jwks}, time.Time{})
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
			if age := now.Sub(set.since); age >= set.fresh || age < 0 {
				s.refresh(ctx)
			}
			return keys, nil
		}
	}
	if err := s.await(ctx); err != nil {
		return nil, &UnavailableError{RetryAfter: minRetry, Err: err}
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

// Proven says that a key of s has verified something. A [Pool] keeps such a set
// for as long as it is used, and others for a minute: anybody can name a set.
func (s *KeySet) Proven() { s.proven.Store(true) }

// Newer is for who has got keys from Keys and found that none of them made a
// signature: the issuer may have given their id to another key. It returns the
// keys of that id that have not been tried; none: the signature is bad.
//
// If there are none yet, it waits for a fetch, if one may be made, until ctx
// ends.
func (s *KeySet) Newer(ctx context.Context, kid string, tried []jose.Key) []jose.Key {
	if keys := s.untried(kid, tried); len(keys) > 0 {
		return keys
	}
	_ = s.await(ctx) // who does not wait finds nothing new
	return s.untried(kid, tried)
}

func (s *KeySet) untried(kid string, tried []jose.Key) []jose.Key {
	set := s.usable(s.now())
	if set == nil {
		return nil
	}
	var list []jose.Key
	for _, k := range set.keys[kid] {
		if !slices.ContainsFunc(tried, k.Same) {
			list = append(list, k)
		}
	}
	return list
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
	pause := s.last.pause()
	wait := s.last.began.Add(pause).Sub(s.now())
	return &UnavailableError{RetryAfter: min(max(wait, minRetry), pause), Err: cause}
}
