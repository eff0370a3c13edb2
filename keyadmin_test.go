package keywright_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestIssueRefuses(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*keywright.KeySpec){
		"a parent that no store holds": func(s *keywright.KeySpec) {
			s.Parents = []keywright.Parent{{Key: store.Key{Kind: "publisher", ID: "\x00"}}}
		},
		"one parent twice":              func(s *keywright.KeySpec) { s.Parents = []keywright.Parent{p("p"), p("p")} },
		"five parents":                  func(s *keywright.KeySpec) { s.Parents = fiveParents },
		"half a parent":                 func(s *keywright.KeySpec) { s.Parents = []keywright.Parent{{Key: store.Key{Kind: "publisher"}}} },
		"a description of 2 MiB":        func(s *keywright.KeySpec) { s.Description = strings.Repeat("d", 2<<20) },
		"a kind that is not configured": func(s *keywright.KeySpec) { s.Kind = "other" },
		"no kind":                       func(s *keywright.KeySpec) { s.Kind = "" },
		"no subject":                    func(s *keywright.KeySpec) { s.Subject = "" },
		"expired":                       func(s *keywright.KeySpec) { s.Expires = epoch.Add(-1) },
		"expires now":                   func(s *keywright.KeySpec) { s.Expires = epoch },
		"no such parent": func(s *keywright.KeySpec) {
			s.Parents = []keywright.Parent{{Key: store.Key{Kind: "publisher", ID: "p"}}}
		},
	} {
		spec := adminSpec()
		edit(&spec)
		m, err := w.Keys.Issue(t.Context(), operator, spec)
		want := keywright.CodeInvalidRequest
		if name == "no such parent" {
			want = keywright.CodeConflict
		}
		if wantCode(t, name, err, want); m.Text != "" {
			t.Errorf("%s: a key came with the error", name)
		}
	}
	if n := len(w.db.commits(keywright.KindKey)); n != 0 {
		t.Errorf("%d keys were written", n)
	}
}

// The parent may go between the moment when it is read and the Commit.
func TestIssueUnderAParentThatGoes(t *testing.T) {
	w := newWorld(t)
	parent := store.Record{Kind: "publisher", ID: "p", Data: []byte(`{}`)}
	if err := w.db.Commit(t.Context(), store.Insert(parent)); err != nil {
		t.Fatal(err)
	}
	w.db.failWith(func(ctx context.Context, call string, ops []store.Op) error {
		if call != "Commit" {
			return nil
		}
		w.db.fault.Store(nil)
		return w.change(t, parent.Key(), "")
	})
	spec := adminSpec()
	spec.Parents = []keywright.Parent{{Key: parent.Key()}}
	_, err := w.Keys.Issue(t.Context(), operator, spec)
	wantCode(t, "issue", err, keywright.CodeConflict)
}

func TestMintedKeyExistsOnceCommitted(t *testing.T) {
	w := newWorld(t)
	m, err := w.Keys.Mint(adminSpec())
	if err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, keywright.CodeInvalidToken, m.Text)
	if err := w.Commit(t.Context(), keywright.Event{Name: "made"}, m.Op); err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, "", m.Text)
}

func TestDerivedKeyCanBeMadeAgain(t *testing.T) {
	w := newWorld(t)
	entropy := bytes.Repeat([]byte{7}, 36)
	id := keywright.NewKeyID()
	text, err1 := w.Keys.Derive("admin", id, entropy)
	again, err2 := w.Keys.Derive("admin", id, bytes.Clone(entropy))
	m, err3 := w.Keys.MintDerived(adminSpec(), text)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if text != again || m.Text != text || m.ID != id {
		t.Error("the key made again is another one")
	}
	if err := w.Commit(t.Context(), keywright.Event{Name: "made"}, m.Op); err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, "", again)
}

func TestDeriveRefuses(t *testing.T) {
	w := newWorld(t)
	entropy := make([]byte, 36)
	for _, tt := range []struct {
		name, kind, id string
		entropy        []byte
	}{
		{"a kind that is not configured", "other", keywright.NewKeyID(), entropy},
		{"no id", "admin", "", entropy},
		{"an id with a slash", "admin", "0123456789A/", entropy},
		{"35 bytes of entropy", "admin", keywright.NewKeyID(), entropy[:35]},
	} {
		if text, err := w.Keys.Derive(tt.kind, tt.id, tt.entropy); err == nil || text != "" {
			t.Errorf("%s: derived", tt.name)
		}
	}
	prov, err := w.Keys.Derive("prov", keywright.NewKeyID(), entropy)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"the text of another kind": prov, "no key": "x", "a wrong checksum": wrongChecksum(prov)} {
		if m, err := w.Keys.MintDerived(adminSpec(), text); err == nil || m.Text != "" {
			t.Errorf("%s: minted", name)
		}
	}
}

