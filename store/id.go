package store

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// maxPart is the longest escaped part that ID keeps readable.
const maxPart = 200

// ID joins parts into the ID of a record or the name of a counter, so that
// different lists of parts never give the same ID, whatever a stranger put
// into them. Parts are separated by "/"; a "/", "%", control character or
// byte that is not UTF-8 within a part is written %XX, and a part longer than
// 200 bytes after that is replaced by "~" and its SHA-256. Up to five parts
// always fit into MaxID.
//
// The IDs that begin with the same parts share the prefix ID(parts...) + "/".
func ID(parts ...string) string {
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('/')
		}
		writePart(&b, p)
	}
	return b.String()
}

func writePart(b *strings.Builder, p string) {
	e := escape(p)
	if len(e) > maxPart {
		sum := sha256.Sum256([]byte(p))
		b.WriteByte('~')
		b.WriteString(hex.EncodeToString(sum[:]))
		return
	}
	b.WriteString(e)
}

// escape returns p as it stands when nothing in it needs escaping. "%." is the
// empty part, which could not stand alone, and no escape of anything else.
func escape(p string) string {
	if p == "" {
		return "%."
	}
	if !needsEscape(p) {
		return p
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(p); {
		r, size := utf8.DecodeRuneInString(p[i:])
		bad := r == utf8.RuneError && size == 1
		if bad || special(r) || (r == '~' && i == 0) {
			for _, c := range []byte(p[i : i+size]) {
				b.WriteByte('%')
				b.WriteByte(digits[c>>4])
				b.WriteByte(digits[c&15])
			}
		} else {
			b.WriteString(p[i : i+size])
		}
		i += size
	}
	return b.String()
}

func needsEscape(p string) bool {
	return p[0] == '~' || !utf8.ValidString(p) || strings.IndexFunc(p, special) >= 0
}

func special(r rune) bool { return r < 0x20 || r == 0x7f || r == '/' || r == '%' }
