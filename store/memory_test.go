package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(_ *testing.T, now func() time.Time) store.Store { return &store.Memory{Now: now} })
}

// A stopped clock is one that a test moves by hand.
type stopped struct{ time.Time }

func (s *stopped) now() time.Time { return s.Time }

func newStopped() *stopped { return &stopped{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

// held returns how many entries m holds, which it finds out by filling it up.
func held(t *testing.T, m *store.Memory) int {
	t.Helper()
	n := m.Max
	for i := 0; ; i++ {
		err := m.Commit(t.Context(), store.Insert(store.Record{Kind: "filler", ID: fmt.Sprint(i)}))
		if errors.Is(err, store.ErrFull) {
			return n - i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemoryZeroValue(t *testing.T) {
	m := new(store.Memory)
	hour := time.Now().Add(time.Hour)
	for range m.List(t.Context(), store.Query{Kind: "k"}) {
		t.Error("an empty Memory lists something")
	}
	if n, err := m.Sweep(t.Context(), hour, 10); n != 0 || err != nil {
		t.Errorf("Sweep returned %d, %v", n, err)
	}
	if err := m.Commit(t.Context(), store.Insert(marker(1, hour)), store.Insert(marker(2, time.Now()))); err != nil {
		t.Fatal(err)
	}
	r, err := m.Get(t.Context(), marker(1, hour).Key(), marker(2, hour).Key())
	if err != nil || !r[0].Exists() || r[1].Exists() {
		t.Errorf("got %v, %v, want the first of two", r, err)
	}
}

func TestMemoryFullRefusesAndForgetsNothing(t *testing.T) {
	clock := newStopped()
	m := &store.Memory{Now: clock.now, Max: 3}
	ctx, hour := t.Context(), clock.Add(time.Hour)
	r := func(id string) store.Record { return store.Record{Kind: "k", ID: id, Expires: hour} }
	steps := []struct {
		name string
		ops  []store.Op
		full bool
	}{
		{"two records and a counter", []store.Op{store.Insert(r("a")), store.Put(r("b")), store.Take("n", 1, 9, hour)}, false},
		{"a further Insert", []store.Op{store.Insert(r("c"))}, true},
		{"a further Put", []store.Op{store.Put(r("c"))}, true},
		{"a further counter", []store.Op{store.Take("m", 1, 9, hour)}, true},
		{"what is there", []store.Op{store.Put(r("a")), store.Take("n", 1, 9, hour)}, false},
		{"a look at a counter", []store.Op{store.Take("m", 0, 9, hour)}, false},
		{"what is there and a further one", []store.Op{store.Put(r("b")), store.Insert(r("c"))}, true},
	}
	for _, s := range steps {
		err := m.Commit(ctx, s.ops...)
		if s.full != errors.Is(err, store.ErrFull) || !s.full && err != nil {
			t.Errorf("%s: got %v", s.name, err)
		}
		var failed *store.OpError
		if last := len(s.ops) - 1; s.full && (!errors.As(err, &failed) || failed.Index != last) {
			t.Errorf("%s: got %v, want an OpError about op %d", s.name, err, last)
		}
	}
	if _, err := m.Add(ctx, "m", 1, hour); !errors.Is(err, store.ErrFull) {
		t.Errorf("Add of a further counter: got %v, want ErrFull", err)
	}
	if n, err := m.Add(ctx, "n", 1, hour); n != 3 || err != nil {
		t.Errorf("Add to the counter there: got %d, %v, want 3", n, err)
	}
	records, err := m.Get(ctx, r("a").Key(), r("b").Key(), r("c").Key())
	if err != nil || !records[0].Exists() || !records[1].Exists() || records[2].Exists() {
		t.Fatalf("got %v, %v, want a and b", records, err)
	}
	if err := m.Commit(ctx, store.Insert(r("c")), store.Delete(records[0])); err != nil {
		t.Errorf("an Insert in place of a Delete: %v", err)
	}
}

func TestMemoryMakesRoomAnHourAfterExpiry(t *testing.T) {
	clock := newStopped()
	m := &store.Memory{Now: clock.now, Max: 4}
	ctx, expires := t.Context(), clock.Add(time.Minute)
	for i := range 3 {
		if err := m.Commit(ctx, store.Insert(marker(i, expires))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Add(ctx, "window", 1, expires); err != nil {
		t.Fatal(err)
	}
	other := store.Insert(store.Record{Kind: "other", ID: "a"})
	clock.Time = expires.Add(time.Hour)
	if err := m.Commit(ctx, other); !errors.Is(err, store.ErrFull) {
		t.Errorf("an hour after their expiry: got %v, want ErrFull", err)
	}
	clock.Time = clock.Add(-2 * time.Hour)
	if err := m.Commit(ctx, store.Insert(marker(0, expires))); !errors.Is(err, store.ErrExists) {
		t.Errorf("the clock went back: got %v, want ErrExists", err)
	}
	clock.Time = expires.Add(time.Hour + 1)
	// All four go, two of which the Commit is about itself.
	if err := m.Commit(ctx, other, store.Insert(marker(1, time.Time{})), store.Put(marker(2, time.Time{})), store.Take("more", 1, 1, time.Time{})); err != nil {
		t.Errorf("later than that: %v", err)
	}
	if err := m.Commit(ctx, store.Insert(marker(3, expires))); !errors.Is(err, store.ErrFull) {
		t.Errorf("full of live ones: got %v, want ErrFull", err)
	}
}

func TestMemorySweep(t *testing.T) {
	clock := newStopped()
	m := &store.Memory{Now: clock.now, Max: 10_000}
	ctx, start := t.Context(), clock.Time
	for i := range 3000 {
		if err := m.Commit(ctx, store.Insert(marker(i, start.Add(time.Duration(i+1)*time.Second)))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Add(ctx, "window", 1, start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := m.Commit(ctx, store.Insert(store.Record{Kind: "k", ID: "for ever"})); err != nil {
		t.Fatal(err)
	}
	clock.Time = start.Add(2000 * time.Second)
	for _, c := range []struct {
		name   string
		before time.Time
		max    int
		want   int
	}{
		{"nothing asked", clock.Time, 0, 0},
		{"nothing expired by then", start.Add(time.Second), 5000, 0},
		{"the zero time", time.Time{}, 5000, 0},
		{"a record and a counter", start.Add(time.Second + 1), 5000, 2},
		{"at most so many", clock.Time, 700, 700},
		{"not what lives, whatever is asked", clock.Add(time.Hour), 5000, 1298},
		{"again", clock.Add(time.Hour), 5000, 0},
	} {
		if n, err := m.Sweep(ctx, c.before, c.max); n != c.want || err != nil {
			t.Errorf("%s: swept %d, %v, want %d", c.name, n, err, c.want)
		}
	}
	if got, want := held(t, m), 3002-2000; got != want {
		t.Errorf("%d are held, want %d", got, want)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if n, err := m.Sweep(done, clock.Time, 10); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("Sweep returned %d, %v, want 0 and context.Canceled", n, err)
	}
}

func TestMemorySweepGoesByTheLastExpiry(t *testing.T) {
	clock := newStopped()
	m := &store.Memory{Now: clock.now}
	start := clock.Time
	for _, factor := range []int{3, 7} { // both prime to 100, so all expiries change places
		for i := range 100 {
			expires := start.Add(time.Duration(1+i*factor%100) * time.Second)
			if err := m.Commit(t.Context(), store.Put(marker(i, expires))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 50 {
		clock.Time = start.Add(time.Duration(2*i+2)*time.Second + 1)
		if n, err := m.Sweep(t.Context(), clock.Time, 100); n != 2 || err != nil {
			t.Fatalf("after %v swept %d, %v, want 2", clock.Sub(start), n, err)
		}
	}
}

// TestMemoryHoldsNothingForWrittenOver would find whatever is left behind when
// an expiry changes or a record goes.
func TestMemoryHoldsNothingForWrittenOver(t *testing.T) {
	clock := newStopped()
	m := &store.Memory{Now: clock.now, Max: 1000}
	for i := range 50_000 {
		ops := []store.Op{store.Put(marker(i%7, clock.Add(time.Duration(i*7919%1000)*time.Second)))}
		if r, err := m.Get(t.Context(), marker(i%11, time.Time{}).Key()); i%5 == 0 && i%7 != i%11 && err == nil && r[0].Exists() {
			ops = append(ops, store.Delete(r[0]))
		}
		if err := m.Commit(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	clock.Time = clock.Add(time.Hour)
	if n, err := m.Sweep(t.Context(), clock.Time, 1000); n > 7 || err != nil {
		t.Errorf("swept %d, %v, want at most 7", n, err)
	}
	if got := held(t, m); got != 0 {
		t.Errorf("%d are held, want 0", got)
	}
}

func TestMemoryDataHasNoRoomBehindIt(t *testing.T) {
	m := new(store.Memory)
	r := store.Record{Kind: "k", ID: "a", Data: []byte("12345")}
	if err := m.Commit(t.Context(), store.Insert(r)); err != nil {
		t.Fatal(err)
	}
	got, err := m.Get(t.Context(), r.Key())
	if err != nil || cap(got[0].Data) != 5 {
		t.Errorf("capacity %d, %v, want 5: two callers could append into one array", cap(got[0].Data), err)
	}
}

func TestMemoryGetAllocatesItsResultOnly(t *testing.T) {
	m := new(store.Memory)
	if err := m.Commit(t.Context(), store.Insert(marker(1, time.Now().Add(time.Hour))), store.Insert(marker(2, time.Time{}))); err != nil {
		t.Fatal(err)
	}
	ctx, keys := t.Context(), []store.Key{marker(1, time.Time{}).Key(), marker(2, time.Time{}).Key()}
	if n := testing.AllocsPerRun(100, func() { _, _ = m.Get(ctx, keys...) }); n != 1 {
		t.Errorf("Get allocates %v times, want 1", n)
	}
}
