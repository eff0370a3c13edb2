// Package token reads and makes the text of API keys:
//
//	<prefix>_<id:12><secret:27><checksum:6>
//
// The prefix is chosen by the host per kind of key. Everything behind the last
// underscore is base62, so that a double-click selects the whole key and a
// secret scanner finds it with one regular expression ([Pattern]). The id is
// public and finds the record; the secret carries 160 bits; the checksum is
// the CRC-32 (IEEE) of all that stands before it, so that a mistyped or
// invented key is refused without asking the store.
package token

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

// Lengths in characters. 27 base62 characters hold 160.7 bits.
const (
	IDLen       = 12
	SecretLen   = 27
	checksumLen = 6
	bodyLen     = IDLen + SecretLen + checksumLen

	maxPrefix = 32
)

// SecretEntropy is how many bytes of key material [FromEntropy] takes: 128
// bits more than the secret holds, so that the reduction has no bias.
const SecretEntropy = 36

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ErrMalformed says that a text is not a key: its length, alphabet or checksum
// is wrong. It never holds the text.
var ErrMalformed = errors.New("token: not a key")

// A Key is the text of an API key and its parts, which share its memory.
type Key struct {
	Text   string // the whole key: a secret
	Prefix string
	ID     string // public; safe to log
	Secret string
}

// String names a key without its secret.
func (k Key) String() string { return k.Prefix + "_" + k.ID + "..." }

// Format keeps a key out of errors, whichever verb prints it.
func (k Key) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// MarshalText keeps a key out of logs and JSON.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// CheckPrefix reports why prefix cannot begin a key: it must be 1 to 32
// characters of a-z, 0-9 and single inner underscores, and begin with a letter.
func CheckPrefix(prefix string) error {
	switch {
	case prefix == "" || len(prefix) > maxPrefix:
		return fmt.Errorf("key prefix %q: want 1 to %d characters", prefix, maxPrefix)
	case prefix[0] < 'a' || prefix[0] > 'z', strings.HasSuffix(prefix, "_"), strings.Contains(prefix, "__"):
		return fmt.Errorf("key prefix %q: want a letter first, and single underscores between words", prefix)
	}
	for i := range len(prefix) {
		if c := prefix[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("key prefix %q: want only a-z, 0-9 and _", prefix)
		}
	}
	return nil
}

// Pattern is the regular expression (RE2, also PCRE) that finds keys with the
// given prefix in text.
func Pattern(prefix string) string {
	return fmt.Sprintf(`\b%s_[0-9A-Za-z]{%d}\b`, prefix, bodyLen)
}

// New makes a key with a random id and secret.
func New(prefix string) Key {
	return assemble(prefix, NewID(), random(SecretLen))
}

// NewID makes a random public id: 71 bits.
func NewID() string { return random(IDLen) }

// ValidID reports whether id could be a key's public id.
func ValidID(id string) bool {
	for i := range len(id) {
		if !isBase62(id[i]) {
			return false
		}
	}
	return len(id) == IDLen
}

// FromEntropy makes the key whose secret follows from the given
// [SecretEntropy] bytes, which must be indistinguishable from random.
func FromEntropy(prefix, id string, entropy []byte) Key {
	return assemble(prefix, id, base62(entropy, SecretLen))
}

func assemble(prefix, id, secret string) Key {
	body := prefix + "_" + id + secret
	k, _ := split(body + checksum(body))
	return k
}

// Parse reads a key. It compares no secrets and looks at no text longer than a key.
func Parse(text string) (Key, error) {
	k, ok := split(text)
	if !ok {
		return Key{}, ErrMalformed
	}
	end := len(text) - checksumLen
	var sum [checksumLen]byte
	if putChecksum(&sum, text[:end]); string(sum[:]) != text[end:] {
		return Key{}, ErrMalformed
	}
	// After the checksum, which is what an invented key fails.
	for i := end - IDLen - SecretLen; i < end; i++ {
		if !isBase62(text[i]) {
			return Key{}, ErrMalformed
		}
	}
	return k, nil
}

// split checks the length.
func split(text string) (Key, bool) {
	sep := len(text) - bodyLen - 1
	if sep < 1 || sep > maxPrefix || text[sep] != '_' {
		return Key{}, false
	}
	body := text[sep+1:]
	return Key{Text: text, Prefix: text[:sep], ID: body[:IDLen], Secret: body[IDLen : IDLen+SecretLen]}, true
}

func isBase62(c byte) bool {
	return c-'0' < 10 || (c|0x20)-'a' < 26 // both wrap around below
}

func checksum(body string) string {
	var sum [checksumLen]byte
	putChecksum(&sum, body)
	return string(sum[:])
}

func putChecksum(sum *[checksumLen]byte, body string) {
	n := crc32.ChecksumIEEE([]byte(body))
	for i := checksumLen - 1; i >= 0; i-- {
		sum[i] = alphabet[n%62]
		n /= 62
	}
}

// random returns n uniformly distributed characters. crypto/rand never fails.
func random(n int) string {
	out := make([]byte, 0, n)
	for len(out) < n {
		var buf [64]byte
		rand.Read(buf[:])
		for _, b := range buf {
			// 248 = 4 × 62: higher bytes would favour the first characters.
			if b < 248 && len(out) < n {
				out = append(out, alphabet[b%62])
			}
		}
	}
	return string(out)
}

// base62 writes the lowest n digits of the number that b spells.
func base62(b []byte, n int) string {
	x, base, digit := new(big.Int).SetBytes(b), big.NewInt(62), new(big.Int)
	out := make([]byte, n)
	for i := range out {
		x.DivMod(x, base, digit)
		out[i] = alphabet[digit.Int64()]
	}
	return string(out)
}
