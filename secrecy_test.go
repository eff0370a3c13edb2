package keywright_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestPrintingAMintedKeyNeverShowsIt(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	type holder struct {
		Key   keywright.MintedKey
		Ptr   *keywright.MintedKey
		Slice []keywright.MintedKey
	}
	var out strings.Builder
	for _, v := range []any{m, &m, holder{m, &m, []keywright.MintedKey{m}}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("issued", "key", v)
		}
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, form := range forms(m) {
		if strings.Contains(out.String(), form) {
			t.Errorf("printed %q in:\n%s", form, out.String())
		}
	}
}

// forms returns the spellings of a key's secret part, of its whole text and of
// the unkeyed hash of that: what must stand nowhere.
func forms(m keywright.MintedKey) []string {
	secret := m.Text[len("kw_admin_")+12:]
	var found []string
	for _, s := range []string{secret, secret[:20], m.Text} {
		found = append(found, s, fmt.Sprintf("%x", s))
		for i := range 3 { // whichever way base64 is aligned
			e := base64.StdEncoding.EncodeToString([]byte(s[i:]))
			found = append(found, e[:len(e)-4])
		}
	}
	return found
}

// PRV-10: nothing that reaches the store holds a secret, however it is spelled.
func TestStoreHoldsNoSecret(t *testing.T) {
	for name, hash := range hashes {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *keywright.HostConfig) { c.Hash = hash })
			var minted []keywright.MintedKey
			for i := range 5 {
				spec := adminSpec()
				spec.FirstUse, spec.Temporary = true, true
				m := w.issue(t, spec)
				w.wantUse(t, "", m.Text)
				w.settle(t)
				w.wantUse(t, keywright.CodeInvalidToken, wrongSecret(t, w, m.ID))
				if i == 0 {
					next, err := w.Keys.Rotate(t.Context(), operator, m.ID, keywright.Rotation{Overlap: time.Minute})
					if err != nil {
						t.Fatal(err)
					}
					minted = append(minted, next)
				}
				minted = append(minted, m)
			}
			var dump strings.Builder
			for _, kind := range []string{keywright.KindKey, keywright.KindKeyFirst, keywright.KindKeyLast, keywright.KindEvent} {
				n := 0
				for r, err := range w.db.List(t.Context(), store.Query{Kind: kind}) {
					if err != nil {
						t.Fatal(err)
					}
					n++
					fmt.Fprintf(&dump, "%s %s %s\n", r.Kind, r.ID, r.Data)
				}
				if n == 0 {
					t.Errorf("no record of kind %s", kind)
				}
			}
			fmt.Fprintf(&dump, "%s\n%+v", w.log.String(), w.events("key.refused"))
			for _, m := range minted {
				for _, form := range forms(m) {
					if strings.Contains(dump.String(), form) {
						t.Errorf("found %q in:\n%s", form, dump.String())
					}
				}
			}
		})
	}
}

// PRV-11: what describes a key does not help to become it.
func TestDescriptionHoldsNoHash(t *testing.T) {
	w := newWorld(t)
	m := w.issue(t, adminSpec())
	var stored struct {
		Hash struct {
			Sum []byte `json:"s"`
		} `json:"hash"`
	}
	if err := json.Unmarshal(m.Op.Record.Data, &stored); err != nil || len(stored.Hash.Sum) != 32 {
		t.Fatalf("stored sum of %d bytes, %v; want 32", len(stored.Hash.Sum), err)
	}
	info, err := w.Keys.Lookup(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	described, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	sum := stored.Hash.Sum
	for _, form := range append(forms(m), base64.StdEncoding.EncodeToString(sum), fmt.Sprintf("%x", sum)) {
		if bytes.Contains(described, []byte(form)) {
			t.Errorf("found %q in %s", form, described)
		}
	}
}
