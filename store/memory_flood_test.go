package store_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// STO-04: a flood of markers stays within its memory and its maximum, no
// caller waits long, and none of them is forgotten.
func TestMemoryFlood(t *testing.T) {
	markers := 50_000
	if os.Getenv("KEYWRIGHT_LONG") == "1" {
		markers = 1_000_000
	}
	clock := newStopped()
	m := &store.Memory{Now: clock.now, Max: markers}
	before, hour := heapInUse(), clock.Add(time.Hour)
	took := make([]time.Duration, markers)
	for i := range markers {
		start := time.Now()
		if err := m.Commit(t.Context(), store.Insert(marker(i, hour))); err != nil {
			t.Fatal(err)
		}
		took[i] = time.Since(start)
	}
	mebibytes := (heapInUse() - before) / (1 << 20)
	if limit := 256 * float64(markers) / 1e6; mebibytes > limit {
		t.Errorf("%d markers take %.0f MiB, want at most %.0f", markers, mebibytes, limit)
	}
	p99, longest := percentiles(took)
	t.Logf("%d markers: %.0f MiB, insert p99 %v, longest %v", markers, mebibytes, p99, longest)
	if p99 > 5*time.Millisecond {
		t.Errorf("insert p99 is %v, want at most 5ms", p99)
	}
	if err := m.Commit(t.Context(), store.Insert(marker(markers, hour))); !errors.Is(err, store.ErrFull) {
		t.Errorf("one more: got %v, want ErrFull", err)
	}
	for i := range markers {
		if err := m.Commit(t.Context(), store.Insert(marker(i, hour))); !errors.Is(err, store.ErrExists) {
			t.Fatalf("marker %d again: got %v, want ErrExists", i, err)
		}
	}
	clock.Time = hour.Add(time.Hour)
	sweepWhileInserting(t, m, clock, markers)
}

// sweepWhileInserting sweeps all markers while another caller inserts.
func sweepWhileInserting(t *testing.T, m *store.Memory, clock *stopped, markers int) {
	m.Max = 2 * markers
	done := make(chan struct{})
	var took []time.Duration
	var inserting sync.WaitGroup
	ready := make(chan struct{})
	inserting.Go(func() {
		for i := 0; ; i++ {
			start := time.Now()
			if err := m.Commit(t.Context(), store.Insert(store.Record{Kind: "new", ID: fmt.Sprint(i % markers)})); err != nil && !errors.Is(err, store.ErrExists) {
				t.Error(err)
			}
			took = append(took, time.Since(start))
			if i == 0 {
				close(ready)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	<-ready
	n, err := m.Sweep(t.Context(), clock.Time, markers)
	close(done)
	inserting.Wait()
	if n != markers || err != nil {
		t.Errorf("swept %d, %v, want %d", n, err, markers)
	}
	p99, longest := percentiles(took)
	t.Logf("%d inserts during the sweep: p99 %v, longest %v", len(took), p99, longest)
	if p99 > 50*time.Millisecond {
		t.Errorf("insert p99 during the sweep is %v, want at most 50ms", p99)
	}
}

func percentiles(took []time.Duration) (p99, longest time.Duration) {
	slices.Sort(took)
	return took[len(took)*99/100], took[len(took)-1]
}
