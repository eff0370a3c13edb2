package keywright_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// Keys as ChallengeCtl and Quay make them.
const (
	challengeText = "k3Jq_8Zs-1vXw0RtYbN5mC7dLfGhPaQe2UoTiSxV4zK6yBnM9cWlDjErHgFuAp-Z"
	quayText      = "Zr8KpW2mXqLs5TvYb1NcJdHf9GuAeRo7SiCxV3zQ"
)

func imports(c *keywright.HostConfig) { c.ImportedKeys = true }

// importKey imports text and returns the key's id.
func (w *world) importKey(t testing.TB, spec keywright.KeySpec, text string) string {
	t.Helper()
	id, ops, err := w.Keys.MintImported(spec, text)
	if err == nil {
		err = w.Commit(t.Context(), keywright.Event{Name: "imported"}, ops...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// indexKey is where the record is that finds the imported key of this text.
func indexKey(text string) store.Key {
	return store.Key{Kind: keywright.KindKeyImported, ID: fmt.Sprintf("%x", sha256.Sum256([]byte(text)))}
}

// exists reports whether there is a record.
func (w *world) exists(t testing.TB, key store.Key) bool {
	t.Helper()
	records, err := w.db.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return records[0].Exists()
}

func TestImportedKeyOpensItsRoute(t *testing.T) {
	w := newWorld(t, imports)
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))
	for name, text := range map[string]string{
		"of ChallengeCtl": challengeText, "of Quay": quayText, "of 32 characters": strings.Repeat("a", 32),
		"of 256 characters": strings.Repeat("Z9_-", 64), "almost like a prefix": "kw_adminx" + quayText, "like part of a prefix": "kw_" + quayText,
	} {
		id := w.importKey(t, adminSpec(), text)
		for _, scheme := range []string{"Bearer ", "Key "} {
			if got := ask(t, "GET", url, scheme+text); got.Status != http.StatusOK || got.Body != "ci "+id {
				t.Errorf("%s, %s: got %d %q, want 200 %q", name, scheme, got.Status, got.Body, "ci "+id)
			}
		}
		want := keywright.KeyInfo{KeySpec: adminSpec(), ID: id, Created: epoch}
		check, err1 := w.Keys.Check(t.Context(), text)
		find, err2 := w.Keys.Find(t.Context(), text)
		if diff := cmp.Diff([]keywright.KeyInfo{want, want}, []keywright.KeyInfo{check, find}); diff != "" || err1 != nil || err2 != nil {
			t.Errorf("%s: %v, %v; Check and Find (-want +got):\n%s", name, err1, err2, diff)
		}
		if id, ok := w.Keys.ID(text); id != "" || ok {
			t.Errorf("%s: ID is %q, %v; want none", name, id, ok)
		}
	}
}

// The store is asked for the index and for the key, every time.
func TestImportedKeyCostsTwoReads(t *testing.T) {
	w := newWorld(t, imports)
	w.importKey(t, adminSpec(), quayText)
	w.wantUse(t, "", quayText)
	w.settle(t)
	before := w.db.calls.Load()
	w.wantUse(t, "", quayText, quayText, quayText)
	if n := w.db.calls.Load() - before; n != 6 {
		t.Errorf("3 requests asked the store %d times, want 6", n)
	}
}

// A migration imports before it lets the keys in.
func TestImportedKeysAreRefusedUnlessAskedFor(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	off, on := worldOn(t, db, c), worldOn(t, db, c, imports)
	off.importKey(t, adminSpec(), quayText)
	before := off.db.calls.Load()
	if _, err := off.Keys.Of("admin").Authenticate(bearer(quayText)); err != keywright.ErrNoCredential {
		t.Errorf("off: got %v, want ErrNoCredential", err)
	}
	_, err := off.Keys.Check(t.Context(), quayText)
	wantCode(t, "off: Check", err, keywright.CodeInvalidToken)
	_, err = off.Keys.Find(t.Context(), quayText)
	wantCode(t, "off: Find", err, keywright.CodeInvalidToken)
	if n := off.db.calls.Load() - before; n != 0 {
		t.Errorf("off: the store was asked %d times", n)
	}
	on.wantUse(t, "", quayText)
	on.settle(t)
}

func TestImportedKeyIsAKeyLikeOthers(t *testing.T) {
	w := newWorld(t, imports)
	parent := store.Record{Kind: "publisher", ID: "p", Data: []byte(`{}`)}
	if err := w.db.Commit(t.Context(), store.Insert(parent)); err != nil {
		t.Fatal(err)
	}
	spec := adminSpec()
	spec.Parents, spec.FirstUse, spec.Expires = []keywright.Parent{{Key: parent.Key()}}, true, epoch.Add(time.Hour)
	id := w.importKey(t, spec, quayText)
	_, err := w.Keys.Of("prov").Authenticate(bearer(quayText))
	wantCode(t, "a route for another kind", err, keywright.CodeInsufficientScope)
	if info, err := w.Keys.Check(t.Context(), quayText); err != nil || info.Used {
		t.Errorf("before its first use: used %v, %v", info.Used, err)
	}
	w.wantUse(t, "", quayText)
	w.settle(t)
	if info, err := w.Keys.Check(t.Context(), quayText); err != nil || !info.Used {
		t.Errorf("after its first use: used %v, %v", info.Used, err)
	}
	w.wantInfo(t, keywright.KeyInfo{KeySpec: spec, ID: id, Created: epoch, LastUsed: epoch, LastUsedFrom: "192.0.2.1"})
	for _, s := range []struct {
		name string
		do   func() error
		want keywright.Code
	}{
		{"parent disabled", func() error { return w.change(t, parent.Key(), `{"disabled":true}`) }, keywright.CodeInvalidToken},
		{"parent enabled", func() error { return w.change(t, parent.Key(), `{}`) }, ""},
		{"disabled", func() error { return w.Keys.Disable(t.Context(), operator, id) }, keywright.CodeInvalidToken},
		{"enabled", func() error { return w.Keys.Enable(t.Context(), operator, id) }, ""},
		{"before its end", func() error { w.clock.Advance(time.Hour - 1); return nil }, ""},
		{"at its end", func() error { w.clock.Advance(1); return nil }, keywright.CodeInvalidToken},
	} {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		if got := w.use(quayText); got != s.want {
			t.Errorf("%s: got code %q, want %q", s.name, got, s.want)
		}
		w.settle(t)
	}
	if w.exists(t, indexKey(quayText)) {
		t.Error("the index outlives the key")
	}
}

func TestRotationMakesANormalKeyOfAnImportedOne(t *testing.T) {
	for _, overlap := range []time.Duration{0, time.Hour} {
		w := newWorld(t, imports)
		id := w.importKey(t, adminSpec(), quayText)
		next, err := w.Keys.Rotate(t.Context(), operator, id, keywright.Rotation{Overlap: overlap})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := w.Keys.ID(next.Text); got != next.ID || !ok {
			t.Errorf("overlap %v: ID of the new key is %q, %v", overlap, got, ok)
		}
		w.wantUse(t, "", next.Text)
		w.wantEnds(t, "imported", quayText, overlap)
		w.wantUse(t, "", next.Text)
		// What was rotated away does not come back with another import.
		_, ops, err := w.Keys.MintImported(adminSpec(), quayText)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), keywright.Event{Name: "imported"}, ops...); !errors.Is(err, store.ErrExists) {
			t.Errorf("overlap %v: imported again: got %v, want ErrExists", overlap, err)
		}
		w.settle(t)
	}
}

