package keystoretest

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
)

// A breaker makes a store that breaks a promise, so that this test can tell
// whether the suite would notice.
type breaker struct {
	flaw  string
	fails []string // role/name, or as much of it as only one case begins with
	open  func(m *keystore.Memory) broken
}

// A broken store is a Memory with some methods replaced.
type broken struct {
	*keystore.Memory
	load     func(ctx context.Context, handle string) (keystore.Key, error)
	generate func(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error)
	list     func(ctx context.Context) iter.Seq2[string, error]
	remove   func(ctx context.Context, handle string) error
}

func (b broken) Load(ctx context.Context, handle string) (keystore.Key, error) {
	if b.load == nil {
		return b.Memory.Load(ctx, handle)
	}
	return b.load(ctx, handle)
}

func (b broken) Generate(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
	if b.generate == nil {
		return b.Memory.Generate(ctx, o)
	}
	return b.generate(ctx, o)
}

func (b broken) List(ctx context.Context) iter.Seq2[string, error] {
	if b.list == nil {
		return b.Memory.List(ctx)
	}
	return b.list(ctx)
}

func (b broken) Delete(ctx context.Context, handle string) error {
	if b.remove == nil {
		return b.Memory.Delete(ctx, handle)
	}
	return b.remove(ctx, handle)
}

// A recorder is the tb of a case that is meant to fail.
type recorder struct {
	mu       sync.Mutex
	failures []string
	skipped  bool
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

func (r *recorder) Skipf(string, ...any) {
	r.skipped = true
	runtime.Goexit()
}

// outcomeOf runs one case.
func outcomeOf(t *testing.T, c promise, s keystore.KeyStore) *recorder {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := new(recorder)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.check(&fixture{tb: r, ctx: ctx, store: s})
	}()
	<-done
	return r
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
	noticed := make(map[string]bool)
	for _, b := range breakers {
		for _, begin := range b.fails {
			name, c := caseNamed(t, begin)
			noticed[name] = true
			t.Run(b.flaw+"/"+name, func(t *testing.T) {
				// A race may be over before it has begun: a suite that runs
				// on every change meets it in the end.
				for range 20 {
					if r := outcomeOf(t, c, b.open(new(keystore.Memory))); len(r.failures) > 0 {
						t.Log(r.failures[0])
						return
					}
				}
				t.Error("a store with this flaw passes")
			})
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

// TestSmallStoresSkip: what a store does not offer is not asked of it.
func TestSmallStoresSkip(t *testing.T) {
	type loads struct{ keystore.KeyStore }
	type makes struct {
		keystore.KeyStore
		keystore.Generator
	}
	small := func(m *keystore.Memory) keystore.KeyStore { return loads{m} }
	larger := func(m *keystore.Memory) keystore.KeyStore { return makes{m, m} }
	for _, tt := range []struct {
		open func(*keystore.Memory) keystore.KeyStore
		name string
		skip bool
	}{
		{small, "keys/a handle without", false},
		{small, "keys/a new key signs", true},
		{small, "handles/KST-01 Load", false},
		{small, "handles/KST-01 Generate", true},
		{small, "context/a cancelled", false},
		{larger, "context/a cancelled", false},
		{larger, "context/a list", true},
		{larger, "races/of many", false},
		{larger, "races/a key that is deleted", true},
		{larger, "delete/a deleted key is not found", true},
	} {
		name, c := caseNamed(t, tt.name)
		r := outcomeOf(t, c, tt.open(new(keystore.Memory)))
		if r.skipped != tt.skip || len(r.failures) > 0 {
			t.Errorf("%s: skipped %v, want %v; failures %q", name, r.skipped, tt.skip, r.failures)
		}
	}
}
