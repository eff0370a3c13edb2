package keywright_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestFirstUseIsWrittenBeforeTheRequestPasses(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.FirstUse = true
	m := w.issue(t, spec)
	if info, err := w.Keys.Check(t.Context(), m.Text); err != nil || info.Used {
		t.Fatalf("before: used %v, %v", info.Used, err)
	}
	w.db.failOn("Commit", errors.New("disk on fire"))
	w.wantUse(t, keywright.CodeUnavailable, m.Text, m.Text)
	w.settle(t)
	w.db.fault.Store(nil)
	if info, err := w.Keys.Check(t.Context(), m.Text); err != nil || info.Used {
		t.Fatalf("after uses that were refused: used %v, %v", info.Used, err)
	}

	// The mark must stand when the handler runs, not soon after.
	w.db.failWith(func(_ context.Context, call string, ops []store.Op) error {
		if call == "Commit" && ops[0].Record.Kind != keywright.KindKeyFirst {
			return errors.New("only first uses are taken")
		}
		return nil
	})
	w.wantUse(t, "", m.Text, m.Text)
	if n := len(w.db.commits(keywright.KindKeyFirst)); n != 1 {
		t.Errorf("the first use was written %d times, want once", n)
	}
	if info, err := w.Keys.Check(t.Context(), m.Text); err != nil || !info.Used {
		t.Errorf("after: used %v, %v", info.Used, err)
	}
	w.settle(t)
}

func TestFirstUseInAnotherProcess(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	here, there := worldOn(t, db, c), worldOn(t, db, c)
	spec := adminSpec()
	spec.FirstUse = true
	m := here.issue(t, spec)
	if info, err := here.Keys.Check(t.Context(), m.Text); err != nil || info.Used {
		t.Fatalf("before: used %v, %v", info.Used, err)
	}
	there.wantUse(t, "", m.Text)
	if info, err := here.Keys.Check(t.Context(), m.Text); err != nil || !info.Used {
		t.Errorf("used there, asked here: used %v, %v", info.Used, err)
	}
	here.wantUse(t, "", m.Text)
	there.settle(t)
	here.settle(t)
}

// Two processes may both find a key unused: then it is used, and both are right.
func TestFirstUseThatAnotherProcessOvertakes(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	here, there := worldOn(t, db, c), worldOn(t, db, c)
	spec := adminSpec()
	spec.FirstUse = true
	m := here.issue(t, spec)
	here.db.failWith(func(_ context.Context, call string, ops []store.Op) error {
		if call == "Commit" && ops[0].Record.Kind == keywright.KindKeyFirst {
			there.wantUse(t, "", m.Text)
		}
		return nil
	})
	here.wantUse(t, "", m.Text)
	if n := len(here.db.commits(keywright.KindKeyFirst)) + len(there.db.commits(keywright.KindKeyFirst)); n != 1 {
		t.Errorf("the first use was written %d times, want once", n)
	}
	here.settle(t)
	there.settle(t)
}

func TestLastUseIsWrittenOnceAMinute(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	for _, tt := range []struct {
		after time.Duration
		want  int // writes so far
	}{
		{0, 1},
		{59 * time.Second, 1},
		{time.Second, 2},
		{59 * time.Second, 2},
		{time.Hour, 3},
	} {
		w.clock.Advance(tt.after)
		for range 10 {
			w.wantUse(t, "", m.Text)
			w.settle(t)
		}
		if n := len(w.db.commits(keywright.KindKeyLast)); n != tt.want {
			t.Errorf("%v after the start: %d writes, want %d", w.clock.Now().Sub(epoch), n, tt.want)
		}
	}
}

// It tells from where, in a record that outlives versions of this library.
func TestLastUseTellsFromWhere(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	for _, tt := range []struct{ proxied, want, stored string }{
		{"", "192.0.2.1", `{"at":"2026-03-01T12:01:00Z","from":"192.0.2.1"}`},
		{"2001:db8::7", "2001:db8::7", `{"at":"2026-03-01T12:02:00Z","from":"2001:db8::7"}`},
	} {
		w.clock.Advance(time.Minute)
		r := bearer(m.Text)
		if tt.proxied != "" {
			r = r.WithContext(keywright.WithRemoteAddr(r.Context(), tt.proxied))
		}
		if _, err := w.Keys.Of("admin").Authenticate(r); err != nil {
			t.Fatal(err)
		}
		w.settle(t)
		if info, err := w.Keys.Lookup(t.Context(), m.ID); err != nil || info.LastUsedFrom != tt.want || !info.LastUsed.Equal(w.clock.Now()) {
			t.Errorf("last used %v from %q, %v; want %v from %q", info.LastUsed, info.LastUsedFrom, err, w.clock.Now(), tt.want)
		}
		records, err := w.db.Get(t.Context(), store.Key{Kind: keywright.KindKeyLast, ID: m.ID})
		if err != nil || string(records[0].Data) != tt.stored {
			t.Errorf("stored %s, %v; want %s", records[0].Data, err, tt.stored)
		}
	}
	// As it was written before.
	if err := w.change(t, store.Key{Kind: keywright.KindKeyLast, ID: m.ID}, `{"at":"2026-03-01T11:00:00Z"}`); err != nil {
		t.Fatal(err)
	}
	if info, err := w.Keys.Lookup(t.Context(), m.ID); err != nil || info.LastUsedFrom != "" || !info.LastUsed.Equal(epoch.Add(-time.Hour)) {
		t.Errorf("last used %v from %q, %v; want %v from nowhere", info.LastUsed, info.LastUsedFrom, err, epoch.Add(-time.Hour))
	}
}

