package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// long reports whether there is time for the full numbers.
func long() bool { return os.Getenv("KEYWRIGHT_LONG") == "1" }

// STO-01 and STO-02, in one process: two Stores over one database.
func TestSTO01OneOfManyGoroutinesWins(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		stores := []store.Store{d.open(t, nil), d.open(t, nil)}
		var i int
		var mu sync.Mutex
		won, err := winners(1000, store.ErrExists, func() error {
			mu.Lock()
			s := stores[i%2]
			i++
			mu.Unlock()
			return s.Commit(context.Background(), store.Insert(store.Record{Kind: "claim", ID: "admin"}))
		})
		if won != 1 || err != nil {
			t.Errorf("%d winners, want 1; %v", won, err)
		}
	})
}

// STO-01 and STO-02, in four processes that start with an empty database.
func TestSTO02OneOfManyProcessesWins(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		rounds := 3
		if long() {
			rounds = 200
		}
		for i := range rounds {
			if won := d.race(t, "insert", fmt.Sprint("marker", i), 50); won != 1 {
				t.Errorf("round %d: %d winners, want 1", i, won)
			}
		}
	})
}

func TestTakeStopsAtTheLimitOverProcesses(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		start := time.Now()
		if won := d.race(t, "take", "tickets", 50); won != 100 {
			t.Errorf("%d of 200 got one of 100 tickets", won)
		}
		t.Logf("200 takers in 4 processes: %v", time.Since(start))
		if n, err := d.open(t, nil).Add(context.Background(), "tickets", 0, time.Time{}); n != 100 || err != nil {
			t.Errorf("the counter is %d, %v, want 100", n, err)
		}
	})
}

// race has four processes do one thing at once, and returns how many of their
// goroutines succeeded.
func (d database) race(t *testing.T, do, name string, goroutines int) int {
	t.Helper()
	var processes []*process
	for range 4 {
		processes = append(processes, d.begin(t, do, name, goroutines))
	}
	for _, p := range processes {
		p.release(t)
	}
	total := 0
	for _, p := range processes {
		n, err := strconv.Atoi(strings.TrimSpace(p.readLine(t)))
		if err != nil {
			t.Fatal(err)
		}
		total += n
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	return total
}

// Two Commits that each check what the other writes cannot both be first.
func TestCheckHoldsUntilTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s, other := d.open(t, nil), d.open(t, nil)
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "a"}), store.Insert(store.Record{Kind: "k", ID: "b"}))
		for i := range 200 {
			a, b := one(t, s, "k", "a"), one(t, s, "k", "b")
			var errA, errB error
			var wg sync.WaitGroup
			wg.Go(func() { errA = s.Commit(context.Background(), store.Check(a), store.Replace(b)) })
			wg.Go(func() { errB = other.Commit(context.Background(), store.Check(b), store.Replace(a)) })
			wg.Wait()
			if (errA == nil) == (errB == nil) {
				t.Fatalf("round %d: %v and %v, want exactly one to succeed", i, errA, errB)
			}
			if err := errors.Join(errA, errB); !errors.Is(err, store.ErrConflict) {
				t.Fatal(err)
			}
		}
	})
}

func TestNoDeadlock(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, nil)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 20 {
					var ops []store.Op
					for i := range 6 {
						ops = append(ops, store.Put(store.Record{Kind: "k", ID: fmt.Sprint(i)}),
							store.Take(fmt.Sprint(i), 1, 1<<40, time.Time{}))
					}
					rand.Shuffle(len(ops), func(i, j int) { ops[i], ops[j] = ops[j], ops[i] })
					if err := s.Commit(context.Background(), ops...); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if d.driver != "pgx" {
			return
		}
		// A deadlock would not show above: Commit tries again.
		var n int
		if err := d.connect(t).QueryRow(`SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("%d deadlocks", n)
		}
	})
}

// A record that every request checks can still be written.
func TestChecksDoNotStarveAWriter(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, nil)
		commit(t, s, store.Insert(store.Record{Kind: "parent", ID: "p"}))
		p := one(t, s, "parent", "p")
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := 0; ; i++ {
					err := s.Commit(context.Background(), store.Check(p), store.Insert(store.Record{Kind: "child", ID: fmt.Sprint(g, "/", i)}))
					if err != nil {
						return
					}
				}
			})
		}
		for first(t, s, "child") == "" {
			continue // until the others are at work
		}
		start := time.Now()
		commit(t, s, store.Delete(p))
		if took := time.Since(start); took > time.Second {
			t.Errorf("deleted after %v", took)
		}
		wg.Wait()
	})
}

func first(t *testing.T, s store.Store, kind string) string {
	t.Helper()
	for r, err := range s.List(context.Background(), store.Query{Kind: kind, Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		return r.ID
	}
	return ""
}
