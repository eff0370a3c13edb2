// Package keystoretest tells whether a [keystore.KeyStore] keeps its promises.
//
// An implementation's test is one call:
//
//	func TestStore(t *testing.T) {
//		keystoretest.Run(t, func(t *testing.T) keystore.KeyStore {
//			return openMine(t)
//		})
//	}
//
// What the comments of package keystore promise is a case of its own, named
// after the promise. A case that needs more than the store offers is skipped:
// that of keys where it is no [keystore.Generator], those of lists and ends
// where it is no [keystore.Lister] or [keystore.Deleter]. A store that makes
// keys for one algorithm only says so with ErrUnsupportedKey for the other.
//
// Not covered, since it takes more than a store to see it: that a key is never
// seen half written, that damage is noticed, and that private bytes stay where
// they are. The numbers KST-nn in some names are those of the project's list of
// attacks.
package keystoretest

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
)

// patience is how long a case may take. A KMS far away needs some of it.
const patience = 2 * time.Minute

// Run checks the stores that open returns. It calls open once for each case,
// and the store must be empty. Keys are left in it: whatever it needs to be
// emptied or closed belongs in t.Cleanup.
//
// With the race detector the cases of many goroutines find more.
func Run(t *testing.T, open func(t *testing.T) keystore.KeyStore) {
	t.Helper()
	for _, g := range groups {
		t.Run(g.role, func(t *testing.T) {
			for _, c := range g.cases {
				t.Run(c.name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					c.check(&fixture{tb: t, ctx: ctx, store: open(t)})
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
	{"keys", keys},
	{"handles", handles},
	{"list", list},
	{"delete", deletion},
	{"context", contexts},
	{"races", races},
}
