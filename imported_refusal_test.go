package keywright_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// What cannot be an imported key is refused without asking the store.
func TestHostileTextsAreNoImportedKeys(t *testing.T) {
	w := newWorld(t, imports)
	good := w.issue(t, adminSpec()).Text
	w.importKey(t, adminSpec(), quayText)
	const notOurs, invalid, two = keywright.Code(""), keywright.CodeInvalidToken, keywright.CodeInvalidRequest
	for _, tt := range []struct {
		name, text string
		want       keywright.Code
	}{
		{"31 characters", strings.Repeat("a", 31), notOurs},
		{"257 characters", strings.Repeat("a", 257), notOurs},
		{"8 KiB", strings.Repeat("a", 8<<10), notOurs},
		{"a mebibyte", strings.Repeat("a", 1<<20), notOurs},
		{"a dot", quayText + ".", notOurs},
		{"a plus", quayText + "+", notOurs},
		{"a slash", "/" + quayText, notOurs},
		{"a tilde", quayText + "~", notOurs},
		{"padding", quayText + "=", notOurs},
		{"a JWT", quayText + "." + quayText + "." + quayText, notOurs},
		{"a comma", quayText + ",", two},
		{"two credentials", quayText + "," + quayText, two},
		{"two credentials in a list", quayText + ", Bearer " + quayText, two},
		{"two words", quayText + " " + quayText, invalid},
		{"NUL", quayText + "\x00", invalid},
		{"NUL within", quayText[:20] + "\x00" + quayText[20:], invalid},
		{"line feed", quayText + "\n", invalid},
		{"not ASCII", quayText + "é", invalid},
		{"quotes", `"` + quayText + `"`, invalid},
		{"our prefix with a bad checksum", wrongChecksum(good), invalid},
		{"our prefix and an imported key", "kw_admin_" + quayText, invalid},
		{"our other prefix", "ck_prov_" + quayText, invalid},
		{"our key and more", good + "x", invalid},
		{"nothing", "", invalid},
	} {
		before := w.db.calls.Load()
		_, err := w.Keys.Of("admin").Authenticate(bearer(tt.text))
		if tt.want == notOurs && err != keywright.ErrNoCredential || tt.want != notOurs && code(err) != tt.want {
			t.Errorf("%s: got %v, want code %q or ErrNoCredential", tt.name, err, tt.want)
		}
		_, err = w.Keys.Check(t.Context(), tt.text)
		wantCode(t, tt.name+": Check", err, keywright.CodeInvalidToken)
		_, err = w.Keys.Find(t.Context(), tt.text)
		wantCode(t, tt.name+": Find", err, keywright.CodeInvalidToken)
		if n := w.db.calls.Load() - before; n != 0 {
			t.Errorf("%s: the store was asked %d times", tt.name, n)
		}
	}
}

// A key of a longer prefix, which begins like ours, is not looked up either.
func TestKeyOfALongerPrefixIsNotImported(t *testing.T) {
	m := newWorld(t).issue(t, adminSpec())
	short := newWorld(t, imports, func(c *keywright.HostConfig) { c.Kinds = map[string]string{"admin": "kw"} })
	if _, err := short.Keys.Of("admin").Authenticate(bearer(m.Text)); err != keywright.ErrNoCredential {
		t.Errorf("got %v, want ErrNoCredential", err)
	}
	if n := short.db.calls.Load(); n != 0 {
		t.Errorf("the store was asked %d times", n)
	}
}

// A text that nobody imported costs one read, and other Authenticators get their turn.
func TestTextThatNobodyImported(t *testing.T) {
	w := newWorld(t, imports)
	w.importKey(t, adminSpec(), quayText)
	before := w.db.calls.Load()
	if _, err := w.Keys.Of("admin").Authenticate(bearer(challengeText)); err != keywright.ErrNoCredential {
		t.Errorf("got %v, want ErrNoCredential", err)
	}
	if n := w.db.calls.Load() - before; n != 1 {
		t.Errorf("the store was asked %d times, want once", n)
	}
	if n := len(w.events("key.refused")); n != 0 {
		t.Errorf("Audit was told of %d refusals of what is not ours", n)
	}
	_, err := w.Keys.Check(t.Context(), challengeText)
	wantCode(t, "Check", err, keywright.CodeInvalidToken)
	_, err = w.Keys.Find(t.Context(), challengeText)
	wantCode(t, "Find", err, keywright.CodeInvalidToken)
	url := serve(t, keywright.Require(w.Keys.Of("admin"), opaque{})(whoami))
	for text, want := range map[string]int{challengeText: http.StatusOK, quayText: http.StatusOK, quayText + "x": http.StatusUnauthorized} {
		if got := ask(t, "GET", url, "Bearer "+text); got.Status != want {
			t.Errorf("beside another Authenticator: got %d, want %d", got.Status, want)
		}
	}
	w.settle(t)
}

