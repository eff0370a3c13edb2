package store

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The errors that a caller can act on. [Store.Commit] wraps them in an [*OpError].
var (
	ErrExists   = errors.New("already exists")            // Insert: a live record has the key
	ErrConflict = errors.New("changed or gone")           // Replace, Delete, Check: not this version any more
	ErrLimit    = errors.New("limit reached")             // Take: the counter would pass its maximum
	ErrFull     = errors.New("store is full")             // a bounded store refuses rather than forgets
	ErrInvalid  = errors.New("invalid argument to store") // a key, query or op that no store takes
)

// An Action says what an [Op] does.
type Action int

// The actions. Zero is none, so that an empty Op is refused.
const (
	ActionInsert Action = iota + 1
	ActionPut
	ActionReplace
	ActionDelete
	ActionCheck
	ActionTake
)

func (a Action) String() string {
	names := [...]string{"no action", "insert", "put", "replace", "delete", "check", "take"}
	if a < 0 || int(a) >= len(names) {
		return "unknown action"
	}
	return names[a]
}

// An Op is one part of a [Store.Commit]. Make it with [Insert], [Put],
// [Replace], [Delete], [Check] or [Take]; its fields are for those who
// implement a Store.
type Op struct {
	Action  Action
	Record  Record  // for Delete and Check only its key and Version count
	Counter Counter // for Take
}

// A Counter is what [Take] asks of a counter.
type Counter struct {
	Name  string
	N     int64
	Max   int64
	Until time.Time
}

// Insert adds a record, whose Version is ignored. It fails with [ErrExists]
// when a live record has its key.
func Insert(r Record) Op { return Op{Action: ActionInsert, Record: r} }

// Put writes a record whether or not there is one with its key; its Version
// is ignored. It suits facts that need no agreement, such as a last use.
func Put(r Record) Op { return Op{Action: ActionPut, Record: r} }

// Replace writes r over the live record with the same key and Version, and
// may change its Expires. It fails with [ErrConflict] when there is none.
func Replace(r Record) Op { return Op{Action: ActionReplace, Record: r} }

// Delete removes the live record with r's key and Version. It fails with
// [ErrConflict] when there is none.
func Delete(r Record) Op { return Op{Action: ActionDelete, Record: r} }

// Check writes nothing. It fails with [ErrConflict] unless the live record
// with r's key has r's Version when the Commit takes effect.
func Check(r Record) Op { return Op{Action: ActionCheck, Record: r} }

// Take adds n to a counter as [Store.Add] does, and fails with [ErrLimit]
// when the sum would pass max, even if n is zero or negative.
func Take(counter string, n, max int64, until time.Time) Op {
	return Op{Action: ActionTake, Counter: Counter{Name: counter, N: n, Max: max, Until: until}}
}

// target names what the op is about: for two ops of one Commit it must differ.
func (o Op) target() (Key, bool) {
	if o.Action == ActionTake {
		return Key{ID: o.Counter.Name}, true
	}
	return o.Record.Key(), false
}

// An OpError says which op of a Commit failed, and why.
type OpError struct {
	Index int   // of the op among the arguments of Commit
	Op    Op    // its Data is not printed
	Err   error // wraps ErrExists, ErrConflict, ErrLimit, ErrFull or ErrInvalid
}

func (e *OpError) Error() string {
	key, counter := e.Op.target()
	if counter {
		return fmt.Sprintf("store: %v counter %q: %v", e.Op.Action, clip(key.ID), e.Err)
	}
	return fmt.Sprintf("store: %v %s %q: %v", e.Op.Action, clip(key.Kind), clip(key.ID), e.Err)
}

func (e *OpError) Unwrap() error { return e.Err }

// clip keeps a hostile name from filling a log line.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "..."
}

