package store

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestIndex compares an index with a plain sorted slice.
func TestIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var x index
	entries := make(map[string]*entry)
	var want []string
	for step := range 20_000 {
		id := fmt.Sprint(random.IntN(4000))
		// It grows, shrinks to almost nothing and grows again.
		grow := step/5000%2 == 0
		switch e := entries[id]; {
		case e == nil && (grow || step%5 == 0):
			e = &entry{id: id}
			entries[id] = e
			x.insert(e)
			i, _ := slices.BinarySearch(want, id)
			want = slices.Insert(want, i, id)
		case e != nil && (!grow || step%5 == 0):
			x.remove(e)
			delete(entries, id)
			i, _ := slices.BinarySearch(want, id)
			want = slices.Delete(want, i, i+1)
		}
		if step%500 == 0 {
			checkIndex(t, &x, want)
		}
	}
	for _, e := range entries {
		x.remove(e)
	}
	checkIndex(t, &x, nil)
}

func TestIndexLeavesNoCrumbs(t *testing.T) {
	for _, reverse := range []bool{false, true} {
		var x index
		var gone []*entry
		var want []string
		for i := range 4000 {
			e := &entry{id: fmt.Sprintf("%04d", i)}
			x.insert(e)
			if i%50 == 0 {
				want = append(want, e.id)
			} else {
				gone = append(gone, e)
			}
		}
		if reverse {
			slices.Reverse(gone)
		}
		for _, e := range gone {
			x.remove(e)
		}
		checkIndex(t, &x, want)
	}
}

func checkIndex(t *testing.T, x *index, want []string) {
	t.Helper()
	var forth, back []string
	for e, p := x.next(position{}); e != nil; e, p = x.next(p) {
		forth = append(forth, e.id)
	}
	end := x.search(func(string) bool { return false })
	for e, p := x.previous(end); e != nil; e, p = x.previous(p) {
		back = append(back, e.id)
	}
	slices.Reverse(back)
	if !slices.Equal(forth, want) || !slices.Equal(back, want) {
		t.Fatalf("forth %d and back %d entries, want %d", len(forth), len(back), len(want))
	}
	for _, id := range want {
		if e, _ := x.next(x.find(id)); e == nil || e.id != id {
			t.Fatalf("%q is not found", id)
		}
	}
	// Two neighbours together hold more than half a block.
	if most := 1 + len(want)*4/blockSize; len(x.blocks) > most {
		t.Fatalf("%d blocks for %d entries, want at most %d", len(x.blocks), len(want), most)
	}
}

func TestMemoryCounterStops(t *testing.T) {
	m := new(Memory)
	key := Key{Kind: counters, ID: "n"}
	m.write(key, maxSum-1, 0, nil)
	for _, want := range []int64{maxSum, maxSum} {
		if got, err := m.Add(t.Context(), "n", MaxDelta, time.Time{}); got != want || err != nil {
			t.Errorf("got %d, %v, want %d", got, err, want)
		}
	}
	if err := m.Commit(t.Context(), Take("n", MaxDelta, math.MaxInt64, time.Time{})); err != nil {
		t.Error(err)
	}
}
