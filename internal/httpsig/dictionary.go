package httpsig

import (
	"errors"
	"fmt"
	"strings"
)

// Limits on what is read of one field.
const (
	maxMembers = 16  // each is one more signature
	maxParams  = 32  // of one member
	maxValues  = 512 // with those of parameters
)

var (
	errSyntax  = errors.New("not a dictionary of structured fields")
	errTwice   = errors.New("a name twice")
	errMembers = fmt.Errorf("more than %d members", maxMembers)
	errParams  = fmt.Errorf("more than %d parameters", maxParams)
	errValues  = fmt.Errorf("more than %d values", maxValues)
)

// A dictionary is a field (RFC 9651, section 3.2) in which no name comes twice:
// RFC 9651 lets the last of several win, and there are readers that take the first.
//
// It is read here and not by the library, which does not tell where a member
// stands, nor which names came twice, and copies what this package needs in place.
type dictionary []member

// A member is an item or an inner list. All its parts are those of the text
// that arrived.
type member struct {
	name   string
	text   string // of the value with its parameters
	value  value  // of an item; none: it is an inner list
	items  []item // of an inner list
	params params
}

// An item is one of an inner list.
type item struct {
	value  value
	params bool // has some
}

type param struct {
	name  string
	value value
}

type params []param

// get returns the parameter of this name, or the zero value and false.
func (p params) get(name string) (value, bool) {
	for i := range p {
		if p[i].name == name {
			return p[i].value, true
		}
	}
	return value{}, false
}

// get returns the member of this name, or nil.
func (d dictionary) get(name string) *member {
	for i := range d {
		if d[i].name == name {
			return &d[i]
		}
	}
	return nil
}

func (m *member) isList() bool { return m.value.kind == 0 }

// A scanner reads a text once, from left to right.
type scanner struct {
	text   string
	at     int
	values int // bare items and parameters so far
}

// readDictionary reads the whole of text (RFC 9651, section 4.2.2), which must
// have a member.
func readDictionary(text string) (dictionary, error) {
	s := &scanner{text: text}
	s.over(isSpace)
	d := make(dictionary, 0, 1)
	for {
		m, err := s.member()
		switch {
		case err != nil:
			return nil, err
		case d.get(m.name) != nil:
			return nil, errTwice
		case len(d) == maxMembers:
			return nil, errMembers
		}
		d = append(d, m)
		s.over(isSpaceOrTab)
		if s.at == len(text) {
			return d, nil
		}
		if !s.overText(",") {
			return nil, errSyntax
		}
		s.over(isSpaceOrTab)
	}
}

func (s *scanner) member() (member, error) {
	name, err := s.key()
	if err != nil {
		return member{}, err
	}
	m := member{name: name, value: value{kindBoolean, "?1"}}
	valued := s.overText("=")
	start := s.at
	switch {
	case valued && s.peek() == '(':
		m.value = value{}
		m.items, err = s.items()
	case valued:
		m.value, err = s.bare()
	}
	if err != nil {
		return member{}, err
	}
	if m.params, err = s.params(); err != nil {
		return member{}, err
	}
	m.text = s.text[start:s.at]
	return m, nil
}

// items reads an inner list without its parameters.
func (s *scanner) items() ([]item, error) {
	s.at++
	items := make([]item, 0, 8)
	for {
		s.over(isSpace)
		if s.overText(")") {
			return items, nil
		}
		v, err := s.bare()
		if err != nil {
			return nil, err
		}
		params, err := s.params()
		if err != nil {
			return nil, err
		}
		if c := s.peek(); c != ' ' && c != ')' {
			return nil, errSyntax
		}
		items = append(items, item{v, len(params) > 0})
	}
}

func (s *scanner) params() (params, error) {
	var p params
	for s.overText(";") {
		s.over(isSpace)
		next, err := s.param()
		if err != nil {
			return nil, err
		}
		switch _, ok := p.get(next.name); {
		case ok:
			return nil, errTwice
		case len(p) == maxParams:
			return nil, errParams
		case p == nil:
			p = make(params, 0, 5) // the most that a key has
		}
		p = append(p, next)
	}
	return p, nil
}

func (s *scanner) param() (param, error) {
	name, err := s.key()
	if err != nil {
		return param{}, err
	}
	if s.overText("=") {
		v, err := s.bare()
		return param{name, v}, err
	}
	s.values++
	return param{name, value{kindBoolean, "?1"}}, s.tooMany()
}

func (s *scanner) key() (string, error) {
	start := s.at
	if c := s.peek(); c != '*' && !isLower(c) {
		return "", errSyntax
	}
	s.over(isKeyChar)
	return s.text[start:s.at], nil
}

func (s *scanner) tooMany() error {
	if s.values > maxValues {
		return errValues
	}
	return nil
}

// peek returns the next character, or 0 at the end, which begins nothing.
func (s *scanner) peek() byte {
	if s.at == len(s.text) {
		return 0
	}
	return s.text[s.at]
}

// over goes over all characters of a kind, and returns how many there were.
func (s *scanner) over(is func(byte) bool) int {
	start := s.at
	for s.at < len(s.text) && is(s.text[s.at]) {
		s.at++
	}
	return s.at - start
}

// overText goes over exactly this text, if it comes next.
func (s *scanner) overText(text string) bool {
	if !strings.HasPrefix(s.text[s.at:], text) {
		return false
	}
	s.at += len(text)
	return true
}

// overThrough goes on until after the next c.
func (s *scanner) overThrough(c byte) bool {
	i := strings.IndexByte(s.text[s.at:], c)
	s.at += i + 1
	return i >= 0
}

func isSpace(c byte) bool      { return c == ' ' }
func isSpaceOrTab(c byte) bool { return c == ' ' || c == '\t' }
func isDigit(c byte) bool      { return '0' <= c && c <= '9' }
func isLower(c byte) bool      { return 'a' <= c && c <= 'z' }
func isAlpha(c byte) bool      { return isLower(c | 0x20) }
func isKeyChar(c byte) bool {
	return isLower(c) || isDigit(c) || strings.IndexByte("_-.*", c) >= 0
}
func isTokenChar(c byte) bool {
	return isAlpha(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~:/", c) >= 0
}
func isBase64Char(c byte) bool {
	return isAlpha(c) || isDigit(c) || c == '+' || c == '/'
}
