package keywright_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestRotate(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		name     string
		expires  time.Duration // of the old key; 0: never
		rotation keywright.Rotation
		oldEnds  time.Duration // 0: at once
		newEnds  time.Duration // 0: never
	}{
		{"without overlap", 0, keywright.Rotation{}, 0, 0},
		{"without overlap, expiring", 4 * hour, keywright.Rotation{}, 0, 4 * hour},
		{"overlap", 0, keywright.Rotation{Overlap: hour}, hour, 0},
		{"overlap before the old expiry", 4 * hour, keywright.Rotation{Overlap: hour}, hour, 4 * hour},
		{"old expiry before the overlap ends", hour, keywright.Rotation{Overlap: 4 * hour}, hour, hour},
		{"a new expiry", hour, keywright.Rotation{Overlap: 4 * hour, Expires: epoch.Add(9 * hour)}, hour, 9 * hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			spec := adminSpec()
			if tt.expires != 0 {
				spec.Expires = epoch.Add(tt.expires)
			}
			old := w.issue(t, spec)
			w.wantUse(t, "", old.Text)
			next, err := w.Keys.Rotate(t.Context(), operator, old.ID, tt.rotation)
			if err != nil {
				t.Fatal(err)
			}
			w.wantUse(t, "", next.Text)
			w.wantEnds(t, "old", old.Text, tt.oldEnds)
			if tt.newEnds != 0 {
				w.wantEnds(t, "new", next.Text, tt.newEnds)
			}
		})
	}
}

// wantEnds moves the clock to the end of a key and looks on both sides of it.
func (w *world) wantEnds(t *testing.T, name, text string, after time.Duration) {
	t.Helper()
	if after > w.clock.Now().Sub(epoch) {
		w.clock.sinceEpoch.Store(int64(after) - 1)
		if got := w.use(text); got != "" {
			t.Errorf("the %s key, just before its end: got code %q", name, got)
		}
	}
	w.clock.sinceEpoch.Store(max(int64(after), w.clock.sinceEpoch.Load()))
	if got := w.use(text); got != keywright.CodeInvalidToken {
		t.Errorf("the %s key, at its end: got code %q, want %q", name, got, keywright.CodeInvalidToken)
	}
}

func TestRotationKeepsWhatTheKeyStandsFor(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.FirstUse, spec.Description = true, "ci of a/b"
	old := w.issue(t, spec)
	next, err := w.Keys.Rotate(t.Context(), operator, old.ID, keywright.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Keys.Lookup(t.Context(), next.ID)
	if err != nil {
		t.Fatal(err)
	}
	spec.FirstUse = false // only the first of them answers for a redelivery
	want := keywright.KeyInfo{KeySpec: spec, ID: next.ID, Created: epoch}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("new key (-want +got):\n%s", diff)
	}
	if info, err := w.Keys.Lookup(t.Context(), old.ID); err != nil || info.Successor != next.ID {
		t.Errorf("old key: successor %q, %v; want %q", info.Successor, err, next.ID)
	}
	if next.ID == old.ID || next.Text == old.Text {
		t.Error("the new key is the old one")
	}
}

func TestRotateRefuses(t *testing.T) {
	w := newWorld(t)
	parent := store.Record{Kind: "publisher", ID: "p", Data: []byte(`{}`)}
	if err := w.db.Commit(t.Context(), store.Insert(parent)); err != nil {
		t.Fatal(err)
	}
	rotated, replaced, disabled, good := w.issue(t, adminSpec()), w.issue(t, adminSpec()), w.issue(t, adminSpec()), w.issue(t, adminSpec())
	spec := adminSpec()
	spec.Parents = []keywright.Parent{{Key: parent.Key()}}
	orphan := w.issue(t, spec)
	_, err1 := w.Keys.Rotate(t.Context(), operator, rotated.ID, keywright.Rotation{Overlap: time.Hour})
	_, err2 := w.Keys.Rotate(t.Context(), operator, replaced.ID, keywright.Rotation{})
	if err := errors.Join(err1, err2, w.Keys.Disable(t.Context(), operator, disabled.ID), w.change(t, parent.Key(), "")); err != nil {
		t.Fatal(err)
	}
	before := len(w.db.commits(keywright.KindKey))
	for _, tt := range []struct {
		name     string
		id       string
		rotation keywright.Rotation
		want     keywright.Code
	}{
		{"rotated already", rotated.ID, keywright.Rotation{Overlap: time.Hour}, keywright.CodeConflict},
		{"rotated already, without overlap", replaced.ID, keywright.Rotation{}, keywright.CodeNotFound},
		{"disabled", disabled.ID, keywright.Rotation{}, keywright.CodeConflict},
		{"parent gone", orphan.ID, keywright.Rotation{}, keywright.CodeConflict},
		{"unknown", keywright.NewKeyID(), keywright.Rotation{}, keywright.CodeNotFound},
		{"not an id", "x/y", keywright.Rotation{}, keywright.CodeNotFound},
		{"negative overlap", good.ID, keywright.Rotation{Overlap: -1}, keywright.CodeInvalidRequest},
		{"new key expired", good.ID, keywright.Rotation{Expires: epoch}, keywright.CodeInvalidRequest},
	} {
		m, err := w.Keys.Rotate(t.Context(), operator, tt.id, tt.rotation)
		wantCode(t, tt.name, err, tt.want)
		if diff := cmp.Diff(keywright.MintedKey{}, m); diff != "" {
			t.Errorf("%s: a key came with the error:\n%s", tt.name, diff)
		}
	}
	if n := len(w.db.commits(keywright.KindKey)) - before; n != 0 {
		t.Errorf("%d refusals wrote to keys", n)
	}
	w.wantUse(t, "", good.Text)
}

