package storetest

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// A breaker makes a store that breaks some promises, so that this test can
// tell whether the suite would notice.
type breaker struct {
	flaw  string
	fails []string // role/name, or as much of it as only one case begins with
	open  func(m *store.Memory, now func() time.Time) store.Store
}

// A broken store is a Memory with some methods replaced.
type broken struct {
	*store.Memory
	get    func(ctx context.Context, keys []store.Key) ([]store.Record, error)
	list   func(ctx context.Context, q store.Query) iter.Seq2[store.Record, error]
	commit func(ctx context.Context, ops []store.Op) error
	add    func(ctx context.Context, counter string, n int64, until time.Time) (int64, error)
}

func (b broken) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if b.get == nil {
		return b.Memory.Get(ctx, keys...)
	}
	return b.get(ctx, keys)
}

func (b broken) List(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
	if b.list == nil {
		return b.Memory.List(ctx, q)
	}
	return b.list(ctx, q)
}

func (b broken) Commit(ctx context.Context, ops ...store.Op) error {
	if b.commit == nil {
		return b.Memory.Commit(ctx, ops...)
	}
	return b.commit(ctx, ops)
}

func (b broken) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if b.add == nil {
		return b.Memory.Add(ctx, counter, n, until)
	}
	return b.add(ctx, counter, n, until)
}

// A recorder is the tb of a case that is meant to fail.
type recorder struct {
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// failuresOf runs one case on the store that open returns.
func failuresOf(t *testing.T, c promise, size scale, open func(m *store.Memory, now func() time.Time) store.Store) []string {
	ctx, cancel := context.WithTimeout(t.Context(), size.patience)
	defer cancel()
	clock, r := newClock(), new(recorder)
	s := open(&store.Memory{Now: clock.now}, clock.now)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.check(&fixture{tb: r, ctx: ctx, store: s, clock: clock, size: size})
	}()
	<-done
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failures
}

// caseNamed returns the only case whose role and name begin like that.
func caseNamed(t *testing.T, begin string) (string, promise) {
	t.Helper()
	var name string
	var found promise
	for _, g := range groups {
		for _, c := range g.cases {
			full := g.role + "/" + c.name
			if !strings.HasPrefix(full, begin) {
				continue
			}
			if name != "" {
				t.Fatalf("%q names both %q and %q", begin, name, full)
			}
			name, found = full, c
		}
	}
	if name == "" {
		t.Fatalf("%q names no case", begin)
	}
	return name, found
}

// TestBrokenStoresFail runs each broken store through the cases that must
// notice, and demands that every case notices something.
func TestBrokenStoresFail(t *testing.T) {
	impatient := short
	impatient.patience = time.Second
	noticed := make(map[string]bool)
	for _, breakers := range [][]breaker{brokenRecords, brokenNames, brokenExpiry, brokenCommits, brokenCounters, brokenLists, brokenRaces, brokenContexts} {
		for _, b := range breakers {
			for _, begin := range b.fails {
				name, c := caseNamed(t, begin)
				noticed[name] = true
				t.Run(b.flaw+"/"+name, func(t *testing.T) {
					// A race may be over before it has begun: a suite that
					// runs on every change meets it in the end.
					for range 20 {
						if failures := failuresOf(t, c, impatient, b.open); len(failures) > 0 {
							t.Log(failures[0])
							return
						}
					}
					t.Error("a store with this flaw passes")
				})
			}
		}
	}
	for _, g := range groups {
		for _, c := range g.cases {
			if !noticed[g.role+"/"+c.name] {
				t.Errorf("no broken store fails %s/%s", g.role, c.name)
			}
		}
	}
}

// TestSoundStorePasses runs the cases on a store without a flaw, as the broken
// ones are run.
func TestSoundStorePasses(t *testing.T) {
	for _, g := range groups {
		for _, c := range g.cases {
			failures := failuresOf(t, c, short, func(m *store.Memory, _ func() time.Time) store.Store { return broken{Memory: m} })
			if len(failures) > 0 {
				t.Errorf("%s/%s: %s", g.role, c.name, failures[0])
			}
		}
	}
}

// withOps breaks Commit by changing its ops.
func withOps(change func(op store.Op) store.Op) func(*store.Memory, func() time.Time) store.Store {
	return withAllOps(func(ops []store.Op) []store.Op {
		changed := make([]store.Op, len(ops))
		for i, op := range ops {
			changed[i] = change(op)
		}
		return changed
	})
}

func withAllOps(change func(ops []store.Op) []store.Op) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, commit: func(ctx context.Context, ops []store.Op) error {
			return m.Commit(ctx, change(ops)...)
		}}
	}
}

// withCommit breaks Commit altogether.
func withCommit(commit func(ctx context.Context, m *store.Memory, ops []store.Op) error) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, commit: func(ctx context.Context, ops []store.Op) error { return commit(ctx, m, ops) }}
	}
}

// withGet breaks what Get returns.
func withGet(change func(records []store.Record) []store.Record) func(*store.Memory, func() time.Time) store.Store {
	return func(m *store.Memory, _ func() time.Time) store.Store {
		return broken{Memory: m, get: func(ctx context.Context, keys []store.Key) ([]store.Record, error) {
			records, err := m.Get(ctx, keys...)
			return change(records), err
		}}
	}
}

// oneByOne commits each op for itself, and stops at the first that fails.
func oneByOne(ctx context.Context, m *store.Memory, ops []store.Op) error {
	for _, op := range ops {
		if err := m.Commit(ctx, op); err != nil {
			return err
		}
		runtime.Gosched() // so that others get between also where there is one processor
	}
	return nil
}
