// Package store keeps the records that replicas of a server must share:
// credentials, claims, replay markers, counters and audit events.
//
// A store knows nothing of any of them. It keeps a [Record], an opaque value
// with a version and an expiry under a (Kind, ID) key, and offers four
// methods: [Store]. One request's whole state change is one [Store.Commit],
// which happens entirely or not at all, so there is no transaction to hold
// open and no half-issued key to clean up.
//
//   - first writer wins: [Insert] of one well-known ID
//   - single use: [Insert] of a marker that expires
//   - compare and set: [Replace]
//   - exactly 100 of 200: [Take]
//
// [Memory] keeps everything in the process. The nested module store/sqlstore
// keeps it in SQLite or PostgreSQL. To write another, implement the four
// methods and run package storetest against it.
package store

import (
	"context"
	"iter"
	"time"
)

// Limits that every implementation enforces, through [Validate].
const (
	MaxKind  = 64      // bytes in Record.Kind
	MaxID    = 1024    // bytes in Record.ID and in the name of a counter
	MaxData  = 1 << 20 // bytes in Record.Data
	MaxOps   = 256     // operations in one Commit, keys in one Get
	MaxDelta = 1 << 32 // absolute change of a counter by one call
)

// A Key identifies a record. Both parts are compared byte for byte, so "A"
// and "a" are two records, as are two normal forms of one accented letter.
type Key struct {
	Kind string // who owns the record; 1 to MaxKind bytes of valid UTF-8 without NUL
	ID   string // unique within Kind; 1 to MaxID bytes of valid UTF-8 without NUL
}

// A Record is what a store keeps.
type Record struct {
	Kind, ID string

	// Version is set by the store whenever it writes the record. It is never
	// zero and never used twice for one key, not even after the record was
	// deleted or expired; it does not say which of two writes came later.
	Version int64

	// Expires is when the record stops existing: from that instant on it
	// reads as absent and may be inserted over. Zero means never. It may have
	// passed already. Nanoseconds are kept and the zone is not: a store returns
	// UTC. The year must lie between 1970 and 2262.
	Expires time.Time

	// Data is the owner's; the store never looks inside, and does not tell nil
	// from empty. Commit copies it. A caller must not modify the Data of a
	// record that a store returned.
	Data []byte
}

// Key returns the record's key.
func (r Record) Key() Key { return Key{r.Kind, r.ID} }

// Exists reports whether the record was there: an absent one has Version 0.
func (r Record) Exists() bool { return r.Version != 0 }

// A Query selects records for [Store.List].
type Query struct {
	Kind    string // required
	Prefix  string // of the ID, byte for byte; empty means all
	After   string // start behind this ID in the query's direction, whether or not it exists; empty means at the start
	Limit   int    // at most so many records; 0 means all
	Reverse bool   // from the highest ID to the lowest
}

// A Store keeps records. Implementations are safe for concurrent use, by
// several processes too where they keep the records outside this one.
//
// Every method returns ctx.Err() (perhaps wrapped) soon after ctx is done, and
// an error that is neither one of this package's nor the context's means that
// the store is in trouble: the caller must refuse, never assume absence.
type Store interface {
	// Get returns the records with the given keys, in that order, in one
	// round trip and as they stood together at one moment. An absent or expired
	// record has Version 0 and only its key. A key may be given twice.
	Get(ctx context.Context, keys ...Key) ([]Record, error)

	// List returns the records that q selects, ordered by the bytes of their
	// IDs. It holds no lock and no connection while the body of the loop
	// runs, which may therefore call the store. A record that stands from the
	// first step to the last is yielded exactly once; one that comes or goes
	// meanwhile may or may not be. After an error, which comes with a zero
	// Record, the sequence ends. It can be ranged over again, from the start.
	List(ctx context.Context, q Query) iter.Seq2[Record, error]

	// Commit applies all of ops or none of them, as one step that no other
	// caller can see half done. When it returns nil the change is durable to
	// the degree that the store promises. A failing op is reported as an
	// [*OpError] that wraps ErrExists, ErrConflict, ErrLimit, ErrFull or
	// ErrInvalid; when several fail, any one is reported. Any other error
	// leaves the outcome unknown to the caller: all or nothing, still.
	// Commit retries the database's own busy and serialisation failures.
	// No ops is no change and no error.
	Commit(ctx context.Context, ops ...Op) error

	// Add adds n, which may be negative, to a counter and returns the sum. An
	// absent counter counts as zero, and a sum below zero becomes zero; one
	// that comes near the end of an int64 stays there. The counter is created,
	// or begun again from zero once its time has come, to last
	// until the given time (zero: for ever); a live one keeps its own. With
	// n = 0 Add only reads. Counters and records do not share names.
	Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error)
}
