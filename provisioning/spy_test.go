package provisioning_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// A spy is a store that counts its calls, and lets something happen before each
// of them. What is written when nobody waits for it, the last use, passes unseen.
type spy struct {
	store.Store
	calls  atomic.Int64
	before atomic.Pointer[func(c storeCall) error]
}

// A storeCall is "get", "list", "add" or "commit", with the kinds of records
// that it is about. An error of the function before it is its answer.
type storeCall struct {
	method string
	kinds  []string
}

func (s *spy) see(method string, kinds ...string) error {
	if slices.Contains(kinds, keywright.KindKeyLast) && method == "commit" {
		return nil
	}
	s.calls.Add(1)
	if f := s.before.Load(); f != nil {
		return (*f)(storeCall{method, kinds})
	}
	return nil
}

// set lets f happen before each call; nil: nothing.
func (s *spy) set(f func(storeCall) error) {
	if f == nil {
		s.before.Store(nil)
		return
	}
	s.before.Store(&f)
}

// once lets f happen before the first call of that method about that kind.
func (s *spy) once(method, kind string, f func()) {
	var done atomic.Bool
	s.set(func(c storeCall) error {
		if c.method == method && slices.Contains(c.kinds, kind) && done.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
}

func (s *spy) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	kinds := make([]string, len(keys))
	for i, k := range keys {
		kinds[i] = k.Kind
	}
	if err := s.see("get", kinds...); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, keys...)
}

func (s *spy) List(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
	if err := s.see("list", q.Kind); err != nil {
		return func(yield func(store.Record, error) bool) { yield(store.Record{}, err) }
	}
	return s.Store.List(ctx, q)
}

func (s *spy) Commit(ctx context.Context, ops ...store.Op) error {
	kinds := make([]string, len(ops))
	for i, op := range ops {
		kinds[i] = op.Record.Kind
	}
	if err := s.see("commit", kinds...); err != nil {
		return err
	}
	return s.Store.Commit(ctx, ops...)
}

func (s *spy) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if err := s.see("add"); err != nil {
		return 0, err
	}
	return s.Store.Add(ctx, counter, n, until)
}

// spied gives a world's store to a spy.
func spied(s *spy) func(*setup) {
	return func(c *setup) {
		s.Store = c.host.Store
		c.host.Store = s
	}
}

// kinds are those of all records that a request may write for good.
var kinds = []string{
	keywright.KindKey, keywright.KindKeyImported, keywright.KindEvent, provisioning.KindKey, provisioning.KindEnrollment,
	provisioning.KindPending, provisioning.KindSlot, provisioning.KindMade, provisioning.KindRunner, provisioning.KindProof, "agent",
}

// usage are those that a request leaves behind that is refused, too: how often
// a key was used.
var usage = []string{keywright.KindKeyFirst, keywright.KindKeyLast, "provisioning.window"}

// dump returns the records of the given kinds, by kind and ID.
func (w *world) dump(kinds ...string) map[string]string {
	w.t.Helper()
	all := make(map[string]string)
	for _, kind := range kinds {
		for r, err := range w.db.List(w.t.Context(), store.Query{Kind: kind}) {
			if err != nil {
				w.t.Error(err)
			}
			all[r.Kind+" "+r.ID] = fmt.Sprintf("%d until %v: %s", r.Version, r.Expires, r.Data)
		}
	}
	return all
}

// unchanged checks that nothing was written since the dump.
func (w *world) unchanged(name string, before map[string]string) {
	w.t.Helper()
	if diff := cmp.Diff(before, w.dump(kinds...)); diff != "" {
		w.t.Errorf("%s: the store has changed (-before +after):\n%s", name, diff)
	}
}

// parallel does something n times at once.
func parallel(n int, do func(i int) answer) tally {
	got := make(tally)
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			a := do(i)
			mu.Lock()
			defer mu.Unlock()
			got[a.status]++
		})
	}
	close(begin)
	wg.Wait()
	return got
}

// A tally counts answers by status.
type tally map[int]int

func (got tally) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(got)) {
		parts = append(parts, fmt.Sprintf("%d: %d times", status, got[status]))
	}
	return strings.Join(parts, ", ")
}

// tallied checks how often there was each status.
func (w *world) tallied(name string, got, want tally) {
	w.t.Helper()
	if !maps.Equal(got, want) {
		w.t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

// onceAlone lets f happen before the first Get of one record of that kind.
func (s *spy) onceAlone(kind string, f func()) {
	var done atomic.Bool
	s.set(func(c storeCall) error {
		if c.method == "get" && len(c.kinds) == 1 && c.kinds[0] == kind && done.CompareAndSwap(false, true) {
			f()
		}
		return nil
	})
}
