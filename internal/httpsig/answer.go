package httpsig

import "net/http"

// A Field is a dictionary of an answer, such as Signature-Error. Names of an answer
// that nobody knows are passed over.
type Field struct{ members dictionary }

const maxField = 16 << 10 // bytes of a Field; a requirement holds a token

// ReadField reads a field of an answer. The error wraps [ErrMalformed], also where
// the answer has no such field.
func ReadField(h http.Header, name string) (Field, error) {
	d, err := readField(h, http.CanonicalHeaderKey(name), maxField)
	return Field{d}, err
}

// Token returns a member that is a token or, as some write them, a string.
func (f Field) Token(name string) (string, bool) {
	m := f.members.get(name)
	if m == nil {
		return "", false
	}
	return m.value.word()
}

// First returns the name of the first member; "": there is none.
func (f Field) First() string {
	if len(f.members) == 0 {
		return ""
	}
	return f.members[0].name
}

// Strings returns a member that is a list of strings.
func (f Field) Strings(name string) ([]string, bool) {
	m := f.members.get(name)
	if m == nil || !m.isList() {
		return nil, false
	}
	list := make([]string, len(m.items))
	for i, item := range m.items {
		text, ok := item.value.str()
		if !ok {
			return nil, false
		}
		list[i] = text
	}
	return list, true
}

// Param returns a parameter of a member.
func (f Field) Param(member, name string) (string, bool) {
	m := f.members.get(member)
	if m == nil {
		return "", false
	}
	v, _ := m.params.get(name)
	return v.word()
}

// word is a string or a token.
func (v value) word() (string, bool) {
	if v.kind == kindToken {
		return v.text, true
	}
	return v.str()
}
