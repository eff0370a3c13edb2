package token

import (
	"bytes"
	"errors"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vectors were computed by an independent program (Python's zlib.crc32).
var vectors = []struct{ body, checksum string }{
	{"ck_prov_0123456789ABabcdefghijklmnopqrstuvwxyz0", "0ZgYUR"},
	{"kw_admin_000000000000000000000000000000000000000", "3qqq3a"},
	{"a_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "2SDmjj"},
	{"a234567890123456789012345678901b_Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9Zz9", "1pVuvO"},
}

func TestChecksumVectors(t *testing.T) {
	for _, v := range vectors {
		if got := checksum(v.body); got != v.checksum {
			t.Errorf("checksum(%q) = %q, want %q", v.body, got, v.checksum)
		}
		k, err := Parse(v.body + v.checksum)
		if err != nil {
			t.Errorf("Parse(%q): %v", v.body+v.checksum, err)
		}
		if got := k.Prefix + "_" + k.ID + k.Secret; got != v.body {
			t.Errorf("the parts of %q are %q", v.body, got)
		}
	}
}

func TestNewHasTheFormat(t *testing.T) {
	format := regexp.MustCompile(`^kw_admin_[0-9A-Za-z]{45}$`)
	seen := make(map[string]bool)
	for range 1000 {
		k := New("kw_admin")
		if !format.MatchString(k.Text) {
			t.Fatal("New made a key that is not prefix, underscore and base62")
		}
		if seen[k.ID] || seen[k.Secret] {
			t.Fatal("New repeated an id or a secret")
		}
		seen[k.ID], seen[k.Secret] = true, true
		got, err := Parse(k.Text)
		if diff := cmp.Diff(parts(k), parts(got)); err != nil || diff != "" {
			t.Fatalf("Parse(New()): %v (-made +parsed):\n%s", err, diff)
		}
	}
}

// parts shows what a Key's own methods hide.
func parts(k Key) [4]string { return [4]string{k.Text, k.Prefix, k.ID, k.Secret} }

func TestSecretHolds160Bits(t *testing.T) {
	states := new(big.Int).Exp(big.NewInt(int64(len(alphabet))), big.NewInt(SecretLen), nil)
	if bits := states.BitLen() - 1; bits < 160 {
		t.Errorf("a secret of %d characters holds %d bits, want at least 160", SecretLen, bits)
	}
}

func TestParseRefuses(t *testing.T) {
	good := vectors[0].body + vectors[0].checksum
	body := good[len("ck_prov_"):]
	tests := map[string]string{
		"nothing":                          "",
		"no prefix":                        sealed("_" + body[:IDLen+SecretLen]),
		"no underscore":                    body,
		"only a prefix":                    "ck_prov_",
		"one character short":              good[:len(good)-1],
		"one character long":               good + "0",
		"first character missing":          good[1:],
		"another prefix":                   "ck_priv_" + body,
		"the prefix in capitals":           "CK_PROV_" + body,
		"a longer prefix":                  "xck_prov_" + body,
		"a prefix of 33 characters":        sealed(strings.Repeat("a", 33) + "_" + body[:IDLen+SecretLen]),
		"a dash in the body":               sealed("ck_prov_" + "-" + body[1:IDLen+SecretLen]),
		"an underscore in the body":        sealed("ck_prov_" + "_" + body[1:IDLen+SecretLen]),
		"a letter that is not ASCII":       sealed("ck_prov_" + "é" + body[2:IDLen+SecretLen]),
		"NUL in the body":                  sealed("ck_prov_" + "\x00" + body[1:IDLen+SecretLen]),
		"a dash instead of the underscore": sealed("ck_prov-" + body[:IDLen+SecretLen]),
		"white space before":               " " + good,
		"white space behind":               good + " ",
		"line feed behind":                 good + "\n",
		"the checksum in lower case":       good[:len(good)-checksumLen] + strings.ToLower(good[len(good)-checksumLen:]),
		"the key twice":                    good + good,
		"the key, NUL and the key":         good + "\x00" + good,                // PRV-05
		"a suffix beyond 72 bytes":         good + "anything anything anything", // PRV-04
	}
	for name, text := range tests {
		if k, err := Parse(text); !errors.Is(err, ErrMalformed) || parts(k) != [4]string{} {
			t.Errorf("%s: Parse gave a key or %v, want only ErrMalformed", name, err)
		}
	}
}

// sealed appends the checksum that body should have, so that a test reaches
// the check behind it.
func sealed(body string) string { return body + checksum(body) }

func TestEverySingleCharacterChangeIsRefused(t *testing.T) {
	const others = alphabet + "_-. /\x00"
	good := vectors[0].body + vectors[0].checksum
	for i := range len(good) {
		for _, c := range []byte(others) {
			if c == good[i] {
				continue
			}
			if _, err := Parse(good[:i] + string(c) + good[i+1:]); !errors.Is(err, ErrMalformed) {
				t.Errorf("character %d as %q: got %v, want ErrMalformed", i, c, err)
			}
		}
	}
}

func TestFromEntropyIsStable(t *testing.T) {
	counting := make([]byte, SecretEntropy)
	for i := range counting {
		counting[i] = byte(i)
	}
	tests := []struct {
		entropy []byte
		want    string
	}{
		{counting, "kw_admin_0123456789ABvXnxScCsCVwh17kXca6BswqmkMD1CyHbL"},
		{bytes.Repeat([]byte{0xff}, SecretEntropy), "kw_admin_0123456789AB7gXlgzBAOHkc8RE8qSEBYK0dlqB3ahPBC"},
		{make([]byte, SecretEntropy), "kw_admin_0123456789AB00000000000000000000000000030XrBo"},
	}
	for _, tt := range tests {
		if got := FromEntropy("kw_admin", "0123456789AB", tt.entropy).Text; got != tt.want {
			t.Errorf("FromEntropy(%x) = %q, want %q", tt.entropy, got, tt.want)
		}
	}
}

// The statistic has 61 degrees of freedom: mean 61, standard deviation 11. A
// fair source passes 160 once in some 10^10 runs; one without the rejection of
// high bytes, which favours 8 characters by a quarter, is at some 800.
func TestRandomIsUniform(t *testing.T) {
	const n = 62 * 2000
	var count [256]float64
	for _, c := range []byte(random(n)) {
		count[c]++
	}
	chi2 := 0.0
	for _, c := range []byte(alphabet) {
		d := count[c] - n/62
		chi2 += d * d / (n / 62)
	}
	if chi2 > 160 {
		t.Errorf("chi-square of %d characters is %.0f, want about 61", n, chi2)
	}
}

func TestPattern(t *testing.T) {
	key, other := New("ck_prov").Text, New("kw_admin").Text
	find := regexp.MustCompile(Pattern("ck_prov"))
	tests := []struct {
		name, text string
		want       []string
	}{
		{"alone", key, []string{key}},
		{"in JSON", `{"api_key":"` + key + `"}`, []string{key}},
		{"in a URL", "https://h/?k=" + key + "&x", []string{key}},
		{"two", key + "\n" + key, []string{key, key}},
		{"another prefix", other, nil},
		{"behind a letter", "x" + key, nil},
		{"before a letter", key + "x", nil},
		{"before an underscore", key + "_", nil},
		{"cut short", key[:len(key)-1], nil},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, find.FindAllString(tt.text, -1)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A double-click selects what a regular expression calls a word.
func TestDoubleClickSelectsTheWholeKey(t *testing.T) {
	key := New("ck_prov").Text
	if got := regexp.MustCompile(`\w+`).FindString("key: " + key + "."); got != "key" {
		t.Fatalf("first word is %q", got)
	}
	if got := regexp.MustCompile(`\w{9,}`).FindString("key: " + key + "."); got != key {
		t.Error("the key is not one word")
	}
}

func TestCheckPrefix(t *testing.T) {
	tests := []struct {
		prefix string
		ok     bool
	}{
		{"a", true},
		{"kw_admin", true},
		{"ck_prov_2", true},
		{"k2", true},
		{strings.Repeat("a", 32), true},
		{strings.Repeat("a", 33), false},
		{"", false},
		{"_kw", false},
		{"kw_", false},
		{"kw__admin", false},
		{"2kw", false},
		{"Kw", false},
		{"kW", false},
		{"kw-admin", false},
		{"kw admin", false},
		{"kw\n", false},
		{"ké", false},
		{"k.", false},
		{"k(?:", false},
	}
	for _, tt := range tests {
		if err := CheckPrefix(tt.prefix); (err == nil) != tt.ok {
			t.Errorf("CheckPrefix(%q) = %v, want ok %v", tt.prefix, err, tt.ok)
		}
		// What may begin a key is also what Parse reads back.
		if k := New(tt.prefix); tt.ok && k.Prefix != tt.prefix {
			t.Errorf("New(%q) has prefix %q", tt.prefix, k.Prefix)
		}
	}
}

func TestValidID(t *testing.T) {
	tests := map[string]bool{
		NewID(): true, "0123456789Az": true,
		"": false, "0123456789A": false, "0123456789Abc": false, "0123456789A_": false, "0123456789A/": false, "0123456789é": false,
	}
	for id, want := range tests {
		if got := ValidID(id); got != want {
			t.Errorf("ValidID(%q) = %v, want %v", id, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.body + v.checksum)
	}
	f.Add("")
	f.Add("_")
	f.Add(New("ck_prov").Text + "x")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := Parse(text)
		if err != nil {
			if parts(k) != [4]string{} {
				t.Error("a refused text gave parts")
			}
			return
		}
		body := k.Prefix + "_" + k.ID + k.Secret
		if k.Text != text || sealed(body) != text || !ValidID(k.ID) || len(k.Secret) != SecretLen {
			t.Errorf("the parts of %q do not make it again: %q", text, parts(k))
		}
	})
}
