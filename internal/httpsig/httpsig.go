// Package httpsig reads, checks and makes the signatures of HTTP requests: RFC
// 9421 as far as the profile of AAuth needs it, with the field Signature-Key of
// HTTP Signature Keys.
//
// It is for hostile input. Every field has a limit that is checked before it is
// read, all work is linear in what arrived, and nothing is guessed: what the
// profile does not use is refused, such as parameters of components. The bytes
// that arrived are what is verified, never a spelling of our own.
//
// The package knows no policy: which components, keys and times are good is for
// its callers to say.
package httpsig

import (
	"errors"
	"net/http"
	"slices"
)

// Limits on what is read of one request.
const (
	MaxComponents   = 32
	maxSignature    = 8 << 10  // bytes of Signature
	maxInput        = 8 << 10  // bytes of Signature-Input
	maxSignatureKey = 16 << 10 // bytes of Signature-Key
	maxDigest       = 1 << 10  // bytes of Content-Digest
	maxName         = 128      // bytes of a component's name
)

// The errors that a caller can act on. None of them holds anything of the request
// but names.
var (
	// ErrAbsent: the request has none of the three fields.
	ErrAbsent = errors.New("httpsig: not signed")

	// ErrMalformed: a field is missing, too long or not what it must be, or its
	// value contradicts another.
	ErrMalformed = errors.New("httpsig: malformed signature")

	// ErrComponents: what is covered is not what may be, or not all that must be.
	ErrComponents = errors.New("httpsig: components")
)

// The fields of a signed request, as http.Header has them.
const (
	fieldSignature = "Signature"
	fieldInput     = "Signature-Input"
	fieldKey       = "Signature-Key"
	fieldDigest    = "Content-Digest"
)

// A Message is what a request says of its signature. Nothing in it is verified.
type Message struct {
	Label      string
	Scheme     string   // of the key
	Components []string // that are covered, in the order of the signature

	key       params // of the member of Signature-Key
	params    params // of the signature
	raw       string // the label's member of Signature-Input, as it arrived
	signature []byte
	unfit     string // why Components are not acceptable; "": they are
}

// Signed reports whether the request has any of the three fields. It costs next
// to nothing.
func Signed(h http.Header) bool {
	return len(h[fieldSignature]) > 0 || len(h[fieldInput]) > 0 || len(h[fieldKey]) > 0
}

// Parse reads the fields of a signed request. Of several signatures it takes the
// one that Signature-Key names or, where that names several, "sig". Of the others
// it knows that they can be read. The error wraps [ErrAbsent] or [ErrMalformed].
func Parse(h http.Header) (*Message, error) {
	if !Signed(h) {
		return nil, ErrAbsent
	}
	m := new(Message)
	if err := m.readKey(h); err != nil {
		return nil, err
	}
	inputs, err := m.readInput(h)
	if err != nil {
		return nil, err
	}
	if err := m.readSignature(h, inputs); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Message) readKey(h http.Header) error {
	keys, err := readField(h, fieldKey, maxSignatureKey)
	if err != nil {
		return err
	}
	key := &keys[0]
	if len(keys) > 1 {
		key = keys.get("sig")
	}
	switch {
	case key == nil:
		return malformed(fieldKey, "several members and none named sig")
	case key.value.kind != kindToken:
		return malformed(fieldKey, "the scheme is not a token")
	}
	m.Label, m.Scheme, m.key = key.name, key.value.text, key.params
	return nil
}

func (m *Message) readInput(h http.Header) (dictionary, error) {
	inputs, err := readField(h, fieldInput, maxInput)
	if err != nil {
		return nil, err
	}
	input := inputs.get(m.Label)
	switch {
	case input == nil:
		return nil, malformed(fieldInput, "no member of the label")
	case !input.isList():
		return nil, malformed(fieldInput, "the member is not a list of components")
	}
	m.raw, m.params = input.text, input.params
	return inputs, m.readComponents(input.items)
}

// readComponents refuses what is no list of names. What may be said about names
// that are not acceptable is kept for [Message.CheckComponents].
func (m *Message) readComponents(items []item) error {
	if len(items) > MaxComponents {
		m.unfit = "more components than are read"
		return nil
	}
	m.Components = make([]string, 0, len(items))
	for _, item := range items {
		name, ok := item.value.str()
		if !ok {
			return malformed(fieldInput, "a component is not a string")
		}
		switch {
		case item.params:
			m.unfit = "a component with parameters"
		case !IsComponent(name):
			m.unfit = "a component that is not known"
		case m.Covers(name):
			m.unfit = "a component twice"
		}
		m.Components = append(m.Components, name)
	}
	return nil
}

// readSignature wants a signature for each member of Signature-Input, and none
// besides (RFC 9421, section 4).
func (m *Message) readSignature(h http.Header, inputs dictionary) error {
	signatures, err := readField(h, fieldSignature, maxSignature)
	if err != nil {
		return err
	}
	for i := range signatures {
		if inputs.get(signatures[i].name) == nil {
			return malformed(fieldSignature, "a label that Signature-Input does not have")
		}
	}
	if len(signatures) != len(inputs) {
		return malformed(fieldSignature, "no signature for a label of Signature-Input")
	}
	var ok bool
	if m.signature, ok = signatures.get(m.Label).value.octets(); !ok {
		return malformed(fieldSignature, "the member is not a byte sequence")
	}
	return nil
}

// Covers reports whether name is covered.
func (m *Message) Covers(name string) bool {
	return slices.Contains(m.Components, name)
}

// CheckComponents wants every component to be one that [Message.Base] knows, once
// and without parameters, and required to be among them. The error wraps
// [ErrComponents].
func (m *Message) CheckComponents(required ...string) error {
	if m.unfit != "" {
		return componentsError(m.unfit)
	}
	for _, name := range required {
		if !m.Covers(name) {
			return componentsError("not covered: " + name)
		}
	}
	return nil
}

// IsComponent reports whether [Message.Base] can tell the value of name: one of four
// derived components, or any field of up to 128 bytes, in lower case (RFC 9421,
// section 2). Host is a field that Go's server takes away; @authority says the same.
func IsComponent(name string) bool {
	switch name {
	case "@method", "@authority", "@path", "@query":
		return true
	case "", "host":
		return false
	}
	if len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isTokenChar(c) || 'A' <= c && c <= 'Z' || c == ':' || c == '/' {
			return false
		}
	}
	return true
}
