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
	"strings"

	"github.com/dunglas/httpsfv"
)

// Limits on what is read of one request.
const (
	MaxComponents   = 32
	maxSignature    = 8 << 10  // bytes of Signature
	maxInput        = 8 << 10  // bytes of Signature-Input
	maxSignatureKey = 16 << 10 // bytes of Signature-Key
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

	params     *httpsfv.Params // of the key
	times      *httpsfv.Params // of the signature
	raw        string          // the label's member of Signature-Input, as it arrived
	signature  []byte
	components error // why Components are not acceptable
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
	keys, err := readField(h, fieldKey, maxSignatureKey)
	if err != nil {
		return nil, err
	}
	label, err := chooseLabel(keys.names())
	if err != nil {
		return nil, err
	}
	m := &Message{Label: label}
	if err := m.readKey(keys); err != nil {
		return nil, err
	}
	inputs, err := readField(h, fieldInput, maxInput)
	if err != nil {
		return nil, err
	}
	if err := m.readInput(inputs); err != nil {
		return nil, err
	}
	signatures, err := readField(h, fieldSignature, maxSignature)
	if err != nil {
		return nil, err
	}
	return m, m.readSignature(signatures)
}

func chooseLabel(names []string) (string, error) {
	if len(names) == 1 {
		return names[0], nil
	}
	for _, n := range names {
		if n == "sig" {
			return n, nil
		}
	}
	return "", malformed(fieldKey, "several members and none named sig")
}

func (m *Message) readKey(keys *field) error {
	member, ok := keys.Get(m.Label)
	if !ok {
		return malformed(fieldKey, "no member of the label")
	}
	item, ok := member.(httpsfv.Item)
	if !ok {
		return malformed(fieldKey, "the member is a list")
	}
	scheme, ok := item.Value.(httpsfv.Token)
	if !ok {
		return malformed(fieldKey, "the scheme is not a token")
	}
	m.Scheme, m.params = string(scheme), item.Params
	return nil
}

func (m *Message) readInput(inputs *field) error {
	member, ok := inputs.Get(m.Label)
	if !ok {
		return malformed(fieldInput, "no member of the label")
	}
	list, ok := member.(httpsfv.InnerList)
	if !ok {
		return malformed(fieldInput, "the member is not a list of components")
	}
	m.raw, m.times = inputs.raw(m.Label), list.Params
	return m.readComponents(list.Items)
}

// readComponents refuses what is no list of names. What may be said about names
// that are not acceptable is kept for [Message.CheckComponents].
func (m *Message) readComponents(items []httpsfv.Item) error {
	if len(items) > MaxComponents {
		m.components = componentsError("more components than are read")
		return nil
	}
	m.Components = make([]string, 0, len(items))
	for _, item := range items {
		name, ok := item.Value.(string)
		if !ok {
			return malformed(fieldInput, "a component is not a string")
		}
		switch {
		case len(item.Params.Names()) > 0:
			m.components = componentsError("a component with parameters")
		case !isComponent(name):
			m.components = componentsError("a component that is not known")
		case m.Covers(name):
			m.components = componentsError("a component twice")
		}
		m.Components = append(m.Components, name)
	}
	return nil
}

func (m *Message) readSignature(signatures *field) error {
	member, ok := signatures.Get(m.Label)
	if !ok {
		return malformed(fieldSignature, "no member of the label")
	}
	item, ok := member.(httpsfv.Item)
	if !ok {
		return malformed(fieldSignature, "the member is a list")
	}
	if m.signature, ok = item.Value.([]byte); !ok {
		return malformed(fieldSignature, "the member is not a byte sequence")
	}
	return nil
}

// Covers reports whether name is covered.
func (m *Message) Covers(name string) bool {
	for _, c := range m.Components {
		if c == name {
			return true
		}
	}
	return false
}

// CheckComponents wants every component to be one that [Message.Base] knows, once
// and without parameters, and required to be among them. The error wraps
// [ErrComponents].
func (m *Message) CheckComponents(required ...string) error {
	if m.components != nil {
		return m.components
	}
	for _, name := range required {
		if !m.Covers(name) {
			return componentsError("not covered: " + name)
		}
	}
	return nil
}

// isComponent reports whether Base can tell the value of name: one of four
// derived components, or any field, in lower case (RFC 9421, section 2). Host is
// a field that Go's server takes away; @authority says the same.
func isComponent(name string) bool {
	switch name {
	case "@method", "@authority", "@path", "@query":
		return true
	case "", "host":
		return false
	}
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == ""
}
