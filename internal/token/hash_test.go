package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

var (
	pepperA = bytes.Repeat([]byte("a"), 32)
	pepperB = bytes.Repeat([]byte("b"), 40)
	peppers = map[string][]byte{"2025": pepperA, "2026": pepperB}
)

func hasher(t *testing.T, c HasherConfig) *Hasher {
	t.Helper()
	h, err := NewHasher(c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mustHash(t *testing.T, h *Hasher, text string) Hash {
	t.Helper()
	hash, err := h.Hash(text)
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

func TestHashIsWhatItsMethodSays(t *testing.T) {
	text := New("ck_prov").Text
	sum := sha256.Sum256([]byte(text))
	mac := hmac.New(sha256.New, pepperB)
	mac.Write([]byte(text))

	plain := mustHash(t, hasher(t, HasherConfig{}), text)
	if plain.Method != SHA256 || plain.Pepper != "" || !bytes.Equal(plain.Sum, sum[:]) {
		t.Errorf("without a pepper: %+v", plain)
	}
	peppered := mustHash(t, hasher(t, HasherConfig{Peppers: peppers, Pepper: "2026"}), text)
	if peppered.Method != HMAC || peppered.Pepper != "2026" || !bytes.Equal(peppered.Sum, mac.Sum(nil)) {
		t.Errorf("with a pepper: %+v", peppered)
	}
	slow := mustHash(t, hasher(t, HasherConfig{BcryptCost: bcrypt.MinCost}), text)
	if cost, err := bcrypt.Cost(slow.Sum); slow.Method != Bcrypt || err != nil || cost != bcrypt.MinCost {
		t.Errorf("bcrypt: method %q, cost %d, %v", slow.Method, cost, err)
	}
}

func TestMatch(t *testing.T) {
	text, other := New("ck_prov").Text, New("ck_prov").Text
	plain := hasher(t, HasherConfig{})
	old := hasher(t, HasherConfig{Peppers: peppers, Pepper: "2025"})
	current := hasher(t, HasherConfig{Peppers: peppers, Pepper: "2026"})
	dropped := hasher(t, HasherConfig{Peppers: map[string][]byte{"2026": pepperB}, Pepper: "2026"})
	changed := hasher(t, HasherConfig{Peppers: map[string][]byte{"2025": pepperB}})
	slow := hasher(t, HasherConfig{BcryptCost: bcrypt.MinCost})

	tests := []struct {
		name   string
		by     *Hasher
		reader *Hasher
		text   string
		want   bool
	}{
		{"sha256", plain, plain, text, true},
		{"sha256, another text", plain, plain, other, false},
		{"sha256 read by a peppered host", plain, current, text, true},
		{"sha256 read by a bcrypt host", plain, slow, text, true},
		{"hmac", current, current, text, true},
		{"hmac, another text", current, current, other, false},
		{"hmac by the old pepper", old, current, text, true},
		{"hmac by a pepper that was removed", old, dropped, text, false},
		{"hmac by a pepper that was replaced", old, changed, text, false},
		{"hmac read by a host without peppers", old, plain, text, false},
		{"bcrypt", slow, slow, text, true},
		{"bcrypt read by another host", slow, plain, text, true},
		{"bcrypt, another text", slow, slow, other, false},
		{"sha256, key and suffix (PRV-04)", plain, plain, text + "anything", false},
		{"bcrypt, key and suffix (PRV-04)", slow, slow, text + "anything", false},
		{"bcrypt, key, NUL and key (PRV-05)", slow, slow, text + "\x00" + text, false},
		{"bcrypt, nothing", slow, slow, "", false},
	}
	for _, tt := range tests {
		if got := tt.reader.Match(mustHash(t, tt.by, text), tt.text); got != tt.want {
			t.Errorf("%s: Match = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// Bare bcrypt stops at 72 bytes and repeats what ends in NUL: PRV-04 and
// PRV-05 for texts on both sides of those edges.
func TestBcryptIsExact(t *testing.T) {
	slow := hasher(t, HasherConfig{BcryptCost: bcrypt.MinCost})
	tests := []struct{ name, stored, presented string }{
		{"one byte behind the 72nd", strings.Repeat("k", 72), strings.Repeat("k", 73)},
		{"a text behind the 72nd", strings.Repeat("k", 72), strings.Repeat("k", 72) + "anything"},
		{"difference in the 73rd", strings.Repeat("k", 72) + "a", strings.Repeat("k", 72) + "b"},
		{"a text repeated behind NUL", "abc", "abc\x00abc"},
		{"a NUL at the end", "abc", "abc\x00"},
	}
	for _, tt := range tests {
		hash := mustHash(t, slow, tt.stored)
		if !slow.Match(hash, tt.stored) {
			t.Errorf("%s: the text itself does not match", tt.name)
		}
		if slow.Match(hash, tt.presented) {
			t.Errorf("%s: matched", tt.name)
		}
	}
}

func TestMatchRefusesBrokenHashes(t *testing.T) {
	text := New("ck_prov").Text
	h := hasher(t, HasherConfig{Peppers: peppers, Pepper: "2026"})
	good := mustHash(t, hasher(t, HasherConfig{}), text)
	for name, hash := range map[string]Hash{
		"none":                        {},
		"sha256 without a sum":        {Method: SHA256},
		"sha256 cut short":            {Method: SHA256, Sum: good.Sum[:31]},
		"sha256 and one byte":         {Method: SHA256, Sum: append(bytes.Clone(good.Sum), 0)},
		"hmac without a pepper":       {Method: HMAC, Sum: good.Sum},
		"hmac by nobody's pepper":     {Method: HMAC, Pepper: "x", Sum: good.Sum},
		"an unkeyed sum called hmac":  {Method: HMAC, Pepper: "2026", Sum: good.Sum},
		"bcrypt without a sum":        {Method: Bcrypt},
		"bcrypt with a sum of sha256": {Method: Bcrypt, Sum: good.Sum},
		"a method nobody knows":       {Method: "md5", Sum: good.Sum},
	} {
		if h.Match(hash, text) {
			t.Errorf("%s: matched", name)
		}
	}
}

// An hmac under the empty key must not be what an unknown pepper falls back to.
func TestUnknownPepperIsNotTheEmptyOne(t *testing.T) {
	mac := hmac.New(sha256.New, nil)
	mac.Write([]byte("text"))
	if hasher(t, HasherConfig{}).Match(Hash{Method: HMAC, Pepper: "gone", Sum: mac.Sum(nil)}, "text") {
		t.Error("an unknown pepper counts as an empty one")
	}
}

func TestCurrent(t *testing.T) {
	configs := map[string]HasherConfig{
		"sha256":   {},
		"pepper A": {Peppers: peppers, Pepper: "2025"},
		"pepper B": {Peppers: peppers, Pepper: "2026"},
		"bcrypt 4": {BcryptCost: 4},
		"bcrypt 5": {BcryptCost: 5},
	}
	for by, c := range configs {
		hash := mustHash(t, hasher(t, c), "text")
		for reader, c := range configs {
			if got, want := hasher(t, c).Current(hash), by == reader; got != want {
				t.Errorf("hashed by %s, read by %s: Current = %v, want %v", by, reader, got, want)
			}
		}
	}
}

func TestNewHasherRefuses(t *testing.T) {
	for name, c := range map[string]HasherConfig{
		"a pepper of 31 bytes":          {Peppers: map[string][]byte{"a": pepperA[:31]}},
		"a pepper without a name":       {Peppers: map[string][]byte{"": pepperA}},
		"a pepper that is not there":    {Pepper: "2026"},
		"another pepper is there":       {Peppers: map[string][]byte{"a": pepperA}, Pepper: "b"},
		"pepper and bcrypt":             {Peppers: peppers, Pepper: "2026", BcryptCost: 10},
		"bcrypt below its lowest cost":  {BcryptCost: bcrypt.MinCost - 1},
		"bcrypt above its highest cost": {BcryptCost: bcrypt.MaxCost + 1},
		"a negative cost":               {BcryptCost: -1},
	} {
		h, err := NewHasher(c)
		if err == nil || h != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if strings.Contains(err.Error(), string(pepperA[:31])) {
			t.Errorf("%s: the error shows a pepper: %v", name, err)
		}
	}
}

func TestHasherKeepsItsOwnPeppers(t *testing.T) {
	mine := map[string][]byte{"a": bytes.Clone(pepperA)}
	h := hasher(t, HasherConfig{Peppers: mine, Pepper: "a"})
	hash := mustHash(t, h, "text")
	clear(mine["a"])
	delete(mine, "a")
	if !h.Match(hash, "text") {
		t.Error("changing the configuration's map changed the Hasher")
	}
}

// Stored hashes outlive versions of this library.
func TestHashJSONIsStable(t *testing.T) {
	const want = `{"m":"hmac-sha256","p":"2026","s":"AQI="}`
	got, err := json.Marshal(Hash{Method: HMAC, Pepper: "2026", Sum: []byte{1, 2}})
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}