// An end at once is for good, whatever becomes of the clock.
func TestRotatedKeyStaysDeadWhenTheClockGoesBack(t *testing.T) {
	w := newWorld(t)
	old := w.issue(t, adminSpec())
	if _, err := w.Keys.Rotate(t.Context(), operator, old.ID, keywright.Rotation{}); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(-time.Hour)
	w.wantUse(t, keywright.CodeInvalidToken, old.Text)
}

func TestRotationThatAnotherOvertakes(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	here, there := worldOn(t, db, c), worldOn(t, db, c)
	old := here.issue(t, adminSpec())
	var next keywright.MintedKey
	here.db.failWith(func(ctx context.Context, call string, _ []store.Op) (err error) {
		if call == "Commit" {
			next, err = there.Keys.Rotate(ctx, operator, old.ID, keywright.Rotation{Overlap: time.Hour})
		}
		return err
	})
	_, err := here.Keys.Rotate(t.Context(), operator, old.ID, keywright.Rotation{Overlap: time.Hour})
	wantCode(t, "the one that was overtaken", err, keywright.CodeConflict)
	here.db.fault.Store(nil)
	here.wantUse(t, "", old.Text, next.Text)
	if info, err := here.Keys.Lookup(t.Context(), old.ID); err != nil || info.Successor != next.ID {
		t.Errorf("successor %q, %v; want %q", info.Successor, err, next.ID)
	}
	here.settle(t)
}

