package jose_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

func TestWrongSignatures(t *testing.T) {
	rsaKey := rsaSigner(t)
	der := x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(&rsaKey.PublicKey))
	keys := []jose.Key{hsKey(t), publicKey(t, rsaKey), publicKey(t, ecSigner(t)), publicKey(t, edSigner(t))}
	good := hs256

	tests := []struct {
		name, header string
		sign         func([]byte) []byte
	}{
		{"no MAC to speak of", goodHeader, func([]byte) []byte { return []byte{0} }},
		{"a MAC cut short", goodHeader, func(in []byte) []byte { return good(in)[:31] }},
		{"a MAC with a byte more", goodHeader, func(in []byte) []byte { return append(good(in), 0) }},
		{"a MAC with a bit changed", goodHeader, func(in []byte) []byte { m := good(in); m[31] ^= 1; return m }},
		{"the MAC of another text", goodHeader, func(in []byte) []byte { return good(in[1:]) }},
		{"BST-06 the MAC under the secret's base64", goodHeader, mac(sha256.New, []byte(base64.StdEncoding.EncodeToString(secret)))},
		{"BST-10 the MAC under the empty key", goodHeader, mac(sha256.New, nil)},
		{"an HS512 MAC", goodHeader, mac(sha512.New, secret)},
		{"J02 HMAC with the RSA key as PKCS 1", goodHeader, mac(sha256.New, der)},
		{"J02 HMAC with the RSA key as SPKI", goodHeader, mac(sha256.New, spki)},
		{"J02 HMAC with the RSA key as PEM", goodHeader, mac(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))},
		{"J02 HMAC with the modulus", goodHeader, mac(sha256.New, rsaKey.N.Bytes())},
		{"J02 HMAC under the name RS256", `{"alg":"RS256"}`, good},
		{"RS256 with zeros", `{"alg":"RS256"}`, func([]byte) []byte { return make([]byte, 256) }},
		{"RS256 with a byte less", `{"alg":"RS256"}`, func(in []byte) []byte { return rs256(t, rsaKey, in)[1:] }},
		{"RS256 with a zero before", `{"alg":"RS256"}`, func(in []byte) []byte { return append([]byte{0}, rs256(t, rsaKey, in)...) }},
		{"PS256 under the name RS256", `{"alg":"RS256"}`, func(in []byte) []byte {
			d := sha256.Sum256(in)
			return must[[]byte](t)(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, d[:], nil))
		}},
		{"V04 ES256 with zeros", `{"alg":"ES256"}`, func([]byte) []byte { return make([]byte, 64) }},
		{"V06 ES256 in ASN.1", `{"alg":"ES256"}`, func(in []byte) []byte {
			d := sha256.Sum256(in)
			return must[[]byte](t)(ecSigner(t).Sign(rand.Reader, d[:], crypto.SHA256))
		}},
		{"ES256 with a byte more", `{"alg":"ES256"}`, func(in []byte) []byte { return append(es256(t, in), 0) }},
		{"ES256 with 32 bytes", `{"alg":"ES256"}`, func(in []byte) []byte { return es256(t, in)[:32] }},
		{"V02 Ed25519 with 63 bytes", `{"alg":"EdDSA"}`, func(in []byte) []byte { return ed25519Sign(t, in)[:63] }},
		{"V02 Ed25519 with 65 bytes", `{"alg":"EdDSA"}`, func(in []byte) []byte { return append(ed25519Sign(t, in), 0) }},
		{"Ed25519 under the name ES256", `{"alg":"ES256"}`, func(in []byte) []byte { return ed25519Sign(t, in) }},
		{"ES256 under the name EdDSA", `{"alg":"EdDSA"}`, func(in []byte) []byte { return es256(t, in) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := read(build(tt.header, goodClaims, tt.sign), keys...); !errors.Is(err, jose.ErrSignature) {
				t.Errorf("got %v, want ErrSignature", err)
			}
		})
	}
}

func TestDigestIgnoresTheSignature(t *testing.T) {
	other := mac(sha256.New, []byte("another secret of at least 32 bytes"))
	a := must[*jose.Token](t)(jose.Parse(build(goodHeader, goodClaims, hs256)))
	b := must[*jose.Token](t)(jose.Parse(build(goodHeader, goodClaims, other)))
	c := must[*jose.Token](t)(jose.Parse(build(goodHeader, goodClaims+" ", hs256)))
	if a.Digest() != b.Digest() || a.Digest() == c.Digest() {
		t.Error("Digest is not that of header and claims")
	}
}