// opaque is an Authenticator that knows one token.
type opaque struct{}

func (opaque) Authenticate(r *http.Request) (keywright.Principal, error) {
	if r.Header.Get("Authorization") == "Bearer "+challengeText {
		return keywright.Principal{Subject: "opaque"}, nil
	}
	return keywright.Principal{}, keywright.ErrNoCredential
}

// PRV-03: a client sends one credential, in one place.
func TestImportedKeyBesideAnotherPlace(t *testing.T) {
	w := newWorld(t, imports)
	w.importKey(t, adminSpec(), quayText)
	for text, want := range map[string]keywright.Code{quayText: keywright.CodeInvalidRequest, challengeText: ""} {
		r := bearer(text)
		r.Header.Set("X-API-Key", "x")
		_, err := w.Keys.Of("admin").Authenticate(r)
		if want != "" {
			wantCode(t, "an imported key", err, want)
		} else if err != keywright.ErrNoCredential {
			t.Errorf("what is not ours: got %v, want ErrNoCredential", err)
		}
	}
}

// The index finds a key; it proves nothing.
func TestIndexAloneAdmitsNobody(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	w := worldOn(t, db, c, imports)
	imported, normal := w.importKey(t, adminSpec(), quayText), w.issue(t, adminSpec())
	index := indexKey(challengeText)
	if err := w.db.Commit(t.Context(), store.Insert(store.Record{Kind: index.Kind, ID: index.ID, Data: []byte(`{}`)})); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, data string
		want       keywright.Code
	}{
		{"another imported key", pointTo(imported), keywright.CodeInvalidToken},
		{"a normal key", pointTo(normal.ID), keywright.CodeInvalidToken},
		{"no key", pointTo(keywright.NewKeyID()), keywright.CodeInvalidToken},
		{"no id", pointTo("x"), keywright.CodeInternal},
		{"nothing", `{}`, keywright.CodeInternal},
		{"not JSON", `{"id":`, keywright.CodeInternal},
		{"an id and a number", `{"id":"` + normal.ID + `","id":1}`, keywright.CodeInternal},
	} {
		if err := w.change(t, index, tt.data); err != nil {
			t.Fatal(err)
		}
		// Ours, and bad: no other Authenticator is asked.
		_, err := w.Keys.Of("admin").Authenticate(bearer(challengeText))
		wantCode(t, tt.name, err, tt.want)
		if errors.Is(err, keywright.ErrNoCredential) {
			t.Errorf("%s: the search goes on", tt.name)
		}
		_, err = w.Keys.Check(t.Context(), challengeText)
		wantCode(t, tt.name+": Check", err, tt.want)
		_, err = w.Keys.Find(t.Context(), challengeText)
		wantCode(t, tt.name+": Find", err, tt.want)
	}
	w.wantUse(t, "", quayText, normal.Text)
	w.settle(t)
}

func pointTo(id string) string { return fmt.Sprintf(`{"id":%q}`, id) }

// A record says whether its key was imported, and only so it is presented.
func TestImportedKeyMustBeRecordedAsOne(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	w := worldOn(t, db, c, imports)
	imported, normal := w.importKey(t, adminSpec(), quayText), w.issue(t, adminSpec())
	w.edit(t, imported, func(record map[string]any) { delete(record, "imported") })
	w.edit(t, normal.ID, func(record map[string]any) { record["imported"] = indexKey(normal.Text).ID })
	w.wantUse(t, keywright.CodeInvalidToken, quayText, normal.Text)

	w.importKey(t, adminSpec(), challengeText)
	w.wantUse(t, "", challengeText)
	w.settle(t)
	without := worldOn(t, db, c, imports, func(hc *keywright.HostConfig) { hc.Kinds = map[string]string{"prov": "ck_prov"} })
	if got := without.use(challengeText); got != keywright.CodeInvalidToken {
		t.Errorf("a kind that is not configured: got code %q, want %q", got, keywright.CodeInvalidToken)
	}
}