func TestRacingRotationsHaveOneWinner(t *testing.T) {
	for _, overlap := range []time.Duration{0, time.Hour} {
		c := new(clock)
		db := &store.Memory{Now: c.Now}
		w := worldOn(t, db, c)
		old := w.issue(t, adminSpec())
		var won atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			other := worldOn(t, db, c) // a process of its own
			wg.Go(func() {
				switch m, err := other.Keys.Rotate(t.Context(), operator, old.ID, keywright.Rotation{Overlap: overlap}); {
				case err == nil:
					won.Add(1)
					other.wantUse(t, "", m.Text)
				case keywright.AsError(err).Code != keywright.CodeConflict && keywright.AsError(err).Code != keywright.CodeNotFound:
					t.Errorf("a loser got %v", err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("overlap %v: %d rotations won, want 1", overlap, won.Load())
		}
		keys := 0
		for _, err := range w.Keys.List(t.Context(), "", 0) {
			if keys++; err != nil {
				t.Fatal(err)
			}
		}
		if want := 1 + int(overlap/time.Hour); keys != want {
			t.Errorf("overlap %v: %d keys are left, want %d", overlap, keys, want)
		}
	}
}

// Whoever did not get the answer to a rotation asks again, until the new key is
// used; and only then the old one begins to end.
func TestRotateUntilUsed(t *testing.T) {
	w := newWorld(t)
	end := epoch.Add(10000 * time.Hour)
	old := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "ci", Expires: end})
	again := keywright.Rotation{Overlap: time.Hour, UntilUsed: true}
	var lost keywright.MintedKey
	for i := range 3 {
		m, err := w.Keys.Rotate(t.Context(), keywright.Principal{}, old.ID, again)
		if err != nil {
			t.Fatalf("rotation %d: %v", i, err)
		}
		if i > 0 {
			if _, err := w.Keys.Check(t.Context(), lost.Text); keywright.AsError(err).Code != keywright.CodeInvalidToken {
				t.Errorf("rotation %d: the key of the answer that was lost: %v", i, err)
			}
		}
		lost = m
		w.clock.Advance(1000 * time.Hour)
	}
	for name, text := range map[string]string{"last": lost.Text, "old": old.Text} {
		if info, err := w.Keys.Check(t.Context(), text); err != nil || !info.Expires.Equal(end) {
			t.Errorf("the %s key: expires %v, %v, want %v", name, info.Expires, err, end)
		}
	}
	if _, err := w.Keys.Of("prov").Authenticate(bearer(lost.Text)); err != nil {
		t.Errorf("the last key: %v", err)
	}
	used := w.clock.Now()
	if info, err := w.Keys.Check(t.Context(), old.Text); err != nil || !info.Expires.Equal(used.Add(time.Hour)) {
		t.Errorf("the old key: expires %v, %v, want an hour after the first use of the new one", info.Expires, err)
	}
	refused := func(name, id string, r keywright.Rotation) {
		t.Helper()
		if _, err := w.Keys.Rotate(t.Context(), keywright.Principal{}, id, r); keywright.AsError(err).Code != keywright.CodeConflict {
			t.Errorf("%s: got %v, want a conflict", name, err)
		}
	}
	refused("after the new one was used", old.ID, again)
	refused("at once", old.ID, keywright.Rotation{Overlap: time.Hour})
	w.clock.Advance(time.Hour)
	if _, err := w.Keys.Check(t.Context(), old.Text); err == nil {
		t.Error("the old key works after the overlap")
	}

	plain := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "ci"})
	if _, err := w.Keys.Rotate(t.Context(), keywright.Principal{}, plain.ID, keywright.Rotation{Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}
	refused("when it is not known whether the new one was used", plain.ID, again)

	once := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "ci"})
	m, err := w.Keys.Rotate(t.Context(), keywright.Principal{}, once.ID, keywright.Rotation{UntilUsed: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Keys.Check(t.Context(), once.Text); err != nil {
		t.Errorf("without an overlap, before the first use: %v", err)
	}
	if _, err := w.Keys.Of("prov").Authenticate(bearer(m.Text)); err != nil {
		t.Error(err)
	}
	if _, err := w.Keys.Check(t.Context(), once.Text); err == nil {
		t.Error("without an overlap the old key works after the first use")
	}
}

// A first use and the rotation that ends the key for want of one exclude each
// other, whichever comes first.
func TestFirstUseAgainstRotation(t *testing.T) {
	for range 50 {
		w := newWorld(t)
		old := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "ci"})
		again := keywright.Rotation{Overlap: time.Hour, UntilUsed: true}
		first, err := w.Keys.Rotate(t.Context(), keywright.Principal{}, old.ID, again)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var used, rotated error
		wg.Go(func() { _, used = w.Keys.Of("prov").Authenticate(bearer(first.Text)) })
		wg.Go(func() { _, rotated = w.Keys.Rotate(t.Context(), keywright.Principal{}, old.ID, again) })
		wg.Wait()
		_, err = w.Keys.Check(t.Context(), first.Text)
		if (used == nil) == (rotated == nil) || (used == nil) != (err == nil) {
			t.Fatalf("used: %v; rotated again: %v; the key now: %v", used, rotated, err)
		}
	}
}

func TestSucceedCommitsNothing(t *testing.T) {
	w := newWorld(t)
	old := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "ci"})
	m, ops, err := w.Keys.Succeed(t.Context(), old.ID, keywright.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Keys.Check(t.Context(), m.Text); err == nil {
		t.Error("the new key works before its ops are committed")
	}
	if err := w.Store.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Keys.Check(t.Context(), m.Text); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := w.Keys.Check(t.Context(), old.Text); err == nil {
		t.Error("the old key still works")
	}
	if _, _, err := w.Keys.Succeed(t.Context(), old.ID, keywright.Rotation{}); keywright.AsError(err).Code != keywright.CodeNotFound {
		t.Errorf("an unknown key: %v", err)
	}
}

// Rotations at once go back to each other's keys: one key is left, and whoever
// is refused is told to try again.
func TestRotationsAtOnce(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		old := w.issue(t, keywright.KeySpec{Kind: "prov", Subject: "ci"})
		var mu sync.Mutex
		var made []keywright.MintedKey // guarded by mu
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				m, err := w.Keys.Rotate(t.Context(), keywright.Principal{}, old.ID, keywright.Rotation{Overlap: time.Hour, UntilUsed: true})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made = append(made, m)
				} else if keywright.AsError(err).Code != keywright.CodeUnavailable {
					t.Errorf("got %v, want success, or unavailable", err)
				}
			})
		}
		wg.Wait()
		good := 0
		for _, m := range made {
			if _, err := w.Keys.Check(t.Context(), m.Text); err == nil {
				good++
			}
		}
		if good != 1 {
			t.Errorf("%d of %d keys work, want one", good, len(made))
		}
	}
}
