package jose_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/jose"
)

// fields are the parts of a JWK that a PublicJWK has.
func fields(k jwk) jose.PublicJWK {
	var p jose.PublicJWK
	for name, to := range map[string]*string{"kty": &p.Type, "crv": &p.Curve, "x": &p.X, "y": &p.Y, "alg": &p.Algorithm} {
		*to, _ = k[name].(string)
	}
	return p
}

func TestPublicJWKIsThatOfJSON(t *testing.T) {
	okp, ec, _ := goodJWKs(t)
	for _, k := range []jwk{okp, ec, okp.with(jwk{"alg": "Ed25519"}), okp.with(jwk{"alg": "EdDSA"}), ec.with(jwk{"alg": "ES256"})} {
		got, want := must[jose.Key](t)(fields(k).Read()), must[jose.Key](t)(jose.ParseJWK(k.json()))
		for _, key := range []*jose.Key{&got, &want} {
			*key = key.WithKeyID("") // a key without one has none
		}
		describe := func(key jose.Key) []string {
			return []string{key.Algorithm(), key.DeclaredAlgorithm(), key.KeyID(), must[string](t)(key.Thumbprint())}
		}
		if d := cmp.Diff(describe(want), describe(got)); d != "" {
			t.Error(d)
		}
	}
}

func TestPublicJWKRefused(t *testing.T) {
	okp, ec, _ := goodJWKs(t)
	x := okp["x"].(string)
	std := base64.StdEncoding.EncodeToString(edSigner(t)[32:])
	for _, c := range []struct {
		name        string
		key         jwk
		unsupported bool
	}{
		{"nothing", jwk{}, true},
		{"a secret", jwk{"kty": "oct"}, true},
		{"RSA", okp.with(jwk{"kty": "RSA"}), true},
		{"kty in lower case", okp.with(jwk{"kty": "okp"}), true},
		{"another alg", okp.with(jwk{"alg": "none"}), true},
		{"alg in another case", okp.with(jwk{"alg": "ed25519"}), true},
		{"alg of a secret", okp.with(jwk{"alg": "HS256"}), false},
		{"alg of the other type", okp.with(jwk{"alg": "ES256"}), false},
		{"alg of the other type, EC", ec.with(jwk{"alg": "Ed25519"}), false},
		{"the curve of key agreement", okp.with(jwk{"crv": "X25519"}), false},
		{"the curve of the other type", okp.with(jwk{"crv": "P-256"}), false},
		{"the curve of the other type, EC", ec.with(jwk{"crv": "Ed25519"}), false},
		{"P-384", ec.with(jwk{"crv": "P-384"}), false},
		{"no curve", okp.with(jwk{"crv": nil}), false},
		{"no x", okp.with(jwk{"x": nil}), false},
		{"no y", ec.with(jwk{"y": nil}), false},
		{"a y more", okp.with(jwk{"y": x}), false},
		{"5 bytes", okp.with(jwk{"x": "AAAAAAA"}), false},
		{"31 bytes", okp.with(jwk{"x": b64(edSigner(t)[33:])}), false},
		{"33 bytes", okp.with(jwk{"x": b64(append([]byte{1}, edSigner(t)[32:]...))}), false},
		{"padding", okp.with(jwk{"x": x + "="}), false},
		{"the other alphabet", okp.with(jwk{"x": strings.TrimRight(std, "=")[:42] + "+"}), false},
		{"a spare bit", okp.with(jwk{"x": x[:42] + spareBit(x[42])}), false},
		{"a line break", okp.with(jwk{"x": x[:10] + "\n" + x[10:]}), false},
		{"small order", okp.with(jwk{"x": b64(append([]byte{1}, make([]byte, 31)...))}), false},
		{"not canonical", okp.with(jwk{"x": b64(append(append([]byte{0xee}, []byte(strings.Repeat("\xff", 30))...), 0x7f))}), false},
		{"off the curve", ec.with(jwk{"y": ec["x"]}), false},
		{"the point at zero", ec.with(jwk{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}), false},
		{"a coordinate of 31 bytes", ec.with(jwk{"x": b64(make([]byte, 31))}), false},
		{"a coordinate of 33 bytes", ec.with(jwk{"y": b64(make([]byte, 33))}), false},
	} {
		_, err := fields(c.key).Read()
		if err == nil || errors.Is(err, jose.ErrUnsupportedAlgorithm) != c.unsupported {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && len(err.Error()) > 200 {
			t.Errorf("%s: an error of %d bytes", c.name, len(err.Error()))
		}
	}
	if _, err := (jose.PublicJWK{Type: strings.Repeat("t", 10_000)}).Read(); err == nil || len(err.Error()) > 200 {
		t.Errorf("a type of 10,000 bytes: %v", err)
	}
}

// TestSame: keys are the same by what they are, not by what is said of them.
func TestSame(t *testing.T) {
	read := func(p jose.PublicJWK) jose.Key {
		t.Helper()
		k, err := p.Read()
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one := jose.PublicJWK{Type: "OKP", Curve: "Ed25519", X: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
	other := jose.PublicJWK{Type: "OKP", Curve: "Ed25519", X: "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"}
	if k := read(one); !k.Same(k.WithKeyID("x")) || k.Same(read(other)) || k.Same(jose.Key{}) || (jose.Key{}).Same(k) || (jose.Key{}).Same(jose.Key{}) {
		t.Error("keys are mistaken for one another")
	}
}
