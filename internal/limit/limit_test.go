package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.ns.Load()) }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func TestAnAddressFailsSoOftenAndThenSlowly(t *testing.T) {
	var c clock
	f := NewFailures(c.now, 3, 0.5)
	for i := range 3 {
		if d := f.Wait("192.0.2.1"); d != 0 {
			t.Fatalf("failure %d: wait %v, want none", i+1, d)
		}
		f.Fail("192.0.2.1")
	}
	if d := f.Wait("192.0.2.1"); d != 2*time.Second {
		t.Errorf("after the burst: wait %v, want 2s", d)
	}
	if d := f.Wait("192.0.2.2"); d != 0 {
		t.Errorf("another address: wait %v, want none", d)
	}
	f.Fail("192.0.2.1") // more failures than there is budget for are no debt
	c.advance(2 * time.Second)
	if d := f.Wait("192.0.2.1"); d != 0 {
		t.Errorf("two seconds later: wait %v, want none", d)
	}
	f.Fail("192.0.2.1")
	if d := f.Wait("192.0.2.1"); d == 0 {
		t.Error("one failure for each two seconds, and a second one was let through")
	}
}

func TestAddressesOfOneParty(t *testing.T) {
	var c clock
	for _, tt := range []struct {
		failed, asked string
		same          bool
	}{
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2", true},
		{"::ffff:192.0.2.1", "192.0.2.1", true},
		{"@", "@", true}, // a Unix socket
		{"@", "192.0.2.1", false},
	} {
		f := NewFailures(c.now, 1, 1)
		f.Fail(tt.failed)
		if same := f.Wait(tt.asked) > 0; same != tt.same {
			t.Errorf("%s failed: %s waits: %v, want %v", tt.failed, tt.asked, same, tt.same)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var c clock
	f := NewFailures(c.now, 1, 0.001)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 50_000 {
				f.Fail(fmt.Sprintf("10.%d.%d.%d", g, i>>8, i&255))
			}
		})
	}
	all.Wait()
	held := 0
	for i := range f.shard {
		held += len(f.shard[i].byAddr)
	}
	if held != shards*maxShard {
		t.Errorf("%d addresses held, want %d", held, shards*maxShard)
	}
	if f.Wait("192.0.2.99") == 0 {
		t.Error("a newcomer is let through while the table is full of those who fail")
	}
	if f.Wait("10.0.0.0") == 0 {
		t.Error("one of the first has been forgotten")
	}
	c.advance(1001 * time.Second)
	f.Fail("192.0.2.99")
	if d := f.Wait("192.0.2.98"); d != 0 {
		t.Errorf("all have their budget again, and a newcomer waits %v", d)
	}
}
