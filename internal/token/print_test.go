package token

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestPrintingNeverShowsTheSecret(t *testing.T) {
	key := New("ck_prov")
	type holder struct {
		Key   Key
		Ptr   *Key
		Any   any
		Slice []Key
		Map   map[string]Key
	}
	nested := holder{key, &key, key, []Key{key}, map[string]Key{"k": key}}
	var out strings.Builder
	for _, v := range []any{key, &key, nested, &nested} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("key", "key", v)
			slog.New(h).With("key", v).WithGroup("g").Info("key", slog.Group("g", "key", v))
		}
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
	}
	printed := []byte(out.String())
	for _, form := range [][]byte{[]byte(key.Secret), fmt.Appendf(nil, "%x", key.Secret), fmt.Appendf(nil, "%d", []byte(key.Secret))} {
		if bytes.Contains(printed, form) {
			t.Errorf("printed the secret:\n%s", printed)
		}
	}
	if !bytes.Contains(printed, []byte(key.ID)) {
		t.Error("the id, by which an operator finds the key, is not printed")
	}
}