func TestSetDisabledTwiceIsOneChange(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	for range 2 {
		if err := w.Keys.Disable(t.Context(), operator, m.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.wantUse(t, keywright.CodeInvalidToken, m.Text)
	for range 2 {
		if err := w.Keys.Enable(t.Context(), operator, m.ID); err != nil {
			t.Fatal(err)
		}
	}
	w.wantUse(t, "", m.Text)
	if d, e := len(w.events("key.disabled")), len(w.events("key.enabled")); d != 1 || e != 1 {
		t.Errorf("%d and %d events, want 1 and 1", d, e)
	}
}

// A change that others overtake is tried again, and given up as unavailable.
func TestChangeAgainstOthers(t *testing.T) {
	for _, tt := range []struct {
		others int
		want   keywright.Code
	}{{2, ""}, {3, keywright.CodeUnavailable}} {
		w := newWorld(t)
		m := w.issue(t, adminSpec())
		left := tt.others
		w.db.failWith(func(_ context.Context, call string, _ []store.Op) error {
			if call == "Commit" && left > 0 {
				left--
				return &store.OpError{Err: store.ErrConflict}
			}
			return nil
		})
		err := w.Keys.Disable(t.Context(), operator, m.ID)
		if got := code(err); got != tt.want {
			t.Errorf("%d others: got %v, want code %q", tt.others, err, tt.want)
		}
	}
}

func code(err error) keywright.Code {
	if err == nil {
		return ""
	}
	return keywright.AsError(err).Code
}

// STO-11, for the calls of an operator.
func TestAdministrationOfAStoreInTrouble(t *testing.T) {
	trouble := errors.New("disk on fire")
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	calls := map[string]func() error{
		"Issue":     func() error { _, err := w.Keys.Issue(t.Context(), operator, adminSpec()); return err },
		"Lookup":    func() error { _, err := w.Keys.Lookup(t.Context(), m.ID); return err },
		"LookupAll": func() error { _, err := w.Keys.LookupAll(t.Context(), m.ID); return err },
		"Rotate":    func() error { _, err := w.Keys.Rotate(t.Context(), operator, m.ID, keywright.Rotation{}); return err },
		"Disable":   func() error { return w.Keys.Disable(t.Context(), operator, m.ID) },
		"Delete":    func() error { return w.Keys.Delete(t.Context(), operator, m.ID) },
		"List": func() error {
			for _, err := range w.Keys.List(t.Context(), "", 0) {
				return err
			}
			return nil
		},
		"Events": func() error {
			for _, err := range w.Events(t.Context(), "") {
				return err
			}
			return nil
		},
	}
	for _, tt := range []struct {
		fault string
		calls []string
	}{
		{"Get", []string{"Lookup", "LookupAll", "Rotate", "Disable", "Delete", "List"}},
		{"List", []string{"List", "Events"}},
		{"Commit", []string{"Issue", "Rotate", "Disable", "Delete"}},
	} {
		w.db.failOn(tt.fault, trouble)
		for _, call := range tt.calls {
			err := calls[call]()
			wantCode(t, tt.fault+" fails, "+call, err, keywright.CodeUnavailable)
			if !errors.Is(err, trouble) {
				t.Errorf("%s fails, %s: %v does not wrap the cause", tt.fault, call, err)
			}
		}
	}
	w.db.fault.Store(nil)
	w.wantUse(t, "", m.Text)
}

var fiveParents = []keywright.Parent{p("1"), p("2"), p("3"), p("4"), p("5")}

func p(id string) keywright.Parent { return keywright.Parent{Key: store.Key{Kind: "p", ID: id}} }

// Deletion is what Delete commits, and leaves no marker of a first use.
func TestDeletionLeavesNothing(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.FirstUse = true
	m := w.issue(t, spec)
	w.wantUse(t, "", m.Text)
	ops, err := w.Keys.Deletion(t.Context(), m.ID)
	if err != nil || len(ops) != 2 {
		t.Fatalf("%d ops, %v", len(ops), err)
	}
	if err := w.Store.Commit(t.Context(), ops...); err != nil {
		t.Fatal(err)
	}
	records, err := w.Store.Get(t.Context(), store.Key{Kind: keywright.KindKey, ID: m.ID}, store.Key{Kind: keywright.KindKeyFirst, ID: m.ID})
	if err != nil || records[0].Exists() || records[1].Exists() {
		t.Errorf("left: %v, %v", records, err)
	}
	for _, id := range []string{m.ID, "no id"} {
		if ops, err := w.Keys.Deletion(t.Context(), id); err != nil || ops != nil {
			t.Errorf("%s: %v, %v", id, ops, err)
		}
	}
	w.settle(t)
}
