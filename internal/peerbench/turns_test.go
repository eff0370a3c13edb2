package peerbench

import (
	"testing"
	"time"
)

// BenchmarkTurns lets all peers verify in turns, so that a busy machine slows down
// all of them: the time of each, and "x" for how many times the raw one's.
func BenchmarkTurns(b *testing.B) {
	all := peers()
	verify := make([]func() error, len(all))
	took := make([]time.Duration, len(all))
	for i, p := range all {
		verify[i] = p.open(b, p.signs.request(b))
	}
	for b.Loop() {
		for i := range all {
			began := time.Now()
			if err := verify[i](); err != nil {
				b.Fatal(all[i].name, err)
			}
			took[i] += time.Since(began)
		}
	}
	for i, p := range all {
		b.ReportMetric(float64(took[i].Nanoseconds())/float64(b.N)/1000, "µs/"+p.name)
		b.ReportMetric(float64(took[i])/float64(took[0]), "x/"+p.name)
	}
}
