// Package storetest tells whether a [store.Store] keeps its promises.
//
// An implementation's test is one call:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
//			return openMine(t, now)
//		})
//	}
//
// What the comments of package store promise is a case of its own, named after
// the promise and grouped by role. Not covered, since it takes more than a
// Store to see it: that a change survives a crash, that ErrFull leaves nothing
// behind, and that a Get or List ends with its context while it waits. The
// numbers STO-nn in some names are those of the project's list of attacks.
//
// With KEYWRIGHT_LONG=1 in the environment the races are longer and wider.
package storetest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// Run checks the stores that open returns. It calls open once for each case;
// the store must be empty and must read the time from now only, which is safe
// for concurrent use and far from the machine's clock. Whatever the store
// needs to be closed belongs in t.Cleanup.
func Run(t *testing.T, open func(t *testing.T, now func() time.Time) store.Store) {
	t.Helper()
	size := short
	if os.Getenv("KEYWRIGHT_LONG") == "1" {
		size = long
	}
	for _, g := range groups {
		t.Run(g.role, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					clock := newClock()
					ctx, cancel := context.WithTimeout(t.Context(), size.patience)
					defer cancel()
					c.check(&fixture{tb: t, ctx: ctx, store: open(t, clock.now), clock: clock, size: size})
				})
			}
		})
	}
}

// A promise is one thing that a store must do, and how to find out.
type promise struct {
	name  string
	check func(*fixture)
}

var groups = []struct {
	role  string
	cases []promise
}{
	{"records", records},
	{"ids", ids},
	{"expiry", expiry},
	{"commit", commit},
	{"counters", counters},
	{"list", list},
	{"races", races},
	{"context", contexts},
}

// A scale says how much of what takes time a run does.
type scale struct {
	callers  int           // at once, in a race
	rounds   int           // of what must be repeated
	patience time.Duration // before a call counts as stuck
}

var (
	short = scale{callers: 64, rounds: 25, patience: time.Minute}
	long  = scale{callers: 1000, rounds: 500, patience: 10 * time.Minute}
)
