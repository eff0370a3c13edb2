package keywright_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// No client can tell why its key is refused: status, headers and body are the same.
func TestRefusalsLookAlike(t *testing.T) {
	w := newWorld(t)
	stranger := newWorld(t)
	parent := store.Record{Kind: "publisher", ID: "p", Data: []byte(`{}`)}
	suspended := store.Record{Kind: "publisher", ID: "q", Data: []byte(`{}`)}
	if err := w.db.Commit(t.Context(), store.Insert(parent), store.Insert(suspended)); err != nil {
		t.Fatal(err)
	}
	issue := func(edit func(*keywright.KeySpec)) keywright.MintedKey {
		spec := adminSpec()
		edit(&spec)
		return w.issue(t, spec)
	}
	plain := func(*keywright.KeySpec) {}
	expired := issue(func(s *keywright.KeySpec) { s.Expires = epoch.Add(time.Second) })
	disabled, deleted, good := issue(plain), issue(plain), issue(plain)
	rotated := issue(plain)
	orphan := issue(func(s *keywright.KeySpec) { s.Parents = []keywright.Parent{{Key: parent.Key()}} })
	child := issue(func(s *keywright.KeySpec) { s.Parents = []keywright.Parent{{Key: suspended.Key()}} })
	unknown := stranger.issue(t, adminSpec())
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))

	for name, m := range map[string]keywright.MintedKey{"expired": expired, "disabled": disabled, "deleted": deleted, "rotated": rotated, "orphan": orphan, "child": child} {
		if got := ask(t, "GET", url, "Bearer "+m.Text); got.Status != http.StatusOK {
			t.Fatalf("%s, before: got %d %s", name, got.Status, got.Body)
		}
	}
	w.clock.Advance(time.Second)
	if err := errors.Join(
		w.Keys.Disable(t.Context(), operator, disabled.ID),
		w.Keys.Delete(t.Context(), operator, deleted.ID),
		w.change(t, parent.Key(), ""),
		w.change(t, suspended.Key(), `{"disabled":true}`),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Keys.Rotate(t.Context(), operator, rotated.ID, keywright.Rotation{}); err != nil {
		t.Fatal(err)
	}
	want := answer{
		Status: http.StatusUnauthorized,
		Header: http.Header{
			"Www-Authenticate": {`Bearer error="invalid_token"`}, "Cache-Control": {"no-store"},
			"Content-Type": {"application/problem+json"}, "X-Content-Type-Options": {"nosniff"},
		},
		Body: `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"No valid credential","code":"invalid_token"}` + "\n",
	}
	want.Header.Set("Content-Length", fmt.Sprint(len(want.Body)))
	for _, tt := range []struct{ name, text string }{
		{"unknown", unknown.Text},
		{"wrong secret", wrongSecret(t, w, good.ID)},
		{"wrong checksum", wrongChecksum(good.Text)},
		{"one character short", good.Text[:len(good.Text)-1]},
		{"and a suffix (PRV-04)", good.Text + "anything"},
		{"of another prefix", "ck_prov" + strings.TrimPrefix(good.Text, "kw_admin")},
		{"expired", expired.Text},
		{"disabled", disabled.Text},
		{"deleted", deleted.Text},
		{"rotated", rotated.Text},
		{"parent gone", orphan.Text},
		{"parent disabled", child.Text},
	} {
		if diff := cmp.Diff(want, ask(t, "GET", url, "Bearer "+tt.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if n := len(w.events("key.refused")); n != 12 {
		t.Errorf("Audit was told of %d refusals, want 12", n)
	}
}

// change writes a record anew, or deletes it where data is empty.
func (w *world) change(t testing.TB, key store.Key, data string) error {
	t.Helper()
	records, err := w.db.Get(t.Context(), key)
	if err != nil || !records[0].Exists() {
		t.Fatalf("record %v: %v", key, err)
	}
	r := records[0]
	if data == "" {
		return w.db.Commit(t.Context(), store.Delete(r))
	}
	r.Data = []byte(data)
	return w.db.Commit(t.Context(), store.Replace(r))
}

// wrongSecret makes a well-formed key with a known id and another secret.
func wrongSecret(t testing.TB, w *world, id string) string {
	t.Helper()
	text, err := w.Keys.Derive("admin", id, make([]byte, 36))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func wrongChecksum(text string) string {
	last := "0"
	if strings.HasSuffix(text, last) {
		last = "1"
	}
	return text[:len(text)-1] + last
}

func TestAuditNamesTheCause(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	w.use(wrongSecret(t, w, m.ID))
	if err := w.Keys.Disable(t.Context(), operator, m.ID); err != nil {
		t.Fatal(err)
	}
	w.use(m.Text)
	var details []string
	for _, e := range w.events("key.refused") {
		details = append(details, e.Detail)
		if e.Remote != "192.0.2.1" || !e.Time.Equal(epoch) {
			t.Errorf("event from %q at %v, want 192.0.2.1 at %v", e.Remote, e.Time, epoch)
		}
	}
	want := []string{"invalid_token: wrong secret for this key id: " + m.ID, "invalid_token: key is disabled or has expired: " + m.ID}
	if diff := cmp.Diff(want, details); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
}

// PRV-07: what cannot be a key is refused without asking the store.
func TestMalformedKeyNeverTouchesTheStore(t *testing.T) {
	w := newWorld(t)
	good := w.issue(t, adminSpec()).Text
	before := w.db.calls.Load()
	for name, text := range map[string]string{
		"wrong checksum":      wrongChecksum(good),
		"wrong alphabet":      good[:len(good)-1] + "~",
		"one character short": good[:len(good)-1],
		"one character long":  good + "0",
		"only the prefix":     "kw_admin_",
		"lower case":          strings.ToLower(good),
		"a mebibyte":          "kw_admin_" + strings.Repeat("0", 1<<20),
		"somebody else's":     "ghp_000000000000000000000000000000000000",
		"nothing":             "",
	} {
		if got := w.use(text); got != keywright.CodeInvalidToken {
			t.Errorf("%s: got code %q, want %q", name, got, keywright.CodeInvalidToken)
		}
	}
	if n := w.db.calls.Load() - before; n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

// PRV-09: the price of a bad key does not grow with the number of keys.
func TestBadKeyCostsOneRead(t *testing.T) {
	w := newWorld(t)
	var last keywright.MintedKey
	for range 1000 {
		last = w.issue(t, adminSpec())
	}
	stranger := newWorld(t).issue(t, adminSpec())
	for name, text := range map[string]string{"unknown": stranger.Text, "wrong secret": wrongSecret(t, w, last.ID)} {
		before := w.db.calls.Load()
		w.wantUse(t, keywright.CodeInvalidToken, text)
		if n := w.db.calls.Load() - before; n != 1 {
			t.Errorf("%s: the store was asked %d times, want 1", name, n)
		}
	}
}

func TestParentDecidesAtOnce(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	for _, id := range []string{"p", "q"} {
		parent := store.Record{Kind: "publisher", ID: id, Data: []byte(`{"name":"x"}`)}
		if err := w.db.Commit(t.Context(), store.Insert(parent)); err != nil {
			t.Fatal(err)
		}
		spec.Parents = append(spec.Parents, keywright.Parent{Key: parent.Key()})
	}
	for _, parent := range spec.Parents {
		m := w.issue(t, spec)
		w.wantUse(t, "", m.Text)
		w.parentDecides(t, parent.Key, m.Text)
		if err := w.db.Commit(t.Context(), store.Insert(store.Record{Kind: parent.Kind, ID: parent.ID, Data: []byte("{}")})); err != nil {
			t.Fatal(err)
		}
	}
}

// parentDecides changes the parent of a key and asks each time whether the key works.
func (w *world) parentDecides(t *testing.T, parent store.Key, text string) {
	t.Helper()
	for _, s := range []struct {
		data string
		want keywright.Code
	}{
		{`{"disabled":true}`, keywright.CodeInvalidToken},
		{`{"disabled":false}`, ""},
		{`not JSON`, keywright.CodeInternal},
		{`{}`, ""},
		{`{"disabled":"yes"}`, keywright.CodeInternal},
		{`[]`, keywright.CodeInternal},
		{`{"disabled":null}`, ""},
		{`{"instance":"other"}`, ""},
		{"", keywright.CodeInvalidToken},
	} {
		if err := w.change(t, parent, s.data); err != nil {
			t.Fatal(err)
		}
		if got := w.use(text); got != s.want {
			t.Errorf("parent %s %q: got code %q, want %q", parent.ID, s.data, got, s.want)
		}
	}
}

// A parent that is made anew under the same key is another one.
func TestParentOfAnotherInstance(t *testing.T) {
	w := newWorld(t)
	parent := store.Record{Kind: "publisher", ID: "p", Data: []byte(`{"instance":"first"}`)}
	if err := w.db.Commit(t.Context(), store.Insert(parent)); err != nil {
		t.Fatal(err)
	}
	spec := adminSpec()
	spec.Parents = []keywright.Parent{{Key: parent.Key(), Instance: "first"}}
	m := w.issue(t, spec)
	w.wantUse(t, "", m.Text)
	for _, s := range []struct {
		data string
		want keywright.Code
	}{
		{`{"instance":"second"}`, keywright.CodeInvalidToken},
		{`{"instance":"first","more":1}`, ""},
		{`{}`, keywright.CodeInvalidToken},
		{`{"instance":1}`, keywright.CodeInternal},
	} {
		if err := w.change(t, parent.Key(), s.data); err != nil {
			t.Fatal(err)
		}
		if got := w.use(m.Text); got != s.want {
			t.Errorf("parent %s: got code %q, want %q", s.data, got, s.want)
		}
	}
}

func TestKeyExpiresAtTheInstant(t *testing.T) {
	w := newWorld(t)
	spec := adminSpec()
	spec.Expires = epoch.Add(time.Minute)
	m := w.issue(t, spec)
	// The host's clock alone must do: this store's is late.
	late := worldOn(t, &store.Memory{Now: func() time.Time { return epoch }}, w.clock)
	m2 := late.issue(t, spec)
	w.clock.Advance(time.Minute - time.Nanosecond)
	w.wantUse(t, "", m.Text)
	late.wantUse(t, "", m2.Text)
	w.clock.Advance(time.Nanosecond)
	w.wantUse(t, keywright.CodeInvalidToken, m.Text)
	late.wantUse(t, keywright.CodeInvalidToken, m2.Text)
}

// STO-11: a store in trouble is 503, never 401 and never admission.
func TestStoreInTroubleIsUnavailable(t *testing.T) {
	trouble := errors.New("disk on fire")
	w := newWorld(t)
	spec := adminSpec()
	spec.FirstUse = true
	seen, fresh := w.issue(t, adminSpec()), w.issue(t, spec)
	w.wantUse(t, "", seen.Text)
	url := serve(t, keywright.Require(w.Keys.Of("admin"))(whoami))
	for _, call := range []string{"Get", "Commit"} {
		w.db.failOn(call, trouble)
		for name, text := range map[string]string{"seen before": seen.Text, "not seen": fresh.Text} {
			want := http.StatusServiceUnavailable
			if call == "Commit" && name == "seen before" {
				want = http.StatusOK // it writes nothing that the request depends on
			}
			got := ask(t, "GET", url, "Bearer "+text)
			if got.Status != want || strings.Contains(got.Body, "fire") {
				t.Errorf("%s fails, %s: got %d %s, want %d", call, name, got.Status, got.Body, want)
			}
		}
	}
	if !strings.Contains(w.log.String(), "disk on fire") {
		t.Error("the operator's log does not name the trouble")
	}
	w.db.fault.Store(nil)
	w.wantUse(t, "", seen.Text, fresh.Text)
}

func TestBrokenRecordIsOurFault(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	if err := w.change(t, store.Key{Kind: keywright.KindKey, ID: m.ID}, `{"hash":`); err != nil {
		t.Fatal(err)
	}
	w.wantUse(t, keywright.CodeInternal, m.Text)
}
