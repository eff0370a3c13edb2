package keystore

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// unlockFunc returns the sealer of a file's derivation and check. Without a
// check it returns one for new keys: without a salt any of those costs.
//
// A [Dir] has this function and not the vault behind it, so that nothing that
// prints or walks values comes to the keys.
type unlockFunc func(ctx context.Context, p derivation, check string) (*sealer, error)

// A vault makes sealers and remembers those that have proved right.
type vault struct {
	kdf  string
	ask  func(ctx context.Context) ([]byte, error)
	turn chan struct{} // taken while one derives: it needs much memory

	mu      sync.Mutex
	known   []*sealer              // guarded by mu; the newest last
	flights map[derivation]*flight // guarded by mu
}

// maxKnown is how many sealers are remembered: a directory has one, or few.
const maxKnown = 16

// A flight is a derivation that is going on, for all who need it.
type flight struct {
	landed chan struct{} // closed when the rest is set
	sealer *sealer
	err    error
}

func newVault(kdf string, ask func(ctx context.Context) ([]byte, error)) *vault {
	return &vault{kdf: kdf, ask: ask, turn: make(chan struct{}, 1), flights: make(map[derivation]*flight)}
}

func (v *vault) unlock(ctx context.Context, p derivation, check string) (*sealer, error) {
	if p.KDF != v.kdf {
		return nil, fmt.Errorf("%w: encrypted with kdf %s, and what DirConfig has is for %s", ErrWrongPassphrase, p.KDF, v.kdf)
	}
	for {
		s, f, first := v.enter(p, check)
		switch {
		case s != nil:
			return s, nil
		case first:
			v.fly(ctx, f, p, check)
		default:
			select {
			case <-f.landed:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		switch {
		case f.err == nil && !f.sealer.fits(check):
			return nil, fmt.Errorf("%w: the key is encrypted with another one", ErrWrongPassphrase)
		case f.err == nil:
			return f.sealer, nil
		case first:
			return nil, f.err
		}
		// It failed for who flew it, whose context may have ended: try it oneself.
	}
}

// enter finds a sealer that is known, or a flight to it; the first to come must
// fly it.
func (v *vault) enter(p derivation, check string) (s *sealer, f *flight, first bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range slices.Backward(v.known) {
		if (s.derivation == p || s.derivation.unsalted() == p) && s.fits(check) {
			return s, nil, false
		}
	}
	if f, ok := v.flights[p]; ok {
		return nil, f, false
	}
	f = &flight{landed: make(chan struct{}), err: errors.New("asking for the passphrase was given up")}
	v.flights[p] = f
	return nil, f, true
}

// fly derives, and lands also when what it asks panics.
func (v *vault) fly(ctx context.Context, f *flight, p derivation, check string) {
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.flights, p)
		if f.err == nil && f.sealer.fits(check) {
			v.known = append(v.known, f.sealer)
			v.known = v.known[max(0, len(v.known)-maxKnown):]
		}
		close(f.landed)
	}()
	f.sealer, f.err = v.derive(ctx, p.salted())
}

func (v *vault) derive(ctx context.Context, p derivation) (*sealer, error) {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	secret, err := v.ask(ctx)
	switch {
	case err != nil && v.kdf == kdfNone:
		return nil, fmt.Errorf("DirConfig.Key: %w", err)
	case err != nil:
		return nil, fmt.Errorf("DirConfig.Passphrase: %w", err)
	case v.kdf == kdfNone && len(secret) != keySize:
		return nil, fmt.Errorf("DirConfig.Key returned %d bytes, want %d", len(secret), keySize)
	case len(secret) == 0:
		return nil, errors.New("DirConfig.Passphrase returned an empty passphrase")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return p.derive(secret)
}

// fits reports whether the sealer opens files with this check. None is one that
// new keys will have.
func (s *sealer) fits(check string) bool {
	return check == "" || subtle.ConstantTimeCompare([]byte(s.check), []byte(check)) == 1
}
