package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRateOfOneAndOfAll(t *testing.T) {
	var c clock
	r, err := NewRate(c.now, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		who  string
		wait time.Duration
	}{
		{"a", 0}, {"a", 0}, {"a", 30 * time.Second}, // its own budget
		{"b", 0}, {"b", 20 * time.Second}, // that of all
	} {
		if got := r.Take(tt.who); got != tt.wait {
			t.Errorf("call %d, of %s: wait %v, want %v", i+1, tt.who, got, tt.wait)
		}
	}
	// b was not counted for what all together had no room for.
	c.advance(20 * time.Second)
	if got := r.Take("b"); got != 0 {
		t.Errorf("b when there is room: wait %v", got)
	}
}

func TestRateGivesBack(t *testing.T) {
	var c clock
	r, err := NewRate(c.now, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if wait := r.Take("a"); wait != 0 {
			t.Fatalf("wait %v, and all was given back", wait)
		}
		r.Return("a")
	}
	r.Return("a") // more than was taken is no credit
	for i, want := range []bool{true, true, false} {
		if got := r.Take("a") == 0; got != want {
			t.Errorf("call %d passes: %v, want %v", i+1, got, want)
		}
	}
}

func TestRateHoldsInManyGoroutines(t *testing.T) {
	var c clock
	r, err := NewRate(c.now, 10, -1)
	if err != nil {
		t.Fatal(err)
	}
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if r.Take("a") == 0 {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 10 {
		t.Errorf("%d of 1000 passed, want 10", passed.Load())
	}
}

func TestNoRate(t *testing.T) {
	var none *Rate
	none.Return("a")
	unlimited, err := NewRate(time.Now, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	unlimited.Return("a")
	if none.Take("a") != 0 || unlimited.Take("a") != 0 {
		t.Error("a caller without a limit waits")
	}
	for _, n := range [][2]int{{0, 1}, {1, 0}} {
		if _, err := NewRate(time.Now, n[0], n[1]); err == nil {
			t.Errorf("%v: a rate of zero", n)
		}
	}
}
