package jose_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/jose"
)

type jwk map[string]any

// with returns the JWK with some members changed; nil removes one.
func (k jwk) with(changes jwk) jwk {
	c := maps.Clone(k)
	for name, v := range changes {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

func (k jwk) json() []byte {
	text, _ := json.Marshal(k) // strings and lists of strings always encode
	return text
}

// goodJWKs are public keys as JWKs, written without the package's help.
func goodJWKs(t testing.TB) (okp, ec, rsa jwk) {
	okp = jwk{"kty": "OKP", "crv": "Ed25519", "x": b64(edSigner(t)[32:])}
	ec = jwk{"kty": "EC", "crv": "P-256",
		"x": b64(ecSigner(t).X.FillBytes(make([]byte, 32))), "y": b64(ecSigner(t).Y.FillBytes(make([]byte, 32)))}
	rsa = jwk{"kty": "RSA", "n": b64(rsaSigner(t).N.Bytes()), "e": "AQAB"}
	return okp, ec, rsa
}

func TestParseJWKRefuses(t *testing.T) {
	okp, ec, rsa := goodJWKs(t)
	x := okp["x"].(string)
	p := elliptic.P256().Params().P
	tooLarge := new(big.Int).Add(ecSigner(t).X, p)
	std := base64.StdEncoding.EncodeToString(edSigner(t)[32:])
	point := must[[]byte](t)(ecSigner(t).PublicKey.Bytes())
	bits := func(n int) string {
		v := new(big.Int).Lsh(big.NewInt(1), uint(n-1))
		return b64(v.SetBit(v, 0, 1).Bytes())
	}

	tests := []struct {
		name        string
		key         jwk
		unsupported bool
	}{
		{"K02 off the curve", ec.with(jwk{"y": ec["x"]}), false},
		{"K03 (0,0)", ec.with(jwk{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}), false},
		{"a coordinate not below p", ec.with(jwk{"x": b64(tooLarge.Bytes())}), false},
		{"all ones", ec.with(jwk{"x": b64([]byte(strings.Repeat("\xff", 32)))}), false},
		{"coordinates cut at another byte", ec.with(jwk{"x": b64(point[1:32]), "y": b64(point[32:])}), false},
		{"a coordinate of 31 bytes", ec.with(jwk{"x": b64(make([]byte, 31))}), false},
		{"a coordinate of 33 bytes", ec.with(jwk{"x": b64(ecSigner(t).X.FillBytes(make([]byte, 33)))}), false},
		{"AGT-38 no y", ec.with(jwk{"y": nil}), false},
		{"AGT-38 no x", ec.with(jwk{"x": nil}), false},
		{"AGT-38 P-384", ec.with(jwk{"crv": "P-384"}), true},
		{"AGT-38 secp256k1", ec.with(jwk{"crv": "secp256k1"}), true},
		{"a crv in another case", ec.with(jwk{"crv": "p-256"}), true},
		{"no crv", ec.with(jwk{"crv": nil}), false},
		{"K11 padding", okp.with(jwk{"x": x + "="}), false},
		{"K12 standard alphabet with padding", okp.with(jwk{"x": std}), false},
		{"K13 a character of the standard alphabet", okp.with(jwk{"x": x[:42] + "+"}), false},
		{"K14 spare bits", okp.with(jwk{"x": x[:42] + spareBit(x[42])}), false},
		{"K15 a newline", okp.with(jwk{"x": x[:5] + "\n" + x[5:]}), false},
		{"K15 a carriage return", okp.with(jwk{"x": x + "\r"}), false},
		{"K15 a space", okp.with(jwk{"x": " " + x}), false},
		{"no x", okp.with(jwk{"x": nil}), false},
		{"x empty", okp.with(jwk{"x": ""}), false},
		{"x a number", okp.with(jwk{"x": 1}), false},
		{"x a list", okp.with(jwk{"x": []string{x}}), false},
		{"K24 X25519", okp.with(jwk{"crv": "X25519"}), true},
		{"Ed448", okp.with(jwk{"crv": "Ed448"}), true},
		{"AGT-41 kty and crv do not fit", okp.with(jwk{"kty": "EC"}), true},
		{"K16 private OKP", okp.with(jwk{"d": b64(edSigner(t).Seed())}), false},
		{"K16 private EC", ec.with(jwk{"d": b64(make([]byte, 32))}), false},
		{"K16 private RSA", rsa.with(jwk{"d": "AQAB"}), false},
		{"K16 only p of a private RSA key", rsa.with(jwk{"p": "AQAB"}), false},
		{"K16 only q", rsa.with(jwk{"q": "AQAB"}), false},
		{"K16 only dp", rsa.with(jwk{"dp": "AQAB"}), false},
		{"K16 only dq", rsa.with(jwk{"dq": "AQAB"}), false},
		{"K16 only qi", rsa.with(jwk{"qi": "AQAB"}), false},
		{"K16 only oth", rsa.with(jwk{"oth": []string{}}), false},
		{"K16 an empty d", okp.with(jwk{"d": ""}), false},
		{"K18 symmetric", jwk{"kty": "oct", "k": b64(secret)}, true},
		{"K18 symmetric with alg", jwk{"kty": "oct", "k": b64(secret), "alg": "HS256"}, true},
		{"K18 k on a public key", okp.with(jwk{"k": b64(secret)}), false},
		{"K20 an unknown kty", jwk{"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}, true},
		{"no kty", okp.with(jwk{"kty": nil}), false},
		{"a kty in another case", okp.with(jwk{"kty": "okp"}), true},
		{"kty a list", okp.with(jwk{"kty": []string{"OKP"}}), false},
		{"K25 RSA of 512 bits", rsa.with(jwk{"n": bits(512)}), false},
		{"K25 RSA of 1024 bits", rsa.with(jwk{"n": bits(1024)}), false},
		{"K25 RSA of 2047 bits", rsa.with(jwk{"n": bits(2047)}), false},
		{"K26 RSA of 4097 bits", rsa.with(jwk{"n": bits(4097)}), false},
		{"K26 RSA of 65536 bits", rsa.with(jwk{"n": bits(65536)}), false},
		{"K27 e = 1", rsa.with(jwk{"e": "AQ"}), false},
		{"K28 e = 2", rsa.with(jwk{"e": "Ag"}), false},
		{"K28 e = 65538", rsa.with(jwk{"e": b64([]byte{1, 0, 2})}), false},
		{"e = 3", rsa.with(jwk{"e": "Aw"}), false},
		{"e = 2^31+1", rsa.with(jwk{"e": b64([]byte{0x80, 0, 0, 1})}), false},
		{"e of 5 bytes", rsa.with(jwk{"e": b64([]byte{1, 0, 0, 0, 1})}), false},
		{"e of 9 bytes", rsa.with(jwk{"e": b64([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})}), false},
		{"e empty", rsa.with(jwk{"e": ""}), false},
		{"no e", rsa.with(jwk{"e": nil}), false},
		{"e with a leading zero", rsa.with(jwk{"e": b64([]byte{0, 1, 0, 1})}), false},
		{"K29 an even modulus", rsa.with(jwk{"n": b64(new(big.Int).Sub(rsaSigner(t).N, big.NewInt(1)).Bytes())}), false},
		{"a modulus with a leading zero", rsa.with(jwk{"n": b64(append([]byte{0}, rsaSigner(t).N.Bytes()...))}), false},
		{"n empty", rsa.with(jwk{"n": ""}), false},
		{"no n", rsa.with(jwk{"n": nil}), false},
		{"use enc", okp.with(jwk{"use": "enc"}), false},
		{"use empty", okp.with(jwk{"use": ""}), false},
		{"use null", okp.with(jwk{"use": json.RawMessage("null")}), false},
		{"W key_ops encrypt", okp.with(jwk{"key_ops": []string{"encrypt"}}), false},
		{"W key_ops sign", okp.with(jwk{"key_ops": []string{"sign"}}), false},
		{"key_ops empty", okp.with(jwk{"key_ops": []string{}}), false},
		{"key_ops a string", okp.with(jwk{"key_ops": "verify"}), false},
		{"alg of another key", okp.with(jwk{"alg": "ES256"}), false},
		{"alg HS256 on a public key", rsa.with(jwk{"alg": "HS256"}), false},
		{"alg PS256", rsa.with(jwk{"alg": "PS256"}), true},
		{"alg RSA-OAEP", rsa.with(jwk{"alg": "RSA-OAEP"}), true},
		{"alg none", rsa.with(jwk{"alg": "none"}), true},
		{"alg empty", rsa.with(jwk{"alg": ""}), true},
		{"alg a number", rsa.with(jwk{"alg": 1}), false},
		{"kid a number", okp.with(jwk{"kid": 1}), false},
		{"kid too long", okp.with(jwk{"kid": strings.Repeat("k", jose.MaxKeyID+1)}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jose.ParseJWK(tt.key.json())
			if err == nil {
				t.Fatal("accepted")
			}
			if got := errors.Is(err, jose.ErrUnsupportedAlgorithm); got != tt.unsupported {
				t.Errorf("ErrUnsupportedAlgorithm is %v, want %v: %v", got, tt.unsupported, err)
			}
		})
	}
}

// spareBit sets a bit of the last character of 32 bytes that is no data.
func spareBit(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)|1:][:1]
}

func TestParseJWKRefusesText(t *testing.T) {
	okp, _, _ := goodJWKs(t)
	good := string(okp.json())
	for name, text := range map[string]string{
		"nothing":        "",
		"null":           "null",
		"a list":         "[" + good + "]",
		"two":            good + good,
		"a member twice": strings.Replace(good, "{", `{"crv":"X25519",`, 1),
		"too long":       strings.Replace(good, "{", `{"pad":"`+strings.Repeat("a", jose.MaxSet)+`",`, 1),
	} {
		if _, err := jose.ParseJWK([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestParseJWKAccepts(t *testing.T) {
	okp, ec, rsa := goodJWKs(t)
	extra := jwk{"kid": "k", "use": "sig", "key_ops": []string{"sign", "verify"}, "x5c": []string{"AA=="}, "unknown": 1}
	tests := []struct {
		name                     string
		key                      jwk
		algorithm, declared, kid string
	}{
		{"OKP", okp, "EdDSA", "", ""},
		{"EC", ec, "ES256", "", ""},
		{"RSA", rsa, "RS256", "", ""},
		{"OKP with all", okp.with(extra).with(jwk{"alg": "EdDSA"}), "EdDSA", "EdDSA", "k"},
		{"OKP by its new name", okp.with(jwk{"alg": "Ed25519"}), "EdDSA", "Ed25519", ""},
		{"EC with all", ec.with(extra).with(jwk{"alg": "ES256"}), "ES256", "ES256", "k"},
		{"RSA with all", rsa.with(extra).with(jwk{"alg": "RS256"}), "RS256", "RS256", "k"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := must[jose.Key](t)(jose.ParseJWK(tt.key.json()))
			if key.Algorithm() != tt.algorithm || key.DeclaredAlgorithm() != tt.declared || key.KeyID() != tt.kid {
				t.Errorf("got %q, %q, %q", key.Algorithm(), key.DeclaredAlgorithm(), key.KeyID())
			}
		})
	}
}

func TestMarshalJWK(t *testing.T) {
	okp, ec, rsa := goodJWKs(t)
	for _, tt := range []struct {
		name string
		key  jose.Key
		alg  string
		want jwk
	}{
		{"OKP", publicKey(t, edSigner(t)), "", okp},
		{"EC", publicKey(t, ecSigner(t)), "", ec},
		{"RSA", publicKey(t, rsaSigner(t)), "", rsa},
		{"with kid and alg", publicKey(t, edSigner(t)).WithKeyID("a<b"), "Ed25519", okp.with(jwk{"kid": "a<b", "alg": "Ed25519"})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := must[[]byte](t)(jose.MarshalJWK(tt.key, tt.alg))
			var got jwk
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if again := must[jose.Key](t)(jose.ParseJWK(text)); again.KeyID() != tt.key.KeyID() {
				t.Errorf("read back with kid %q", again.KeyID())
			}
		})
	}
	for name, key := range map[string]jose.Key{"a secret": hsKey(t), "nothing": {}} {
		if _, err := jose.MarshalJWK(key, ""); err == nil {
			t.Errorf("%s is written as a JWK", name)
		}
		if _, err := key.Thumbprint(); err == nil {
			t.Errorf("%s has a thumbprint", name)
		}
	}
	if _, err := jose.MarshalJWK(publicKey(t, edSigner(t)), "ES256"); err == nil {
		t.Error("an alg that does not fit is written")
	}
}
