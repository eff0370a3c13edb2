package keywright_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// A key proves itself before it exists, and after it has ended.
func TestProvesWithoutTheStore(t *testing.T) {
	for name, hash := range hashes {
		w := newWorld(t, func(c *keywright.HostConfig) { c.Hash = hash })
		w.db.failWith(func(_ context.Context, call string, _ []store.Op) error { return errors.New("asked for " + call) })
		spec := adminSpec()
		spec.Parents, spec.Expires = []keywright.Parent{p("gone")}, epoch.Add(time.Minute)
		m, err := w.Keys.Mint(spec)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if ok, err := w.Keys.Proves(t.Context(), m.Op.Record, m.Text); !ok || err != nil {
				t.Errorf("%s, at %v: got %v, %v; want true", name, w.clock.Now(), ok, err)
			}
			w.clock.Advance(time.Hour)
		}
		if ok, err := w.Keys.Proves(t.Context(), m.Op.Record, wrongSecret(t, w, m.ID)); ok || err != nil {
			t.Errorf("%s, wrong secret: got %v, %v; want false", name, ok, err)
		}
		if n := w.db.calls.Load(); n != 0 {
			t.Errorf("%s: asked the store %d times", name, n)
		}
	}
}

func TestProvesRefuses(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	w := worldOn(t, db, c)
	swapped := worldOn(t, db, c, func(hc *keywright.HostConfig) {
		hc.Kinds = map[string]string{"admin": "ck_prov", "prov": "kw_admin"}
	})
	m, other := w.issue(t, adminSpec()), w.issue(t, adminSpec())
	good := m.Op.Record
	renamed, misfiled, broken := good, good, good
	renamed.ID = other.ID
	misfiled.Kind = keywright.KindKeyFirst
	broken.Data = []byte(`{"hash":`)
	_, ops, err := w.Keys.MintImported(adminSpec(), quayText)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		keys *keywright.Keys
		r    store.Record
		text string
		want keywright.Code
	}{
		{"another key", w.Keys, good, other.Text, ""},
		{"a record of another id", w.Keys, renamed, m.Text, ""},
		{"a prefix of another kind", swapped.Keys, good, m.Text, ""},
		{"wrong checksum", w.Keys, good, wrongChecksum(m.Text), ""},
		{"one character long", w.Keys, good, m.Text + "0", ""},
		{"without its prefix", w.Keys, good, strings.TrimPrefix(m.Text, "kw_admin_"), ""},
		{"nothing", w.Keys, good, "", ""},
		{"no record", w.Keys, store.Record{}, m.Text, ""},
		{"no record and no text", w.Keys, store.Record{}, "", ""},
		{"an imported text", w.Keys, ops[0].Record, quayText, ""},
		{"a record of another kind", w.Keys, misfiled, m.Text, keywright.CodeInternal},
		{"a record that is not JSON", w.Keys, broken, m.Text, keywright.CodeInternal},
	} {
		if ok, err := tt.keys.Proves(t.Context(), tt.r, tt.text); ok || code(err) != tt.want {
			t.Errorf("%s: got %v, %v; want false and code %q", tt.name, ok, err, tt.want)
		}
	}
}

// What Standing returns holds as long as the key is accepted, and no longer.
func TestStanding(t *testing.T) {
	parent := store.Record{Kind: "thing", ID: "one", Data: []byte("{}")}
	for name, tt := range map[string]struct {
		end func(t *testing.T, w *world, id string)
	}{
		"disabled": {end: func(t *testing.T, w *world, id string) {
			mustDo(t, w.Keys.Disable(t.Context(), keywright.Principal{}, id))
		}},
		"deleted": {end: func(t *testing.T, w *world, id string) {
			mustDo(t, w.Keys.Delete(t.Context(), keywright.Principal{}, id))
		}},
		"expired": {end: func(_ *testing.T, w *world, _ string) { w.clock.Advance(time.Minute) }},
		"a parent disabled": {end: func(t *testing.T, w *world, _ string) {
			r := parent
			r.Data = []byte(`{"disabled":true}`)
			mustDo(t, w.db.Commit(t.Context(), store.Put(r)))
		}},
		"a parent gone": {end: func(t *testing.T, w *world, _ string) {
			records, err := w.db.Get(t.Context(), parent.Key())
			mustDo(t, err)
			mustDo(t, w.db.Commit(t.Context(), store.Delete(records[0])))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			mustDo(t, w.db.Commit(t.Context(), store.Insert(parent)))
			spec := adminSpec()
			spec.Parents, spec.Expires = []keywright.Parent{{Key: parent.Key()}}, epoch.Add(time.Minute)
			m := w.issue(t, spec)
			ops, err := w.Keys.Standing(t.Context(), m.ID)
			mustDo(t, err)
			mustDo(t, w.db.Commit(t.Context(), ops...))
			tt.end(t, w, m.ID)
			if err := w.db.Commit(t.Context(), ops...); !errors.Is(err, store.ErrConflict) {
				t.Errorf("committed: %v, want a conflict", err)
			}
			_, err = w.Keys.Standing(t.Context(), m.ID)
			_, want := w.Keys.Check(t.Context(), m.Text)
			if err == nil || want == nil || err.Error() != want.Error() || keywright.AsError(err).Code != keywright.CodeInvalidToken {
				t.Errorf("got %v, want that of Check, %v", err, want)
			}
		})
	}
	w := newWorld(t)
	for _, id := range []string{"", "x", keywright.NewKeyID(), "../x"} {
		if _, err := w.Keys.Standing(t.Context(), id); keywright.AsError(err).Code != keywright.CodeInvalidToken {
			t.Errorf("%q: %v", id, err)
		}
	}
	m := w.issue(t, adminSpec())
	if ops, err := w.Keys.Standing(t.Context(), m.ID); err != nil || len(ops) != 1 {
		t.Errorf("a key without parents: %v, %v", ops, err)
	}
	w.db.failWith(func(context.Context, string, []store.Op) error { return errors.New("down") })
	if _, err := w.Keys.Standing(t.Context(), m.ID); keywright.AsError(err).Code != keywright.CodeUnavailable {
		t.Errorf("of a store that is down: %v", err)
	}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
