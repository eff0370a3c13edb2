package httpsig

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// A SigningKey is a key with what its requests say of it, both of which were
// checked once. It does not hold the private key. It is safe for concurrent use.
type SigningKey struct {
	public jose.Key
	label  string // of the signature
	field  string // Signature-Key
}

// NewSigningKey checks an Ed25519 or a P-256 key, and the member of Signature-Key
// for it: a scheme with its parameters. label "" is sig. The error wraps
// [ErrMalformed] or an error of jose.
func NewSigningKey(public crypto.PublicKey, label, member string) (SigningKey, error) {
	key, err := jose.PublicKey(public)
	if err != nil {
		return SigningKey{}, fmt.Errorf("httpsig: %w", err)
	}
	if algorithmOf(key) == "" {
		return SigningKey{}, fmt.Errorf("httpsig: %w: a key for %s", jose.ErrUnsupportedAlgorithm, key.Algorithm())
	}
	if label == "" {
		label = "sig"
	}
	field := label + "=" + member
	d, err := readField(http.Header{fieldKey: {field}}, fieldKey, maxSignatureKey)
	switch {
	case err != nil:
		return SigningKey{}, err
	case len(d) != 1, d[0].name != label, d[0].text != member:
		return SigningKey{}, malformed(fieldKey, "not one member")
	case d[0].value.kind != kindToken:
		return SigningKey{}, malformed(fieldKey, "the scheme is not a token")
	}
	return SigningKey{key, label, field}, nil
}

// IsOf reports whether k is for this public key.
func (k SigningKey) IsOf(public crypto.PublicKey) bool {
	mine, ok := k.public.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && mine.Equal(public)
}

// A Signing says how to sign a request.
type Signing struct {
	Authority  string   // value of @authority
	Components []string // to cover, in this order
	Created    time.Time
	Expires    time.Time // zero: none

	// Stamp decides Created and Expires when it is known what is covered, which are
	// the lines of the base before the last; nil: they are what they are.
	Stamp func(covered []byte) (created, expires time.Time)
}

// Sign sets the three fields of r, and nothing else; after an error r has none of
// them. signer has the private key of k. Covered fields must be there, in one line
// each. What [Parse], [Message.CheckComponents] or [Message.Times] would refuse is
// not signed: all parts of the fields are checked before they are written, and not
// read again. The error wraps [ErrMalformed], [ErrComponents] or the signer's.
func (k SigningKey) Sign(r *http.Request, s Signing, signer crypto.Signer) error {
	for _, name := range []string{fieldKey, fieldInput, fieldSignature} {
		delete(r.Header, name)
	}
	base, params, err := k.base(r, s)
	if err != nil {
		return err
	}
	signature, err := jose.SignBytes(signer, k.public, base)
	if err != nil {
		return fmt.Errorf("httpsig: %w", err)
	}
	lines := []string{k.field, k.label + "=" + params, k.label + "=:" + base64.StdEncoding.EncodeToString(signature) + ":"}
	r.Header[fieldKey], r.Header[fieldInput], r.Header[fieldSignature] = lines[0:1:1], lines[1:2:2], lines[2:3:3]
	return nil
}

// base is what [Message.Base] will make of r when it is signed, with the member of
// Signature-Input.
func (k SigningKey) base(r *http.Request, s Signing) ([]byte, string, error) {
	if len(s.Components) > MaxComponents {
		return nil, "", componentsError("more than are read")
	}
	b := make([]byte, 0, len(k.field)+512)
	for i, name := range s.Components {
		switch {
		case !IsComponent(name):
			return nil, "", componentsError("a component that is not known")
		case slices.Contains(s.Components[:i], name):
			return nil, "", componentsError("a component twice")
		}
		value, err := k.component(r, s.Authority, name)
		if err != nil {
			return nil, "", err
		}
		b = appendComponent(b, name, value)
	}
	if s.Stamp != nil {
		s.Created, s.Expires = s.Stamp(b)
	}
	b = append(b, paramsLine...)
	start := len(b)
	b, err := s.appendParams(b)
	if err != nil {
		return nil, "", err
	}
	return b, string(b[start:]), nil
}

// component returns the value of a component of what is not signed yet.
func (k SigningKey) component(r *http.Request, authority, name string) (string, error) {
	switch name {
	case "signature-key":
		return k.field, nil
	case "signature", "signature-input":
		return "", componentsError("a signature that covers itself")
	}
	return component(r, authority, name)
}

// maxSeconds is the largest integer of a structured field (RFC 9651, section 3.3.1).
const maxSeconds = 999_999_999_999_999

// appendParams writes the member of Signature-Input.
func (s Signing) appendParams(b []byte) ([]byte, error) {
	created := s.Created.Unix()
	if created < 0 || created > maxSeconds {
		return nil, malformed(fieldInput, "created is not a number of seconds")
	}
	b = append(appendList(b, s.Components), ";created="...)
	b = strconv.AppendInt(b, created, 10)
	if s.Expires.IsZero() {
		return b, nil
	}
	expires := s.Expires.Unix()
	if expires < created || expires > maxSeconds {
		return nil, malformed(fieldInput, "expires before created")
	}
	return strconv.AppendInt(append(b, ";expires="...), expires, 10), nil
}

// Coverable reports whether r has a component, in a form that can be covered by its
// signature.
func Coverable(r *http.Request, name string) bool {
	if !IsComponent(name) {
		return false
	}
	switch name {
	case "signature-key":
		return true
	case "signature", "signature-input":
		return false
	}
	_, err := component(r, "", name)
	return err == nil
}

// List writes names of components as an inner list.
func List(components []string) string { return string(appendList(nil, components)) }

func appendList(b []byte, components []string) []byte {
	b = append(b, '(')
	for i, name := range components {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(append(append(b, '"'), name...), '"')
	}
	return append(b, ')')
}
