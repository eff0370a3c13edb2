package httpsig

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/dunglas/httpsfv"
)

// A kind is a type of bare items (RFC 9651, section 3.3).
type kind byte

const (
	kindString kind = iota + 1
	kindToken
	kindInteger
	kindBytes
	kindBoolean
	kindOther // decimals, dates and display strings, of which no field here has a use
)

// A value is a bare item as it arrived. It is well formed, and not decoded.
type value struct {
	kind kind
	text string
}

// str returns the value of a string.
func (v value) str() (string, bool) {
	if v.kind != kindString {
		return "", false
	}
	inner := v.text[1 : len(v.text)-1]
	if strings.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	b := make([]byte, 0, len(inner))
	for i := 0; i < len(inner); i++ {
		if inner[i] == '\\' {
			i++
		}
		b = append(b, inner[i])
	}
	return string(b), true
}

func (v value) integer() (int64, bool) {
	if v.kind != kindInteger {
		return 0, false
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	return n, err == nil
}

// octets returns a byte sequence. RFC 9651 passes over spare bits that are set;
// here they are refused, so that a signature has one spelling.
func (v value) octets() ([]byte, bool) {
	if v.kind != kindBytes {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(v.text[1 : len(v.text)-1])
	return b, err == nil
}

// bare reads a bare item (RFC 9651, section 4.2.3.1). What this package has no
// use for, the library checks.
func (s *scanner) bare() (value, error) {
	s.values++
	if err := s.tooMany(); err != nil {
		return value{}, err
	}
	start := s.at
	kind, ok := s.overBare()
	if !ok {
		return value{}, errSyntax
	}
	v := value{kind, s.text[start:s.at]}
	if kind == kindOther {
		if _, err := httpsfv.UnmarshalItem([]string{v.text}); err != nil {
			return value{}, errSyntax
		}
	}
	return v, nil
}

// overBare goes over a bare item. It finds the end of those of kindOther, and
// does not check what they hold.
func (s *scanner) overBare() (kind, bool) {
	switch c := s.peek(); {
	case c == '"':
		return kindString, s.overString()
	case c == '*', isAlpha(c):
		s.over(isTokenChar)
		return kindToken, true
	case c == '-', isDigit(c):
		return s.overNumber()
	case c == ':':
		return kindBytes, s.overBytes()
	case c == '?':
		return kindBoolean, s.overText("?0") || s.overText("?1")
	case c == '@':
		s.at++
		_, ok := s.overNumber()
		return kindOther, ok
	case c == '%':
		return kindOther, s.overText(`%"`) && s.overThrough('"')
	}
	return 0, false
}

func (s *scanner) overString() bool {
	for s.at++; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return true
		case c == '\\':
			s.at++
			if c = s.peek(); c != '"' && c != '\\' {
				return false
			}
		case c < ' ', c > '~':
			return false
		}
	}
	return false
}

func (s *scanner) overNumber() (kind, bool) {
	if s.peek() == '-' {
		s.at++
	}
	digits := s.over(isDigit)
	if s.peek() != '.' {
		return kindInteger, 1 <= digits && digits <= 15
	}
	s.at++
	s.over(isDigit)
	return kindOther, digits > 0
}

func (s *scanner) overBytes() bool {
	s.at++
	chars := s.over(isBase64Char)
	padding := s.over(func(c byte) bool { return c == '=' })
	return padding <= 2 && (chars+padding)%4 == 0 && s.overText(":")
}
