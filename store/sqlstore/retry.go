package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// How long a write is tried again. A try that finds a SQLite file locked costs
// some microseconds, so the pauses are short: whoever polls rarely never finds
// the moment between two commits of a busy process.
const (
	retryFor      = 10 * time.Second
	shortestPause = 250 * time.Microsecond
	longestPause  = 4 * time.Millisecond
	maxReconnects = 3
)

// retry runs try until it succeeds, fails for good, or ctx or retryFor is over.
func (s *Store) retry(ctx context.Context, try func() error) error {
	end := time.Now().Add(retryFor)
	pause := shortestPause
	reconnects := 0
	for {
		err := try()
		switch {
		case err == nil:
			return nil
		case isBusy(err) || isConflict(err):
		case errors.As(err, new(*beginError)) && reconnects < maxReconnects:
			reconnects++
		default:
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("gave up after %v: %w", retryFor, err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, longestPause)
	}
}

// SQLite's primary result codes; an extended code has more above the low byte.
const (
	sqliteBusy   = 5
	sqliteLocked = 6
)

// isBusy reports whether SQLite refused a statement because somebody else has
// the lock. Not every driver has a method for the code.
func isBusy(err error) bool {
	var coded interface{ Code() int }
	if errors.As(err, &coded) {
		code := coded.Code() & 0xff
		return code == sqliteBusy || code == sqliteLocked
	}
	text := err.Error()
	return strings.Contains(text, "database is locked") || strings.Contains(text, "database table is locked")
}

// isConflict reports whether PostgreSQL rolled a transaction back in favour of
// another: serialization_failure or deadlock_detected.
func isConflict(err error) bool {
	var coded interface{ SQLState() string }
	if !errors.As(err, &coded) {
		return false
	}
	state := coded.SQLState()
	return state == "40001" || state == "40P01"
}
