package store_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// A filled store has 10,000 keys, as a busy server does.
func filled(b *testing.B) *store.Memory {
	b.Helper()
	m := new(store.Memory)
	for i := range 10_000 {
		r := store.Record{Kind: "key", ID: fmt.Sprintf("key-%06d", i), Data: make([]byte, 300)}
		if err := m.Commit(b.Context(), store.Insert(r)); err != nil {
			b.Fatal(err)
		}
	}
	return m
}

func BenchmarkMemoryGet1(b *testing.B) { benchmarkGet(b, store.Key{Kind: "key", ID: "key-000777"}) }

func BenchmarkMemoryGet2(b *testing.B) {
	benchmarkGet(b, store.Key{Kind: "key", ID: "key-000777"}, store.Key{Kind: "key", ID: "key-007777"})
}

func benchmarkGet(b *testing.B, keys ...store.Key) {
	m := filled(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Get(ctx, keys...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemoryGet2Parallel(b *testing.B) {
	m := filled(b)
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := m.Get(ctx, store.Key{Kind: "key", ID: "key-000777"}, store.Key{Kind: "key", ID: "key-007777"}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkMemoryInsertMarker(b *testing.B) {
	m := &store.Memory{Max: 1 << 30}
	ctx, expires := b.Context(), time.Now().Add(time.Hour)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := m.Commit(ctx, store.Insert(marker(i, expires))); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkMemoryReplace(b *testing.B) {
	m := filled(b)
	ctx := b.Context()
	key := store.Key{Kind: "key", ID: "key-000777"}
	b.ReportAllocs()
	for b.Loop() {
		records, err := m.Get(ctx, key)
		if err == nil {
			err = m.Commit(ctx, store.Replace(records[0]))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMemoryList100(b *testing.B) {
	m := filled(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range m.List(ctx, store.Query{Kind: "key", After: "key-005000", Limit: 100}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkMemoryMillionMarkers reports what a million markers cost to hold,
// and to insert and sweep.
func BenchmarkMemoryMillionMarkers(b *testing.B) {
	const markers = 1_000_000
	for b.Loop() {
		now := time.Now()
		m := &store.Memory{Now: func() time.Time { return now }}
		before := heapInUse()
		start := time.Now()
		for i := range markers {
			if err := m.Commit(b.Context(), store.Insert(marker(i, now.Add(time.Hour)))); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/markers, "ns/insert")
		b.ReportMetric((heapInUse()-before)/(1<<20), "MiB")
		now = now.Add(2 * time.Hour)
		start = time.Now()
		if n, err := m.Sweep(b.Context(), now, markers); n != markers || err != nil {
			b.Fatalf("swept %d, %v", n, err)
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/markers, "ns/sweep")
	}
}

func heapInUse() float64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// marker returns a replay marker with an ID of 64 bytes that is spread like a hash.
func marker(i int, expires time.Time) store.Record {
	return store.Record{Kind: "replay", ID: fmt.Sprintf("%016x/%047d", uint64(i)*0x9E3779B97F4A7C15, i), Expires: expires}
}
