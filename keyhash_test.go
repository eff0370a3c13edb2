package keywright_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

var hashes = map[string]keywright.KeyHash{
	"sha256":   {},
	"pepper A": {Peppers: map[string][]byte{"a": bytes.Repeat([]byte("a"), 32)}, Pepper: "a"},
	"pepper B": {Peppers: map[string][]byte{"a": bytes.Repeat([]byte("a"), 32), "b": bytes.Repeat([]byte("b"), 32)}, Pepper: "b"},
	"bcrypt":   {Peppers: map[string][]byte{"b": bytes.Repeat([]byte("b"), 32)}, BcryptCost: 4},
}

// Whatever a key was hashed with, a host with its peppers reads it and stores
// it anew its own way; one without them refuses it.
func TestHashIsRenewedWhenUsed(t *testing.T) {
	methods := map[string]string{"sha256": "sha256", "pepper A": "hmac-sha256/a", "pepper B": "hmac-sha256/b", "bcrypt": "bcrypt"}
	for _, tt := range []struct {
		from, to string
		want     keywright.Code
	}{
		{"sha256", "pepper A", ""},
		{"pepper A", "pepper B", ""},
		{"pepper B", "bcrypt", ""},
		{"bcrypt", "sha256", ""},
		{"sha256", "bcrypt", ""},
		{"pepper A", "bcrypt", keywright.CodeInvalidToken}, // that host has pepper b only
		{"pepper B", "sha256", keywright.CodeInvalidToken},
		{"pepper B", "pepper A", keywright.CodeInvalidToken},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			c := new(clock)
			db := &store.Memory{Now: c.Now}
			old := worldOn(t, db, c, func(hc *keywright.HostConfig) { hc.Hash = hashes[tt.from] })
			now := worldOn(t, db, c, func(hc *keywright.HostConfig) { hc.Hash = hashes[tt.to] })
			m := old.issue(t, adminSpec())
			if got := old.method(t, m.ID); got != methods[tt.from] {
				t.Fatalf("issued with %q, want %q", got, methods[tt.from])
			}
			now.wantUse(t, tt.want, m.Text)
			now.settle(t)
			want := methods[tt.to]
			if tt.want != "" {
				want = methods[tt.from]
			}
			if got := now.method(t, m.ID); got != want {
				t.Errorf("after its use it is stored with %q, want %q", got, want)
			}
			now.wantUse(t, tt.want, m.Text)
			now.wantUse(t, keywright.CodeInvalidToken, wrongSecret(t, now, m.ID))
		})
	}
}

// method returns how a key is hashed in the store.
func (w *world) method(t *testing.T, id string) string {
	t.Helper()
	records, err := w.db.Get(t.Context(), store.Key{Kind: keywright.KindKey, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Hash struct {
			Method string `json:"m"`
			Pepper string `json:"p"`
		} `json:"hash"`
	}
	if err := json.Unmarshal(records[0].Data, &c); err != nil {
		t.Fatal(err)
	}
	if c.Hash.Pepper != "" {
		return c.Hash.Method + "/" + c.Hash.Pepper
	}
	return c.Hash.Method
}

// Renewing a hash must not undo what another process has changed meanwhile.
func TestRenewalNeverUndoesAChange(t *testing.T) {
	c := new(clock)
	db := &store.Memory{Now: c.Now}
	old := worldOn(t, db, c)
	now := worldOn(t, db, c, func(hc *keywright.HostConfig) { hc.Hash = hashes["pepper A"] })
	m := old.issue(t, adminSpec())
	now.db.failWith(func(ctx context.Context, call string, ops []store.Op) error {
		if call == "Commit" && ops[0].Record.Kind == keywright.KindKey {
			return old.Keys.Disable(ctx, operator, m.ID)
		}
		return nil
	})
	now.wantUse(t, "", m.Text)
	now.settle(t)
	if info, err := old.Keys.Lookup(t.Context(), m.ID); err != nil || !info.Disabled {
		t.Errorf("disabled %v, %v; want the key disabled", info.Disabled, err)
	}
	if now.log.String() != "" {
		t.Errorf("to be overtaken is nothing for the operator: %s", now.log)
	}
	now.wantUse(t, keywright.CodeInvalidToken, m.Text)
}
