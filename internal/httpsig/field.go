package httpsig

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"
)

const (
	maxMembers = 16 // of one field: each is one more signature
	maxParams  = 32 // of one member or component
)

func malformed(field, why string) error { return fmt.Errorf("%w: %s: %s", ErrMalformed, field, why) }

func componentsError(why string) error { return fmt.Errorf("%w: %s", ErrComponents, why) }

// A field is a dictionary (RFC 9651, section 3.2), and where its members stand.
type field struct {
	*httpsfv.Dictionary
	members []member
}

// A member is a part of a dictionary's text.
type member struct{ name, value string }

func (f *field) names() []string { return f.Names() }

// raw is the value of a member as it arrived.
func (f *field) raw(name string) string {
	for _, m := range f.members {
		if m.name == name {
			return m.value
		}
	}
	return ""
}

// readField reads a field of at most max bytes. RFC 9651 lets the last of two
// members or parameters of one name win, and the parser keeps nothing of the
// others; here both are refused, since two readers might take one each.
func readField(h http.Header, name string, max int) (*field, error) {
	text, err := join(h[name], max)
	if err != nil {
		return nil, malformed(name, err.Error())
	}
	if text == "" {
		return nil, malformed(name, "missing")
	}
	members, err := split(text)
	if err != nil {
		return nil, malformed(name, err.Error())
	}
	d, err := httpsfv.UnmarshalDictionary([]string{text})
	if err != nil {
		return nil, malformed(name, "not a dictionary of structured fields")
	}
	return &field{d, members}, nil
}

// join puts the lines of a field together (RFC 9110, section 5.3).
func join(lines []string, max int) (string, error) {
	total := 0
	for _, l := range lines {
		total += len(l) + 2
	}
	if total > max+2 {
		return "", fmt.Errorf("longer than %d bytes", max)
	}
	if len(lines) == 1 {
		return strings.Trim(lines[0], " \t"), nil
	}
	return strings.Trim(strings.Join(lines, ", "), " \t"), nil
}

// A scanner finds the parts of a dictionary without reading their values. It
// takes texts that are none; whether it is one the parser will say.
type scanner struct {
	text    string
	at      int
	members []member
	params  []string // of the value or component that it is in
	inList  bool
}

// split cuts a dictionary's text into members, and refuses names that come twice.
func split(text string) ([]member, error) {
	s := &scanner{text: text}
	for s.at < len(s.text) {
		if err := s.member(); err != nil {
			return nil, err
		}
	}
	return s.members, nil
}

func (s *scanner) member() error {
	s.skip(" \t")
	name := s.until("=;, \t")
	for _, m := range s.members {
		if m.name == name {
			return fmt.Errorf("a member twice")
		}
	}
	if len(s.members) == maxMembers {
		return fmt.Errorf("more than %d members", maxMembers)
	}
	if s.at < len(s.text) && s.text[s.at] == '=' {
		s.at++
	}
	start := s.at
	s.params, s.inList = s.params[:0], false
	for s.at < len(s.text) && (s.text[s.at] != ',' || s.inList) {
		if err := s.step(); err != nil {
			return err
		}
	}
	s.members = append(s.members, member{name, strings.TrimRight(s.text[start:s.at], " \t")})
	s.at++ // the comma
	return nil
}

// step goes over one character, string or name of a parameter.
func (s *scanner) step() error {
	switch s.text[s.at] {
	case '"':
		s.quoted()
		return nil
	case '(':
		s.inList = true
		s.params = s.params[:0]
	case ')':
		s.inList = false
		s.params = s.params[:0]
	case ' ':
		if s.inList { // the next component
			s.params = s.params[:0]
		}
	case ';':
		s.at++
		s.skip(" ")
		return s.param(s.until("=;, \t()\""))
	}
	s.at++
	return nil
}

func (s *scanner) param(name string) error {
	for _, p := range s.params {
		if p == name {
			return fmt.Errorf("a parameter twice")
		}
	}
	if len(s.params) == maxParams {
		return fmt.Errorf("more than %d parameters", maxParams)
	}
	s.params = append(s.params, name)
	return nil
}

// quoted goes over a string, to the end of the text if it has none.
func (s *scanner) quoted() {
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return
		}
	}
	s.at = min(s.at, len(s.text))
}

func (s *scanner) skip(set string) {
	for s.at < len(s.text) && strings.IndexByte(set, s.text[s.at]) >= 0 {
		s.at++
	}
}

func (s *scanner) until(stop string) string {
	start := s.at
	for s.at < len(s.text) && strings.IndexByte(stop, s.text[s.at]) < 0 {
		s.at++
	}
	return s.text[start:s.at]
}
