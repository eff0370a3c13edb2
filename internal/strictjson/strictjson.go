// Package strictjson reads JSON objects that somebody may have written to be
// understood in two ways. It accepts a subset of RFC 8259: one object, valid
// UTF-8, no member name twice (compared after unescaping, at any depth), no
// unpaired surrogate, no byte behind the end and at most [MaxDepth] levels.
//
// Names are matched byte for byte, never without regard to case.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
)

// MaxDepth is how deep objects and arrays may nest; the outermost is level one.
const MaxDepth = 32

// ErrAbsent says that an object has no member of the name asked for. A member
// with the value null is not absent.
var ErrAbsent = errors.New("absent")

// Members are the members of one object, in the order of the text. The zero
// value has none. It is safe for concurrent use.
type Members struct {
	list []member
}

type member struct {
	name  []byte // unescaped
	value []byte // as it stood, without the space around it
}

// Object reads data, which must be one object, and keeps parts of it: the
// caller must not modify data afterwards.
//
// Errors tell the offset and, for a repeated name, the name; never a value.
func Object(data []byte) (Members, error) {
	list, err := parse(data)
	if err != nil {
		return Members{}, fmt.Errorf("strictjson: %w", err)
	}
	return Members{list}, nil
}

// Len returns the number of members.
func (m Members) Len() int { return len(m.list) }

// Names yields the names in the order of the text.
func (m Members) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range m.list {
			if !yield(string(e.name)) {
				return
			}
		}
	}
}

// Has reports whether there is a member of this name, be it null.
func (m Members) Has(name string) bool {
	_, ok := m.Raw(name)
	return ok
}

// Raw returns a member's value as it stood in the text. The caller must not
// modify it.
func (m Members) Raw(name string) (json.RawMessage, bool) {
	for i := range m.list {
		if string(m.list[i].name) == name {
			return m.list[i].value, true
		}
	}
	return nil, false
}

// String returns a member that is a string. Any other type, null too, is an
// error, as it is with the other methods; a missing member is [ErrAbsent].
func (m Members) String(name string) (string, error) {
	raw, err := m.value(name)
	if err != nil {
		return "", err
	}
	if raw[0] != '"' {
		return "", wrongType(name, "a string")
	}
	return unquote(raw), nil
}

// Int returns a member that is written as a whole number: 1.0 and 1e3 are not.
func (m Members) Int(name string) (int64, error) {
	raw, err := m.value(name)
	if err != nil {
		return 0, err
	}
	// The text is a JSON value, so all that ParseInt takes is digits and a minus.
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, wrongType(name, "an integer")
	}
	return n, nil
}

// Bool returns a member that is true or false.
func (m Members) Bool(name string) (bool, error) {
	raw, err := m.value(name)
	if err != nil {
		return false, err
	}
	switch string(raw) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, wrongType(name, "true or false")
}

// Object returns the members of a member that is an object.
func (m Members) Object(name string) (Members, error) {
	raw, err := m.value(name)
	if err != nil {
		return Members{}, err
	}
	o, err := Object(raw)
	if err != nil {
		return Members{}, wrongType(name, "an object")
	}
	return o, nil
}

// Array returns the elements of a member that is an array, each as it stood.
// The caller must not modify them.
func (m Members) Array(name string) ([]json.RawMessage, error) {
	raw, err := m.value(name)
	if err != nil {
		return nil, err
	}
	if raw[0] != '[' {
		return nil, wrongType(name, "an array")
	}
	return elements(raw), nil
}

// List returns a member that is an array of strings.
func (m Members) List(name string) ([]string, error) {
	array, err := m.Array(name)
	if err != nil {
		return nil, err
	}
	list := make([]string, len(array))
	for i, raw := range array {
		if raw[0] != '"' {
			return nil, wrongType(name, "an array of strings")
		}
		list[i] = unquote(raw)
	}
	return list, nil
}

// Strings returns a member that is a string or an array of strings, as the
// audience of a token is.
func (m Members) Strings(name string) ([]string, error) {
	raw, err := m.value(name)
	switch {
	case err != nil:
		return nil, err
	case raw[0] == '"':
		return []string{unquote(raw)}, nil
	case raw[0] == '[':
		return m.List(name)
	}
	return nil, wrongType(name, "a string or an array of strings")
}

func (m Members) value(name string) (json.RawMessage, error) {
	raw, ok := m.Raw(name)
	if !ok {
		return nil, fmt.Errorf("member %q: %w", clip(name), ErrAbsent)
	}
	return raw, nil
}

func wrongType(name, want string) error {
	return fmt.Errorf("member %q: want %s", clip(name), want)
}

// clip keeps a hostile name from filling a log line.
func clip(name string) string {
	const most = 40
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}
