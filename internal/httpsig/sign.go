package httpsig

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"net/http"
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

// Sign sets the three fields of r, and nothing else. signer has an Ed25519 or a
// P-256 key. Covered fields must be there, in one line each.
func Sign(r *http.Request, s Signing, signer crypto.Signer) error {
	key, err := jose.PublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("httpsig: %w", err)
	}
	if s.Label == "" {
		s.Label = "sig"
	}
	if len(s.Components) > MaxComponents {
		return componentsError("more components than are read")
	}
	for i, name := range s.Components {
		if !isComponent(name) {
			return componentsError(fmt.Sprintf("cannot cover %q", name))
		}
		for _, other := range s.Components[:i] {
			if other == name {
				return componentsError("a component twice")
			}
		}
	}
	params := s.params()
	r.Header.Set(fieldKey, s.Label+"="+s.Key)
	b, err := base(r, s.Authority, s.Components, params)
	if err != nil {
		return err
	}
	signature, err := jose.SignBytes(signer, key, b)
	if err != nil {
		return fmt.Errorf("httpsig: %w", err)
	}
	r.Header.Set(fieldInput, s.Label+"="+params)
	r.Header.Set(fieldSignature, s.Label+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return nil
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