// edit changes the stored JSON of a key.
func (w *world) edit(t testing.TB, id string, change func(map[string]any)) {
	t.Helper()
	key := store.Key{Kind: keywright.KindKey, ID: id}
	records, err := w.db.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	if err := json.Unmarshal(records[0].Data, &record); err != nil {
		t.Fatal(err)
	}
	change(record)
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.change(t, key, string(data)); err != nil {
		t.Fatal(err)
	}
}

// STO-11: a store in trouble may hold the key; nobody else is asked.
func TestStoreInTroubleIsUnavailableForImportedKeys(t *testing.T) {
	w := newWorld(t, imports)
	w.importKey(t, adminSpec(), quayText)
	w.db.failOn("Get", errors.New("disk on fire"))
	for _, text := range []string{quayText, challengeText} {
		w.wantUse(t, keywright.CodeUnavailable, text)
		_, err := w.Keys.Check(t.Context(), text)
		wantCode(t, "Check", err, keywright.CodeUnavailable)
		_, err = w.Keys.Find(t.Context(), text)
		wantCode(t, "Find", err, keywright.CodeUnavailable)
	}
}

func TestMintImportedRefuses(t *testing.T) {
	w := newWorld(t, imports)
	for name, text := range map[string]string{
		"nothing": "", "31 characters": quayText[:31], "257 characters": strings.Repeat("a", 257),
		"our prefix": "kw_admin_" + quayText, "our other prefix": "ck_prov_" + quayText, "a key of ours": w.issue(t, adminSpec()).Text,
		"a dot": quayText + ".", "padding": quayText + "=", "white space": quayText + " ", "a line feed": quayText + "\n",
		"a comma": quayText + ",", "NUL": quayText + "\x00", "a quote": quayText + `"`, "a slash": quayText + "/", "a colon": quayText + ":",
		"an at sign": quayText + "@", "a bracket": quayText + "[", "a backquote": quayText + "`", "a brace": quayText + "{", "not ASCII": quayText + "é",
	} {
		id, ops, err := w.Keys.MintImported(adminSpec(), text)
		if wantCode(t, name, err, keywright.CodeInvalidRequest); id != "" || ops != nil {
			t.Errorf("%s: a key came with the error", name)
		}
		if text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error contains the text", name)
		}
	}
	for name, edit := range map[string]func(*keywright.KeySpec){
		"a kind that is not configured": func(s *keywright.KeySpec) { s.Kind = "other" },
		"no subject":                    func(s *keywright.KeySpec) { s.Subject = "" },
		"expired":                       func(s *keywright.KeySpec) { s.Expires = epoch },
		"five parents":                  func(s *keywright.KeySpec) { s.Parents = fiveParents },
		"a description of 2 MiB":        func(s *keywright.KeySpec) { s.Description = strings.Repeat("d", 2<<20) },
	} {
		spec := adminSpec()
		edit(&spec)
		id, ops, err := w.Keys.MintImported(spec, quayText)
		if wantCode(t, name, err, keywright.CodeInvalidRequest); id != "" || ops != nil || strings.Contains(err.Error(), quayText) {
			t.Errorf("%s: a key came with the error, or its text in it", name)
		}
	}
}

// PRV-10: of an imported text, too, nothing but hashes is kept and told.
func TestStoreHoldsNoImportedText(t *testing.T) {
	for name, hash := range hashes {
		w := newWorld(t, imports, func(c *keywright.HostConfig) { c.Hash = hash })
		id := w.importKey(t, adminSpec(), quayText)
		w.wantUse(t, "", quayText)
		w.settle(t)
		if err := w.Keys.Disable(t.Context(), operator, id); err != nil {
			t.Fatal(err)
		}
		w.wantUse(t, keywright.CodeInvalidToken, quayText)
		_, err := w.Keys.Rotate(t.Context(), operator, id, keywright.Rotation{Overlap: time.Minute})
		wantCode(t, "rotate", err, keywright.CodeConflict)
		var dump strings.Builder
		for _, kind := range []string{keywright.KindKey, keywright.KindKeyImported, keywright.KindKeyLast, keywright.KindEvent} {
			for r, err := range w.db.List(t.Context(), store.Query{Kind: kind}) {
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&dump, "%s %s %s\n", r.Kind, r.ID, r.Data)
			}
		}
		fmt.Fprintf(&dump, "%s\n%+v", w.log, w.events("key.refused"))
		for _, form := range []string{quayText, quayText[:20], fmt.Sprintf("%x", quayText)} {
			if strings.Contains(dump.String(), form) {
				t.Errorf("%s: found %q in:\n%s", name, form, dump.String())
			}
		}
	}
}
