package egress_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

func warm(t testing.TB) *egress.KeySet {
	far := new(issuer)
	far.publishes("a", "b", "c")
	s := egress.NewKeySet(time.Now, far.fetch)
	if _, err := s.Keys(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestKnownKeyDoesNotAllocate(t *testing.T) {
	s := warm(t)
	if n := testing.AllocsPerRun(1000, func() { s.Keys(t.Context(), "b") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkKeysKnown(b *testing.B) {
	s := warm(b)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Keys(ctx, "b"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeysKnownParallel(b *testing.B) {
	s := warm(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Keys(b.Context(), "b"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
