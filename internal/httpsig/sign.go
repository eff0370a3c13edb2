package httpsig

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// A Signing says how to sign a request.
type Signing struct {
	Authority  string   // value of @authority
	Label      string   // "": sig
	Key        string   // the member of Signature-Key: a scheme with its parameters
	Components []string // to cover, in this order
	Created    time.Time
	Expires    time.Time // zero: none
}

// Sign sets the three fields of r, and nothing else; after an error r has none of
// them. signer has an Ed25519 or a P-256 key. Covered fields must be there, in one
// line each. What [Parse], [Message.CheckComponents] or [Message.Times] would
// refuse is not signed.
func Sign(r *http.Request, s Signing, signer crypto.Signer) error {
	err := s.sign(r, signer)
	if err != nil {
		for _, name := range []string{fieldKey, fieldInput, fieldSignature} {
			r.Header.Del(name)
		}
	}
	return err
}

func (s Signing) sign(r *http.Request, signer crypto.Signer) error {
	key, err := jose.PublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("httpsig: %w", err)
	}
	if algorithmOf(key) == "" {
		return fmt.Errorf("httpsig: %w: a key for %s", jose.ErrUnsupportedAlgorithm, key.Algorithm())
	}
	label := s.Label
	if label == "" {
		label = "sig"
	}
	r.Header.Set(fieldKey, label+"="+s.Key)
	r.Header.Set(fieldInput, label+"="+s.params())
	r.Header.Set(fieldSignature, label+"=::")
	b, err := s.base(r)
	if err != nil {
		return err
	}
	signature, err := jose.SignBytes(signer, key, b)
	if err != nil {
		return fmt.Errorf("httpsig: %w", err)
	}
	r.Header.Set(fieldSignature, label+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return nil
}

// base is what a verifier will make of r.
func (s Signing) base(r *http.Request) ([]byte, error) {
	m, err := Parse(r.Header)
	if err != nil {
		return nil, err
	}
	if _, err := m.Times(); err != nil {
		return nil, err
	}
	if err := m.CheckComponents(); err != nil {
		return nil, err
	}
	if !slices.Equal(m.Components, s.Components) {
		return nil, componentsError("a component that is not known")
	}
	return m.Base(r, s.Authority)
}

func (s Signing) params() string {
	text := List(s.Components) + ";created=" + strconv.FormatInt(s.Created.Unix(), 10)
	if !s.Expires.IsZero() {
		text += ";expires=" + strconv.FormatInt(s.Expires.Unix(), 10)
	}
	return text
}

// List writes names of components as an inner list.
func List(components []string) string {
	if len(components) == 0 {
		return "()"
	}
	return `("` + strings.Join(components, `" "`) + `")`
}
