package httpsig_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// An rfcMessage is a message of RFC 9421.
type rfcMessage struct {
	StartLine string `json:"start_line"`
	Headers   [][2]string
	Body      string
}

type rfcVectors struct {
	Keys map[string]struct {
		JWK    map[string]string `json:"jwk_private"`
		PEM    string            `json:"public_pem"`
		Secret string            `json:"base64"`
	}
	Messages map[string]rfcMessage
	Cases    []struct {
		ID, Label, Alg, Key, Message, Signature, Expect string

		Inline *rfcMessage `json:"message_inline"`
		Input  string      `json:"signature_input"`
		Base   string      `json:"signature_base"`
	}
}

// otherRFC9421 are the valid cases that are refused here, and why.
var otherRFC9421 = map[string]struct {
	err error
	why string
}{
	"B.2.2": {httpsig.ErrComponents, "@query-param is not known, and no component has parameters"},
	"B.2.4": {httpsig.ErrComponents, "a response: @status"},
	"2.4-1": {httpsig.ErrComponents, "a response: @status, and components of its request"},
	"2.4-2": {httpsig.ErrComponents, "a response: @status, and components of its request"},
	"B.4-1": {httpsig.ErrMalformed, "Accept is in two lines"},
	"B.4-2": {httpsig.ErrMalformed, "Accept is in two lines"},
	"B.4-4": {httpsig.ErrMalformed, "Accept is in two lines"},
}

// TestRFC9421 has the signatures of the RFC, with a Signature-Key put before
// them that covers nothing.
func TestRFC9421(t *testing.T) {
	var v rfcVectors
	readShared(t, "rfc9421/vectors.json", &v)
	verified, refused := 0, 0
	for _, c := range v.Cases {
		source := v.Messages[c.Message]
		if c.Inline != nil {
			source = *c.Inline
		}
		m := source.message()
		m.header.Set("Signature-Key", c.Label+"=none")
		m.header.Set("Signature-Input", c.Input)
		m.header.Set("Signature", c.Signature)
		base, err := m.base()
		if err == nil && c.Base != "" && c.Expect == "valid" {
			if d := cmp.Diff(c.Base, string(base)); d != "" {
				t.Errorf("%s: base: %s", c.ID, d)
			}
		}
		if err == nil {
			err = v.check(t, m, c.Key, c.Alg, base)
		}
		switch other, on := otherRFC9421[c.ID]; {
		case on && !errors.Is(err, other.err):
			t.Errorf("%s: got %v, want %v: %s", c.ID, err, other.err, other.why)
		case on:
			refused++
		case c.Expect == "valid" && err != nil:
			t.Errorf("%s: %v", c.ID, err)
		case c.Expect == "invalid" && err == nil:
			t.Errorf("%s: verifies", c.ID)
		case err == nil:
			verified++
		}
	}
	if len(v.Cases) != 20 || verified != 10 || refused != len(otherRFC9421) {
		t.Errorf("of %d cases %d verify and %d are refused on purpose", len(v.Cases), verified, refused)
	}
}

func (r rfcMessage) message() message {
	method, rest, _ := strings.Cut(r.StartLine, " ")
	target, _, _ := strings.Cut(rest, " ")
	m := message{method: method, target: target, header: http.Header{}, body: r.Body}
	for _, h := range r.Headers {
		if m.header.Add(h[0], h[1]); h[0] == "Host" {
			m.host = h[1]
		}
	}
	return m
}

func (m message) base() ([]byte, error) {
	signed, err := httpsig.Parse(m.header)
	if err != nil {
		return nil, err
	}
	return signed.Base(m.request(), httpsig.Authority(m.host, true))
}

// check verifies the signature of m over base: by this package where it does the
// algorithm, and otherwise by hand, which shows that base is right.
func (v rfcVectors) check(t *testing.T, m message, key, alg string, base []byte) error {
	t.Helper()
	signed := must[*httpsig.Message](t)(httpsig.Parse(m.header))
	signature := member(t, m.header.Get("Signature"), signed.Label)
	var ok bool
	switch k := v.Keys[key]; alg {
	case "ed25519", "ecdsa-p256-sha256":
		delete(k.JWK, "d")
		return signed.Verify(must[jose.Key](t)(jose.ParseJWK(must[[]byte](t)(json.Marshal(k.JWK)))), base)
	case "hmac-sha256":
		mac := hmac.New(sha256.New, must[[]byte](t)(base64.StdEncoding.DecodeString(k.Secret)))
		mac.Write(base)
		ok = hmac.Equal(mac.Sum(nil), signature)
	case "rsa-pss-sha512":
		block, _ := pem.Decode([]byte(k.PEM))
		sum := sha512.Sum512(base)
		ok = rsa.VerifyPSS(must[any](t)(x509.ParsePKIXPublicKey(block.Bytes)).(*rsa.PublicKey), crypto.SHA512, sum[:], signature, nil) == nil
	case "rsa-v1_5-sha256":
		block, _ := pem.Decode([]byte(k.PEM))
		sum := sha256.Sum256(base)
		ok = rsa.VerifyPKCS1v15(must[*rsa.PublicKey](t)(x509.ParsePKCS1PublicKey(block.Bytes)), crypto.SHA256, sum[:], signature) == nil
	}
	if !ok {
		return errors.New("the base is not what was signed")
	}
	return nil
}

// member finds a byte sequence in a field by hand.
func member(t *testing.T, field, label string) []byte {
	t.Helper()
	_, rest, _ := strings.Cut(field, label+"=:")
	text, _, _ := strings.Cut(rest, ":")
	return must[[]byte](t)(base64.StdEncoding.DecodeString(text))
}

// TestRFC9421Values has the values of components in section 2.
func TestRFC9421Values(t *testing.T) {
	var v struct {
		Sets []struct {
			Section string
			Line    string `json:"request_line"`
			Headers [][2]string
			Values  [][2]string
		} `json:"component_values"`
	}
	readShared(t, "rfc9421/vectors.json", &v)
	good, refused := 0, 0
	for _, set := range v.Sets {
		m := rfcMessage{StartLine: "GET / HTTP/1.1", Headers: set.Headers}.message()
		for _, value := range set.Values {
			component, want := value[0], value[1]
			m.header.Set("Signature-Key", "sig=none")
			m.header.Set("Signature-Input", "sig=("+component+")")
			m.header.Set("Signature", "sig=::")
			base, err := m.base()
			switch {
			case strings.Contains(component, ";"), component == `"host"`:
				refused++
				if !errors.Is(err, httpsig.ErrComponents) {
					t.Errorf("%s: %s: %v", set.Section, component, err)
				}
			case len(m.header.Values(strings.Trim(component, `"`))) > 1:
				refused++
				if !errors.Is(err, httpsig.ErrMalformed) {
					t.Errorf("%s: %s in several lines: %v", set.Section, component, err)
				}
			default:
				good++
				if line, _, _ := strings.Cut(string(base), "\n"); err != nil || line != component+": "+want {
					t.Errorf("%s: %s: %q, %v", set.Section, component, line, err)
				}
			}
		}
	}
	if good != 4 || refused != 16 {
		t.Errorf("%d values, %d refused", good, refused)
	}
}
