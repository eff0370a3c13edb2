package storetest

import (
	"context"
	"sync"
	"time"

	"github.com/keywright/keywright/store"
)

var brokenCounters = []breaker{
	{"Add returns what was before", []string{"counters/Add returns"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, add: func(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
			sum, err := m.Add(ctx, counter, n, until)
			return sum - n, err
		}}
	}},
	{"a large change is cut", []string{"counters/a change"}, func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, add: func(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
			return m.Add(ctx, counter, max(min(n, store.MaxDelta), -store.MaxDelta), until)
		}}
	}},
	{"sums have 32 bits", []string{"counters/a change"}, flawed(func(c *tally) { c.limit = 1<<31 - 1 })},
	{"sums go below zero", []string{"counters/a sum below"}, flawed(func(c *tally) { c.belowZero = true })},
	{"every Add moves the end", []string{"counters/a live counter", "counters/a counter lives", "counters/zero means"}, flawed(func(c *tally) { c.moves = true })},
	{"a later end wins", []string{"counters/a live counter"}, flawed(func(c *tally) { c.extends = true })},
	{"an ended counter goes on", []string{"counters/a counter whose", "counters/a counter lives"}, flawed(func(c *tally) { c.goesOn = true })},
	{"an ended counter keeps its end", []string{"counters/a counter whose"}, flawed(func(c *tally) { c.keepsEnd = true })},
	{"zero is an end like others", []string{"counters/zero means"}, flawed(func(c *tally) { c.zeroEnds = true })},
	{"reading makes a counter", []string{"counters/adding zero"}, flawed(func(c *tally) { c.readingMakes = true })},
	{"Take stops one early", []string{"counters/Take stops", "races/Take gives"}, flawed(func(c *tally) { c.most = -1 })},
	{"Take stops one late", []string{"counters/Take stops", "races/Take gives"}, flawed(func(c *tally) { c.most = 1 })},
	{"a refused Take counts", []string{"counters/a refused Take", "commit/one op that fails"}, flawed(func(c *tally) { c.refusedCounts = true })},
	{"a refused Take makes a counter", []string{"counters/a refused Take"}, flawed(func(c *tally) { c.refusedMakes = true })},
	{"giving back always works", []string{"counters/Take stops"}, flawed(func(c *tally) { c.givesBack = true })},
}

// A tally keeps counters in place of a Memory, with one flaw or another.
type tally struct {
	now func() time.Time

	limit                                       int64
	most                                        int64
	belowZero, moves, extends, goesOn, keepsEnd bool
	zeroEnds, readingMakes                      bool
	refusedCounts, refusedMakes, givesBack      bool

	mu       sync.Mutex
	counters map[string]tallied
}

type tallied struct {
	sum int64
	end time.Time
}

func flawed(flaw func(*tally)) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, now func() time.Time) store.Store {
		c := &tally{now: now, limit: 1 << 62, counters: make(map[string]tallied)}
		flaw(c)
		return broken{
			Memory: m,
			add: func(ctx context.Context, name string, n int64, until time.Time) (int64, error) {
				c.mu.Lock()
				defer c.mu.Unlock()
				if err := store.ValidateAdd(name, n, until); err != nil {
					return 0, err
				}
				next := c.after(name, n, until)
				if n != 0 || c.readingMakes {
					c.counters[name] = next
				}
				return next.sum, ctx.Err()
			},
			commit: func(ctx context.Context, ops []store.Op) error {
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.commit(ctx, m, ops)
			},
		}
	}
}

// after returns what a counter becomes by one more Add.
func (c *tally) after(name string, n int64, until time.Time) tallied {
	was, there := c.counters[name]
	ended := there && (c.zeroEnds || !was.end.IsZero()) && !c.now().Before(was.end)
	next := tallied{n, was.end}
	switch {
	case !there, ended && !c.keepsEnd, c.moves && n != 0, c.extends && until.After(was.end):
		next.end = until
	}
	if there && (!ended || c.goesOn) {
		next.sum += was.sum
	}
	if !c.belowZero {
		next.sum = max(next.sum, 0)
	}
	next.sum = min(next.sum, c.limit)
	return next
}

func (c *tally) commit(ctx context.Context, m *store.Memory, ops []store.Op) error {
	if err := store.Validate(ops...); err != nil {
		return err
	}
	var rest []store.Op
	next := make(map[string]tallied)
	for i, op := range ops {
		t := op.Counter
		if op.Action != store.ActionTake {
			rest = append(rest, op)
			continue
		}
		after := c.after(t.Name, t.N, t.Until)
		if after.sum <= t.Max+c.most || c.givesBack && t.N < 0 {
			if t.N != 0 || c.readingMakes {
				next[t.Name] = after
			}
			continue
		}
		switch {
		case c.refusedCounts:
			c.counters[t.Name] = after
		case c.refusedMakes:
			after.sum -= t.N
			c.counters[t.Name] = after
		}
		return at(i, op, store.ErrLimit)
	}
	if err := m.Commit(ctx, rest...); err != nil {
		return err
	}
	for name, counter := range next {
		c.counters[name] = counter
	}
	return nil
}