// Validate checks ops as every implementation's Commit must before it touches
// anything: known actions, keys and data within the limits, representable
// times, a Version where one is needed, and no two ops on one record or
// counter. The error is an [*OpError] wrapping [ErrInvalid], or ErrInvalid
// about no op in particular when there are too many.
func Validate(ops ...Op) error {
	if len(ops) > MaxOps {
		return fmt.Errorf("%w: %d ops in one Commit, at most %d", ErrInvalid, len(ops), MaxOps)
	}
	for i, op := range ops {
		err := op.validate()
		// A Commit has a handful of ops: comparing them all costs less than a map.
		for j := 0; err == nil && j < i; j++ {
			if sameTarget(op, ops[j]) {
				err = fmt.Errorf("%w: op %d is about the same one", ErrInvalid, j)
			}
		}
		if err != nil {
			return &OpError{Index: i, Op: op, Err: err}
		}
	}
	return nil
}

func sameTarget(a, b Op) bool {
	ka, ca := a.target()
	kb, cb := b.target()
	return ca == cb && ka == kb
}

func (o Op) validate() error {
	switch o.Action {
	case ActionTake:
		return validateCounter(o.Counter.Name, o.Counter.N, o.Counter.Until)
	case ActionInsert, ActionPut:
	case ActionReplace, ActionDelete, ActionCheck:
		if o.Record.Version == 0 {
			return fmt.Errorf("%w: no version", ErrInvalid)
		}
	default:
		return fmt.Errorf("%w: %v", ErrInvalid, o.Action)
	}
	if err := ValidateKeys(o.Record.Key()); err != nil {
		return err
	}
	if len(o.Record.Data) > MaxData {
		return fmt.Errorf("%w: %d bytes of data, at most %d", ErrInvalid, len(o.Record.Data), MaxData)
	}
	return validateTime(o.Record.Expires)
}

// ValidateKeys checks the arguments of a Get. The error wraps [ErrInvalid].
func ValidateKeys(keys ...Key) error {
	if len(keys) > MaxOps {
		return fmt.Errorf("%w: %d keys in one Get, at most %d", ErrInvalid, len(keys), MaxOps)
	}
	for _, k := range keys {
		if err := validateName("kind", k.Kind, MaxKind); err != nil {
			return err
		}
		if err := validateName("ID", k.ID, MaxID); err != nil {
			return err
		}
	}
	return nil
}

// ValidateQuery checks the argument of a List. The error wraps [ErrInvalid].
func ValidateQuery(q Query) error {
	if err := validateName("kind", q.Kind, MaxKind); err != nil {
		return err
	}
	if q.Prefix != "" {
		if err := validateName("prefix", q.Prefix, MaxID); err != nil {
			return err
		}
	}
	if q.After != "" {
		if err := validateName("after", q.After, MaxID); err != nil {
			return err
		}
	}
	if q.Limit < 0 {
		return fmt.Errorf("%w: a negative limit", ErrInvalid)
	}
	return nil
}

// ValidateAdd checks the arguments of an Add. The error wraps [ErrInvalid].
func ValidateAdd(counter string, n int64, until time.Time) error {
	return validateCounter(counter, n, until)
}

func validateCounter(name string, n int64, until time.Time) error {
	if err := validateName("counter", name, MaxID); err != nil {
		return err
	}
	if n > MaxDelta || n < -MaxDelta {
		return fmt.Errorf("%w: a change by %d, at most %d", ErrInvalid, n, int64(MaxDelta))
	}
	return validateTime(until)
}

func validateName(what, s string, max int) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: empty %s", ErrInvalid, what)
	case len(s) > max:
		return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrInvalid, what, len(s), max)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: %s is not valid UTF-8", ErrInvalid, what)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%w: %s contains NUL", ErrInvalid, what)
	}
	return nil
}

// Nanoseconds since 1970 in an int64 reach into 2262; the two boundary years are left out.
func validateTime(t time.Time) error {
	if t.IsZero() || t.Year() > 1970 && t.Year() < 2262 {
		return nil
	}
	return fmt.Errorf("%w: the year %d", ErrInvalid, t.Year())
}