func TestDeletedKeyCanBeImportedAgain(t *testing.T) {
	w := newWorld(t, imports)
	id := w.importKey(t, adminSpec(), quayText)
	other := w.importKey(t, adminSpec(), challengeText)
	w.wantUse(t, "", quayText)
	if err := w.Keys.Delete(t.Context(), operator, id); err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, keywright.CodeInvalidToken, quayText)
	if w.exists(t, indexKey(quayText)) || !w.exists(t, indexKey(challengeText)) {
		t.Error("Delete left the index, or took another's")
	}
	if again := w.importKey(t, adminSpec(), quayText); again == id || again == other {
		t.Error("the key imported again has an id that was used")
	}
	w.wantUse(t, "", quayText, challengeText)
	w.settle(t)
}

// A key whose index is gone, by hand perhaps, can be deleted all the same.
func TestDeleteWithoutTheIndex(t *testing.T) {
	w := newWorld(t, imports)
	id := w.importKey(t, adminSpec(), quayText)
	if err := w.change(t, indexKey(quayText), ""); err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, keywright.CodeInvalidToken, quayText)
	if err := w.Keys.Delete(t.Context(), operator, id); err != nil {
		t.Fatal(err)
	}
	if w.exists(t, store.Key{Kind: keywright.KindKey, ID: id}) {
		t.Error("the key still stands")
	}
}

func TestDeleteOfAnImportedKeyInTrouble(t *testing.T) {
	w := newWorld(t, imports)
	id := w.importKey(t, adminSpec(), quayText)
	gets := 0
	w.db.failWith(func(_ context.Context, call string, _ []store.Op) error {
		if gets++; call == "Get" && gets == 2 { // for the index
			return errors.New("disk on fire")
		}
		return nil
	})
	wantCode(t, "delete", w.Keys.Delete(t.Context(), operator, id), keywright.CodeUnavailable)
	w.wantUse(t, "", quayText)
	w.settle(t)
}

func TestRacingImportsOfOneTextHaveOneWinner(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		w := worldOn(t, db, c, imports) // a process of its own
		wg.Go(func() {
			_, ops, err := w.Keys.MintImported(adminSpec(), quayText)
			if err == nil {
				err = w.Commit(t.Context(), keywright.Event{Name: "imported"}, ops...)
			}
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, store.ErrExists) {
				t.Errorf("a loser got %v, want ErrExists", err)
			}
		})
	}
	wg.Wait()
	keys := 0
	for range worldOn(t, db, c).Keys.List(t.Context(), "", 0) {
		keys++
	}
	if won.Load() != 1 || keys != 1 {
		t.Errorf("%d imports won and %d keys stand, want 1 and 1", won.Load(), keys)
	}
}

// The hash of an imported key is renewed as that of others, and its index is
// still known to it.
func TestHashOfAnImportedKeyIsRenewed(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	for name, hash := range hashes {
		old, now := worldOn(t, db, c), worldOn(t, db, c, imports, func(hc *keywright.HostConfig) { hc.Hash = hash })
		id := old.importKey(t, adminSpec(), quayText)
		now.wantUse(t, "", quayText)
		now.settle(t)
		if got, _, _ := strings.Cut(name, " "); !strings.Contains(now.method(t, id), map[string]string{"pepper": "hmac"}[got]) {
			t.Errorf("%s: stored with %q", name, now.method(t, id))
		}
		now.wantUse(t, "", quayText)
		if err := now.Keys.Delete(t.Context(), operator, id); err != nil || now.exists(t, indexKey(quayText)) {
			t.Errorf("%s: deleted with %v, or the index stayed", name, err)
		}
		now.settle(t)
	}
}
