package agentauth

import (
	"encoding/base64"
	"errors"
	"slices"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// scheme tells the scheme of a request, if p accepts it.
func (p policy) scheme(m *httpsig.Message, compat Compat) (Scheme, bool) {
	scheme := Scheme(m.Scheme)
	if scheme == SchemeJWKSURI && compat.LegacyJWKSURI && m.Has("uri") && !m.Has("id") {
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
	return signedBy(key)
}

func (v *Verifier) inlineKey(m *httpsig.Message) (jose.Key, error) {
	if m.Has("jwk") && !m.Has("kty") && v.profile.Compat.LegacyHWKJWKParam {
		return v.inlineJWK(m)
	}
	if m.Has("kid") && !v.profile.Compat.HWKWithoutAlg {
		return jose.Key{}, refuse(keywright.CodeInvalidKey, "kid is not for scheme hwk", nil)
	}
	for _, private := range []string{"d", "k", "p", "q"} {
		if m.Has(private) && !isSymmetric(m) {
			return jose.Key{}, refuse(keywright.CodeInvalidKey, "the key is a private one", nil)
		}
	}
	p, err := readInline(m)
	if err != nil {
		return jose.Key{}, err
	}
	if m.Has("alg") || !v.profile.Compat.HWKWithoutAlg {
		if err := checkName(p.Algorithm, v.profile.Compat.AcceptEdDSA); err != nil {
			return jose.Key{}, err
		}
	}
	key, err := p.Read()
	if err != nil {
		return jose.Key{}, badKey(err)
	}
	return key, nil
}

// readInline reads the parameters of a key. Names may come as tokens, as some
// write them; numbers may not, since few of them can.
func readInline(m *httpsig.Message) (jose.PublicJWK, error) {
	var p jose.PublicJWK
	for _, f := range []struct {
		name   string
		to     *string
		number bool
	}{{"kty", &p.Type, false}, {"crv", &p.Curve, false}, {"alg", &p.Algorithm, false}, {"x", &p.X, true}, {"y", &p.Y, true}} {
		value, ok := m.Param(f.name)
		if f.number {
			value, ok = m.StringParam(f.name)
		}
		if !ok && (f.name == "kty" || m.Has(f.name)) {
			return p, refuse(keywright.CodeInvalidKey, f.name+" is missing or not a string", nil)
		}
		*f.to = value
	}
	return p, nil
}

// isSymmetric reports whether the key is none of the algorithms here at all,
// which is the better answer to it.
func isSymmetric(m *httpsig.Message) bool {
	kty, _ := m.Param("kty")
	return kty == "oct"
}

// inlineJWK reads the form of before June 2026.
func (v *Verifier) inlineJWK(m *httpsig.Message) (jose.Key, error) {
	text, _ := m.Param("jwk")
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return jose.Key{}, refuse(keywright.CodeInvalidKey, "jwk is not base64url", nil)
	}
	key, err := jose.ParseJWK(data)
	if err != nil {
		return jose.Key{}, badKey(err)
	}
	return key, checkAlgorithm(key, v.profile.Compat.HWKWithoutAlg, v.profile.Compat.AcceptEdDSA)
}

// checkAlgorithm wants the key to say what it is for, by a name that means one
// thing (RFC 9864).
func checkAlgorithm(key jose.Key, withoutAlg, eddsa bool) error {
	name := key.DeclaredAlgorithm()
	if name == "" && withoutAlg && (key.Algorithm() == "EdDSA" || key.Algorithm() == nameES256) {
		return nil
	}
	return checkName(name, eddsa)
}

func checkName(name string, eddsa bool) error {
	if name == nameEd25519 || name == nameES256 || name == "EdDSA" && eddsa {
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
