package agentauth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// scheme tells the scheme of a request, if p accepts it.
func (p policy) scheme(m *httpsig.Message, compat Compat) (Scheme, bool) {
	scheme := Scheme(m.Scheme)
	if scheme == SchemeJWKSURI && compat.LegacyJWKSURI && m.Has("uri") {
		scheme = SchemeJWKS
	}
	return scheme, slices.Contains(p.Schemes, scheme)
}

// byKey is scheme hwk (HTTP Signature Keys, section "hwk").
func (v *Verifier) byKey(m *httpsig.Message) (signer, error) {
	key, err := v.inlineKey(m)
	if err != nil {
		return signer{}, err
	}
	if err := checkAlgorithm(key, v.compat.HWKWithoutAlg, v.compat.AcceptEdDSA); err != nil {
		return signer{}, err
	}
	return signedBy(key)
}

func (v *Verifier) inlineKey(m *httpsig.Message) (jose.Key, error) {
	if m.Has("jwk") && v.compat.LegacyHWKJWKParam {
		return inlineJWK(m)
	}
	if m.Has("kid") && !v.compat.HWKWithoutAlg {
		return jose.Key{}, refuse(keywright.CodeInvalidKey, "kid is not for scheme hwk", nil)
	}
	for _, private := range []string{"d", "k", "p", "q"} {
		if m.Has(private) && !isSymmetric(m) {
			return jose.Key{}, refuse(keywright.CodeInvalidKey, "the key is a private one", nil)
		}
	}
	var p jose.PublicJWK
	for _, f := range []struct {
		name string
		to   *string
		need bool
	}{{"kty", &p.Type, true}, {"crv", &p.Curve, false}, {"x", &p.X, false}, {"y", &p.Y, false}, {"alg", &p.Algorithm, false}} {
		value, ok := m.Param(f.name)
		if !ok && (f.need || m.Has(f.name)) {
			return jose.Key{}, refuse(keywright.CodeInvalidKey, fmt.Sprintf("%s is missing or not a string", f.name), nil)
		}
		*f.to = value
	}
	key, err := p.Read()
	if err != nil {
		return jose.Key{}, badKey(err)
	}
	return key, nil
}

// isSymmetric reports whether the key is none of the algorithms here at all,
// which is the better answer to it.
func isSymmetric(m *httpsig.Message) bool {
	kty, _ := m.Param("kty")
	return kty == "oct"
}

// inlineJWK reads the form of before June 2026.
func inlineJWK(m *httpsig.Message) (jose.Key, error) {
	text, _ := m.Param("jwk")
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return jose.Key{}, refuse(keywright.CodeInvalidKey, "jwk is not base64url", nil)
	}
	key, err := jose.ParseJWK(data)
	if err != nil {
		return jose.Key{}, badKey(err)
	}
	return key, nil
}

// checkAlgorithm wants the key to say what it is for, by a name that means one
// thing (RFC 9864).
func checkAlgorithm(key jose.Key, withoutAlg, eddsa bool) error {
	switch name := key.DeclaredAlgorithm(); {
	case name == nameEd25519, name == nameES256:
		return nil
	case name == "EdDSA" && eddsa:
		return nil
	case name == "" && withoutAlg && (key.Algorithm() == "EdDSA" || key.Algorithm() == nameES256):
		return nil
	}
	return refuse(keywright.CodeUnsupportedAlgorithm, "alg of the key: want "+nameEd25519+" or "+nameES256, nil)
}

func signedBy(key jose.Key) (signer, error) {
	jkt, err := key.Thumbprint()
	if err != nil {
		return signer{}, keywright.Wrap(keywright.CodeInternal, errors.New("agentauth: key without thumbprint"))
	}
	return signer{key: key, jkt: jkt}, nil
}
