package keywright_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestLookup(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.Description, spec.Expires = "ci of a/b", epoch.Add(time.Hour)
	m := w.issue(t, spec)
	want := keywright.KeyInfo{KeySpec: spec, ID: m.ID, Created: epoch}
	w.wantInfo(t, want)

	w.clock.Advance(time.Minute)
	w.wantUse(t, "", m.Text)
	w.settle(t)
	want.LastUsed, want.LastUsedFrom = epoch.Add(time.Minute), "192.0.2.1"
	w.wantInfo(t, want)

	if err := w.Keys.Disable(t.Context(), operator, m.ID); err != nil {
		t.Fatal(err)
	}
	want.Disabled = true
	w.wantInfo(t, want)

	w.clock.Advance(time.Hour)
	for name, id := range map[string]string{"expired": m.ID, "unknown": keywright.NewKeyID(), "not an id": "../x", "none": ""} {
		_, err := w.Keys.Lookup(t.Context(), id)
		wantCode(t, name, err, keywright.CodeNotFound)
	}
}

func (w *world) wantInfo(t *testing.T, want keywright.KeyInfo) {
	t.Helper()
	got, err := w.Keys.Lookup(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	var want []string
	for range 5 {
		want = append(want, w.issue(t, adminSpec()).ID)
	}
	slices.Sort(want)
	for _, tt := range []struct {
		after string
		limit int
		want  []string
	}{
		{"", 0, want},
		{"", 2, want[:2]},
		{want[1], 2, want[2:4]},
		{want[4], 0, nil},
	} {
		var got []string
		for info, err := range w.Keys.List(t.Context(), tt.after, tt.limit) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.ID)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("after %q, limit %d (-want +got):\n%s", tt.after, tt.limit, diff)
		}
	}
	for range w.Keys.List(t.Context(), "", 0) {
		break // an early end is no error
	}
}

func TestLookupAllKeepsTheOrder(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.Expires = epoch.Add(time.Minute)
	expired, used, unused := w.issue(t, spec), w.issue(t, adminSpec()), w.issue(t, adminSpec())
	w.clock.Advance(time.Minute)
	w.wantUse(t, "", used.Text)
	w.settle(t)
	ids := []string{used.ID, "", expired.ID, unused.ID, "../x", keywright.NewKeyID(), "\x00", unused.ID, used.ID}
	infos, err := w.Keys.LookupAll(t.Context(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	info := keywright.KeyInfo{KeySpec: adminSpec(), ID: unused.ID, Created: epoch}
	infoOfUsed := info
	infoOfUsed.ID, infoOfUsed.LastUsed, infoOfUsed.LastUsedFrom = used.ID, epoch.Add(time.Minute), "192.0.2.1"
	want := []keywright.KeyInfo{infoOfUsed, {}, {}, info, {}, {}, {}, info, infoOfUsed}
	if diff := cmp.Diff(want, infos); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// Many keys cost few reads, and none of more records than a store takes.
func TestLookupAllReadsInBatches(t *testing.T) {
	w := newWorld(t)
	ids := make([]string, 300)
	for i := range ids {
		ids[i] = w.issue(t, adminSpec()).ID
	}
	malformed := slices.Repeat([]string{"x"}, 300)
	for _, tt := range []struct {
		name  string
		ids   []string
		reads int64
	}{
		{"none", nil, 0},
		{"no id", malformed, 0},
		{"one", ids[:1], 1},
		{"as many as fit", ids[:128], 1},
		{"one more", ids[:129], 2},
		{"300", ids, 3},
		{"one among 300 that are no ids", slices.Concat(malformed, ids[:1]), 1},
	} {
		before := w.db.calls.Load()
		infos, err := w.Keys.LookupAll(t.Context(), tt.ids...)
		if n := w.db.calls.Load() - before; n != tt.reads || err != nil {
			t.Errorf("%s: asked the store %d times, %v; want %d", tt.name, n, err, tt.reads)
		}
		for i, info := range infos {
			if want := tt.ids[i]; info.ID != want && want != "x" {
				t.Errorf("%s: key %d is %q, want %q", tt.name, i, info.ID, want)
			}
		}
		if len(infos) != len(tt.ids) {
			t.Errorf("%s: %d keys, want %d", tt.name, len(infos), len(tt.ids))
		}
	}
}

func TestListReadsInBatches(t *testing.T) {
	w := newWorld(t)
	uses := make(map[string]time.Time)
	for i := range 513 {
		m := w.issue(t, adminSpec())
		if uses[m.ID] = (time.Time{}); i%100 == 0 {
			w.clock.Advance(time.Second)
			w.wantUse(t, "", m.Text)
			w.settle(t)
			uses[m.ID] = w.clock.Now()
		}
	}
	before := w.db.calls.Load()
	for range w.Keys.List(t.Context(), "", 0) {
		break // within the first batch of three
	}
	if n := w.db.calls.Load() - before; n != 2 {
		t.Errorf("an early end: asked the store %d times, want 2", n)
	}
	for limit, reads := range map[int]int64{0: 1 + 3, 1: 1 + 1, 256: 1 + 1, 257: 1 + 2, 512: 1 + 2} {
		before, n := w.db.calls.Load(), 0
		for info, err := range w.Keys.List(t.Context(), "", limit) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; !info.LastUsed.Equal(uses[info.ID]) {
				t.Errorf("key %s was last used %v, want %v", info.ID, info.LastUsed, uses[info.ID])
			}
		}
		if want := max(limit, 513*(1-min(limit, 1))); n != want {
			t.Errorf("limit %d: %d keys, want %d", limit, n, want)
		}
		if got := w.db.calls.Load() - before; got != reads {
			t.Errorf("limit %d: asked the store %d times, want %d", limit, got, reads)
		}
	}
}

// What cannot be read is our fault, and ends what it is a part of.
func TestDescriptionOfABrokenRecord(t *testing.T) {
	for _, kind := range []string{keywright.KindKey, keywright.KindKeyLast} {
		w := newWorld(t)
		m, other := w.issue(t, adminSpec()), w.issue(t, adminSpec())
		w.wantUse(t, "", m.Text, other.Text)
		w.settle(t)
		for _, id := range []string{m.ID, other.ID} {
			if err := w.change(t, store.Key{Kind: kind, ID: id}, `{"at":1,"hash":1}`); err != nil {
				t.Fatal(err)
			}
		}
		infos, err := w.Keys.LookupAll(t.Context(), m.ID)
		if wantCode(t, kind+": LookupAll", err, keywright.CodeInternal); infos != nil {
			t.Errorf("%s: keys came with the error", kind)
		}
		_, err = w.Keys.Lookup(t.Context(), m.ID)
		wantCode(t, kind+": Lookup", err, keywright.CodeInternal)
		steps := 0
		for _, err := range w.Keys.List(t.Context(), "", 0) {
			steps++
			wantCode(t, kind+": List", err, keywright.CodeInternal)
		}
		if steps != 1 {
			t.Errorf("%s: List yielded %d times, want once", kind, steps)
		}
	}
}
