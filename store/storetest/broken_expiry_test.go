package storetest

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenExpiry = []breaker{
	{"what expires goes a nanosecond early", []string{"expiry/a record lives", "expiry/STO-03", "expiry/an expired record is not listed", "counters/a counter lives"}, late(1)},
	{"what expires goes a nanosecond late", []string{"expiry/a record lives", "expiry/STO-03", "expiry/an expired record can be inserted", "expiry/the clock", "counters/a counter lives"}, late(-1)},
	{"seconds are compared", []string{"expiry/STO-03", "expiry/times are kept"}, withExpires(func(op store.Op) time.Time {
		return op.Record.Expires.Truncate(time.Second)
	})},
	{"microseconds are kept", []string{"expiry/times are kept"}, withExpires(func(op store.Op) time.Time {
		return op.Record.Expires.Truncate(time.Microsecond)
	})},
	{"times come back in another zone", []string{"expiry/times are kept"}, withGet(func(records []store.Record) []store.Record {
		for i, r := range records {
			records[i].Expires = r.Expires.In(time.FixedZone("elsewhere", 3600))
		}
		return records
	})},
	{"times beyond the range are moved into it", []string{"expiry/a time that cannot"}, withOps(func(op store.Op) store.Op {
		for _, t := range []*time.Time{&op.Record.Expires, &op.Counter.Until} {
			if year := t.Year(); !t.IsZero() && (year < 1971 || year > 2261) {
				*t = never
			}
		}
		return op
	})},
	{"the machine's clock is used", []string{"expiry/the clock", "expiry/STO-03", "expiry/a record lives"}, func(*store.Memory, func() time.Time) store.Store {
		return new(store.Memory)
	}},
	{"a marker is forgotten when others come", []string{"expiry/STO-03"}, withCommit(func(ctx context.Context, m *store.Memory, ops []store.Op) error {
		err := m.Commit(ctx, ops...)
		if err == nil && ops[0].Record.ID != "marker" {
			records, err := m.Get(ctx, key("marker"))
			if err == nil && records[0].Exists() {
				return m.Commit(ctx, store.Delete(records[0]))
			}
		}
		return err
	})},
	{"Commit knows no expiry", []string{"expiry/an expired record cannot", "expiry/an expired record can be inserted", "expiry/a record may be born"}, timeless(true)},
	{"List knows no expiry", []string{"expiry/an expired record is not listed", "expiry/what stands behind"}, timeless(false)},
	{"Put over an expired record does nothing", []string{"expiry/an expired record can be put"}, ignoredPut},
	{"a record may not be born expired", []string{"expiry/a record may be born"}, func(m *store.Memory, now func() time.Time) store.Store {
		return broken{Memory: m, commit: func(ctx context.Context, ops []store.Op) error {
			for _, op := range ops {
				if e := op.Record.Expires; !e.IsZero() && !now().Before(e) {
					return errors.New("expired")
				}
			}
			return m.Commit(ctx, ops...)
		}}
	}},
	{"zero means a day", []string{"expiry/zero means"}, func(m *store.Memory, now func() time.Time) store.Store {
		return withExpires(func(op store.Op) time.Time {
			if e := op.Record.Expires; !e.IsZero() {
				return e
			}
			return now().Add(24 * time.Hour)
		})(m, now)
	}},
	{"zero is kept as a day and shown as never", []string{"expiry/zero means"}, func(m *store.Memory, now func() time.Time) store.Store {
		return broken{Memory: m, get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			for i, r := range records {
				if now().Year() > 2001 {
					records[i] = store.Record{Kind: r.Kind, ID: r.ID}
				}
			}
			return records, err
		}}
	}},
	{"Replace keeps the expiry", []string{"expiry/Replace and Put", "records/Replace needs"}, keptExpiry(store.ActionReplace)},
	{"Put keeps the expiry", []string{"expiry/Replace and Put", "expiry/an expired record can be put"}, keptExpiry(store.ActionPut)},
}

// late returns a store whose clock differs a little from the one it was given.
func late(d time.Duration) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, now func() time.Time) store.Store {
		m.Now = func() time.Time { return now().Add(d) }
		return m
	}
}

func withExpires(change func(op store.Op) time.Time) func(*store.Memory, func() time.Time) store.Store {
	return withOps(func(op store.Op) store.Op {
		op.Record.Expires = change(op)
		return op
	})
}

// timeless returns a store for which nothing has expired yet, either within
// Commit or within List.
func timeless(commit bool) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, now func() time.Time) store.Store {
		var within atomic.Bool
		m.Now = func() time.Time {
			if within.Load() {
				return time.Unix(0, 0)
			}
			return now()
		}
		b := broken{Memory: m}
		if commit {
			b.commit = func(ctx context.Context, ops []store.Op) error {
				within.Store(true)
				defer within.Store(false)
				return m.Commit(ctx, ops...)
			}
			return b
		}
		b.list = func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
			return func(yield func(store.Record, error) bool) {
				within.Store(true)
				defer within.Store(false)
				m.List(ctx, q)(yield)
			}
		}
		return b
	}
}

// ignoredPut returns a store in which a record that was is never put again.
func ignoredPut(m *store.Memory, _ func() time.Time) store.Store {
	seen := make(map[store.Key]bool)
	return broken{Memory: m, commit: func(ctx context.Context, ops []store.Op) error {
		for _, op := range ops {
			if op.Action == store.ActionPut && seen[op.Record.Key()] {
				return nil
			}
			seen[op.Record.Key()] = true
		}
		return m.Commit(ctx, ops...)
	}}
}

// keptExpiry returns a store in which one action leaves the first expiry.
func keptExpiry(action store.Action) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, now func() time.Time) store.Store {
		first := make(map[store.Key]time.Time)
		return withExpires(func(op store.Op) time.Time {
			k, expires := op.Record.Key(), op.Record.Expires
			if kept, there := first[k]; there && op.Action == action {
				return kept
			}
			first[k] = expires
			return expires
		})(m, now)
	}
}
