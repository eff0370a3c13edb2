package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright/store"
)

func TestID(t *testing.T) {
	long := strings.Repeat("x", 201)
	for _, c := range []struct {
		name  string
		parts []string
		want  string
	}{
		{"none", nil, ""},
		{"one", []string{"claim"}, "claim"},
		{"readable ones", []string{"https:", "é.example", "A b"}, "https:/é.example/A b"},
		{"an empty part", []string{"a", "", "b"}, "a/%./b"},
		{"only an empty part", []string{""}, "%."},
		{"separators and escapes", []string{"a/b", "100%", "%."}, "a%2Fb/100%25/%25."},
		{"control characters", []string{"\x00\n\x7f"}, "%00%0A%7F"},
		{"not UTF-8", []string{"a\xff\xed\xa0\x80"}, "a%FF%ED%A0%80"},
		{"U+FFFD is UTF-8", []string{"\uFFFD"}, "\uFFFD"},
		{"a tilde", []string{"~a", "a~"}, "%7Ea/a~"},
		{"200 bytes", []string{long[1:]}, long[1:]},
		{"201 bytes", []string{long}, "~84a0678c90937f5dcf9994d5866668da6b995109c8ad845410559b48a4ecafed"},
	} {
		if got := store.ID(c.parts...); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestIDFits(t *testing.T) {
	widest := strings.Repeat("x", 200)
	id := store.ID(widest, widest, widest, widest, widest)
	if len(id) > store.MaxID {
		t.Errorf("five parts need %d bytes, at most %d", len(id), store.MaxID)
	}
}

// FuzzID shows that ID is injective: the parts can be read back from it, all
// but the long ones, for which only a hash stands.
func FuzzID(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "%", "%.", "%2F", "~", "~a", "a~", "\x00", "\x7f", "\xff", "é", "a\u0301", strings.Repeat("/", 66), strings.Repeat("x", 201)} {
		f.Add(s, "b", "")
		f.Add("", s, "~")
		f.Add("a", "%.", s)
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		for _, parts := range [][]string{{a}, {a, b}, {a, b, c}} {
			id := store.ID(parts...)
			k := store.Key{Kind: "k", ID: id}
			if err := store.ValidateKeys(k); err != nil {
				t.Errorf("%q became %q: %v", parts, id, err)
			}
			for i, p := range strings.Split(id, "/") {
				if i == len(parts) || !stands(p, parts[i]) {
					t.Fatalf("%q became %q: part %d is %q", parts, id, i, p)
				}
			}
			if prefix := store.ID(parts[:1]...) + "/"; len(parts) > 1 && !strings.HasPrefix(id, prefix) {
				t.Errorf("%q does not begin with %q", id, prefix)
			}
		}
	})
}

// stands reports whether the part of an ID can be read back, or is the hash of
// a long part. No other begins with "~", since that is escaped.
func stands(p, part string) bool {
	if strings.HasPrefix(p, "~") {
		sum := sha256.Sum256([]byte(part))
		return p[1:] == hex.EncodeToString(sum[:]) && 3*len(part) > 200
	}
	if p == "%." {
		return part == ""
	}
	plain, err := url.PathUnescape(p)
	return err == nil && plain == part && p != "" && len(p) <= 200
}
