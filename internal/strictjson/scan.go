package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// A scanner walks once over a text that is known to be valid UTF-8.
type scanner struct {
	data  []byte
	pos   int
	depth int
}

func parse(data []byte) ([]member, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not valid UTF-8")
	}
	s := scanner{data: data}
	s.space()
	if s.peek() != '{' {
		return nil, s.unexpected("an object")
	}
	list := make([]member, 0, 8)
	if err := s.object(&list); err != nil {
		return nil, err
	}
	if s.space(); s.pos < len(data) {
		return nil, s.unexpected("the end")
	}
	return list, nil
}

// peek returns the next byte, or 0 at the end, where no value can begin either.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) unexpected(want string) error {
	return fmt.Errorf("offset %d: want %s", s.pos, want)
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// take skips space and one byte that must be c.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) enter() error {
	if s.depth++; s.depth > MaxDepth {
		return fmt.Errorf("offset %d: nested deeper than %d", s.pos, MaxDepth)
	}
	s.pos++ // the bracket
	return nil
}

func (s *scanner) value() error {
	switch c := s.peek(); {
	case c == '"':
		_, err := s.string()
		return err
	case c == '{':
		return s.object(nil)
	case c == '[':
		return s.array()
	case c == '-', c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.unexpected("a value")
}

// object reads the object that begins here. It appends the members to list,
// unless that is nil.
func (s *scanner) object(list *[]member) error {
	if err := s.enter(); err != nil {
		return err
	}
	var seen names
	for first := true; !s.take('}'); first = false {
		if !first && !s.take(',') {
			return s.unexpected("a comma or the end of the object")
		}
		name, value, err := s.member()
		if err != nil {
			return err
		}
		if !seen.add(name) {
			return fmt.Errorf("offset %d: member %q twice", s.pos, clip(string(name)))
		}
		if list != nil {
			*list = append(*list, member{name, value})
		}
	}
	s.depth--
	return nil
}

func (s *scanner) member() (name, value []byte, err error) {
	if s.space(); s.peek() != '"' {
		return nil, nil, s.unexpected("a member name")
	}
	start := s.pos
	escaped, err := s.string()
	if err != nil {
		return nil, nil, err
	}
	name = s.data[start+1 : s.pos-1]
	if escaped {
		name = []byte(unquote(s.data[start:s.pos]))
	}
	if !s.take(':') {
		return nil, nil, s.unexpected("a colon")
	}
	s.space()
	start = s.pos
	if err := s.value(); err != nil {
		return nil, nil, err
	}
	return name, s.data[start:s.pos:s.pos], nil
}

func (s *scanner) array() error {
	if err := s.enter(); err != nil {
		return err
	}
	for first := true; !s.take(']'); first = false {
		if !first && !s.take(',') {
			return s.unexpected("a comma or the end of the array")
		}
		s.space()
		if err := s.value(); err != nil {
			return err
		}
	}
	s.depth--
	return nil
}

// elements splits an array that has been scanned before.
func elements(array []byte) []json.RawMessage {
	s := scanner{data: array, pos: 1}
	var list []json.RawMessage
	for !s.take(']') {
		s.take(',')
		s.space()
		start := s.pos
		if s.value() != nil {
			return list // not reached: the text is an array
		}
		list = append(list, array[start:s.pos:s.pos])
	}
	return list
}

func (s *scanner) literal(word string) error {
	end := s.pos + len(word)
	if end > len(s.data) || string(s.data[s.pos:end]) != word {
		return s.unexpected(word)
	}
	s.pos = end
	return nil
}

// number reads "-"? ("0" | [1-9][0-9]*) ("." [0-9]+)? ([eE] [+-]? [0-9]+)?
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	zero := s.peek() == '0'
	if n := s.digits(); n == 0 || zero && n > 1 {
		return s.unexpected("a number")
	}
	if s.peek() == '.' {
		if s.pos++; s.digits() == 0 {
			return s.unexpected("a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if s.digits() == 0 {
			return s.unexpected("a digit")
		}
	}
	return nil
}

func (s *scanner) digits() int {
	start := s.pos
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos - start
}
