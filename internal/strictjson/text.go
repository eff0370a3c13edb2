package strictjson

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// string reads the string that begins here and reports whether it has escapes.
func (s *scanner) string() (escaped bool, err error) {
	for s.pos++; s.pos < len(s.data); {
		switch c := s.data[s.pos]; {
		case c == '"':
			s.pos++
			return escaped, nil
		case c < 0x20:
			return false, s.unexpected("no control character")
		case c == '\\':
			escaped = true
			if err := s.escape(); err != nil {
				return false, err
			}
		default:
			s.pos++
		}
	}
	return false, s.unexpected("the end of the string")
}

// escape reads one escape, or two that together are one code point.
func (s *scanner) escape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
	default:
		return s.unexpected("an escape")
	}
	switch r, ok := s.unit(); {
	case !ok:
		return s.unexpected("four hexadecimal digits")
	case r >= 0xDC00 && r <= 0xDFFF:
		return s.unexpected("a high surrogate first")
	case r >= 0xD800 && r <= 0xDBFF:
		if !bytes.HasPrefix(s.data[s.pos:], []byte(`\u`)) {
			return s.unexpected("a low surrogate")
		}
		s.pos++
		if low, ok := s.unit(); !ok || low < 0xDC00 || low > 0xDFFF {
			return s.unexpected("a low surrogate")
		}
	}
	return nil
}

// unit reads a "u" and the four digits of a UTF-16 code unit.
func (s *scanner) unit() (uint64, bool) {
	start := s.pos + 1
	if start+4 > len(s.data) {
		return 0, false
	}
	r, err := strconv.ParseUint(string(s.data[start:start+4]), 16, 16)
	if err != nil {
		return 0, false
	}
	s.pos = start + 4
	return r, true
}

// unquote returns the value of a string that has been scanned before.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return "" // not reached: the text is a JSON string
	}
	return text
}

// names is the set of an object's member names: a short list, because objects
// usually are small, and a map beyond that, so that no text costs quadratic time.
type names struct {
	few  [8][]byte
	n    int
	many map[string]struct{}
}

// add reports false when the name was there before.
func (s *names) add(name []byte) bool {
	if s.many == nil {
		for _, other := range s.few[:s.n] {
			if bytes.Equal(other, name) {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = name
			s.n++
			return true
		}
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, other := range s.few {
			s.many[string(other)] = struct{}{}
		}
	}
	if _, ok := s.many[string(name)]; ok {
		return false
	}
	s.many[string(name)] = struct{}{}
	return true
}