// A change of the record does not make the last use due again.
func TestLastUseAfterAChange(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	w.wantUse(t, "", m.Text)
	w.settle(t)
	if err := errors.Join(w.Keys.Disable(t.Context(), operator, m.ID), w.Keys.Enable(t.Context(), operator, m.ID)); err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, "", m.Text)
	w.settle(t)
	if n := len(w.db.commits(keywright.KindKeyLast)); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
}

func TestRacingFirstRequestsWriteOneLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.issue(t, adminSpec())
		// All of them have read the record before any goes on.
		gate := make(chan struct{})
		w.db.failWith(func(_ context.Context, call string, _ []store.Op) error {
			if call == "Get" {
				<-gate
			}
			return nil
		})
		for range 20 {
			go w.wantUse(t, "", m.Text)
		}
		synctest.Wait()
		close(gate)
		synctest.Wait()
		if n := len(w.db.commits(keywright.KindKeyLast)); n != 1 {
			t.Errorf("%d writes, want 1", n)
		}
	})
}

// A store that hangs on a last use holds up no request, and not for ever either.
func TestLastUseNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var minted []keywright.MintedKey
		for range 20 { // more than are written at one time
			minted = append(minted, w.issue(t, adminSpec()))
		}
		w.db.failWith(func(ctx context.Context, call string, _ []store.Op) error {
			if call != "Commit" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		})
		begin := time.Now()
		for _, m := range minted {
			w.wantUse(t, "", m.Text, m.Text)
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("40 requests waited %v", waited)
		}
		stop, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.Keys.Flush(stop); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush while writes hang: got %v, want the deadline", err)
		}
		if err := w.Keys.Flush(t.Context()); err != nil {
			t.Errorf("Flush until they give up: %v", err)
		}
		if waited := time.Since(begin); waited != 5*time.Second {
			t.Errorf("the writes gave up after %v, want 5s", waited)
		}
		w.db.fault.Store(nil)
		// What found no room was put off to its next use.
		w.wantUse(t, "", minted[19].Text)
		w.settle(t)
		if n := len(w.db.commits(keywright.KindKeyLast)); n != 1 {
			t.Errorf("%d writes after the trouble, want 1", n)
		}
	})
}

func TestFlushWaitsForWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var minted []keywright.MintedKey
		for range 8 { // as many as are written at one time
			minted = append(minted, w.issue(t, adminSpec()))
		}
		var writes atomic.Int64
		w.db.failWith(func(_ context.Context, call string, _ []store.Op) error {
			if call == "Commit" {
				time.Sleep(time.Duration(writes.Add(1)) * 100 * time.Millisecond) // of the bubble's clock
			}
			return nil
		})
		for _, m := range minted {
			w.wantUse(t, "", m.Text)
		}
		begin := time.Now()
		// Slots come free one by one: two that each gathered half of them
		// would wait for each other for ever.
		go w.Keys.Flush(t.Context())
		w.settle(t)
		synctest.Wait()
		if waited := time.Since(begin); waited != 800*time.Millisecond {
			t.Errorf("Flush waited %v, want 800ms", waited)
		}
		if n := len(w.db.commits(keywright.KindKeyLast)); n != 8 {
			t.Errorf("after Flush %d last uses are written, want 8", n)
		}
	})
}

func TestTemporaryKeyIsReportedOnceAnHour(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.Temporary = true
	m, lasting := w.issue(t, spec), w.issue(t, adminSpec())
	for _, tt := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {time.Hour - time.Second, 1}, {time.Second, 2}, {30 * time.Minute, 2}, {30 * time.Minute, 3}} {
		w.clock.Advance(tt.after)
		w.wantUse(t, "", m.Text, m.Text, lasting.Text)
		w.settle(t)
		if n := len(w.events("key.temporary_in_use")); n != tt.want {
			t.Errorf("%v after the start: %d events, want %d", w.clock.Now().Sub(epoch), n, tt.want)
		}
	}
	for _, e := range w.events("key.temporary_in_use") {
		if e.Target != m.ID || e.Remote != "192.0.2.1" {
			t.Errorf("event about %q from %q, want %q from 192.0.2.1", e.Target, e.Remote, m.ID)
		}
	}
}
