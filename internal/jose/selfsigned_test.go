package jose_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

// namingJWT is a token that brings its key, by an implementation that is not
// ours; the key is that of RFC 8037, appendix A.1.
const (
	namingJWT = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiamt0LXMyNTYrand0IiwiandrIjp7Imt0eSI6Ik9LUCIsImNydiI6IkVkMjU1MTkiLCJhbGciOiJFZDI1NTE5IiwieCI6IjExcVlBWUt4Q3JmVlNfN1R5V1FIT2c3aGN2UGFwaU1scndJYWFQY0hVUm8ifX0.eyJpc3MiOiJ1cm46amt0OnNoYS0yNTY6a1ByS19xbXhWV2FZVkE5d3dCRjZJdW8zdlZ6ejdUeEhDVHdYQnlnclM0ayIsImlhdCI6MTczMDIxNzYwMCwiZXhwIjoxNzMwMjE3OTAwLCJqdGkiOiJubS0wMDAxIiwiY25mIjp7Imp3ayI6eyJrdHkiOiJPS1AiLCJjcnYiOiJFZDI1NTE5IiwiYWxnIjoiRWQyNTUxOSIsIngiOiJfRkhOam1JWW9hT05wSDdRQWpEd1dBZ1c3Uk82TXdPc1hldVJGVWlRZ0NVIn19fQ.YmYLMCaZbFmJP3i4YduBS-ibhVIlhbLWVcpRaKAyMPRUSOHUprIoJknYTTvLiH55izYh2A-qXsXOmAfee3n0Dg"
	namingJKT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

func TestSelfSignedToken(t *testing.T) {
	token := must[*jose.Token](t)(jose.ParseSelfSigned(namingJWT))
	key := token.Key()
	if jkt := must[string](t)(key.Thumbprint()); jkt != namingJKT || key.DeclaredAlgorithm() != "Ed25519" {
		t.Errorf("key %s for %q", jkt, key.DeclaredAlgorithm())
	}
	claims := must[jose.Claims](t)(token.Verify(key))
	if iss, err := claims.String("iss"); iss != "urn:jkt:sha-256:"+namingJKT || err != nil {
		t.Errorf("iss: %q, %v", iss, err)
	}
	if _, err := token.Verify(publicKey(t, ecSigner(t))); !errors.Is(err, jose.ErrNoKey) {
		t.Errorf("a key of another algorithm: %v", err)
	}
	if _, err := jose.Parse(namingJWT); err == nil {
		t.Error("a key in the header of a token that must not have one")
	}
	forged := namingJWT[:strings.LastIndexByte(namingJWT, '.')] + "." + b64(make([]byte, 64))
	if _, err := must[*jose.Token](t)(jose.ParseSelfSigned(forged)).Verify(key); !errors.Is(err, jose.ErrSignature) {
		t.Errorf("forged: %v", err)
	}
}

func TestSignSelfSigned(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{"Ed25519": edSigner(t), "ES256": ecSigner(t), "RS256": rsaSigner(t)} {
		header := jose.Header{Algorithm: name, Type: "jkt-s256+jwt", SelfSigned: true}
		text := must[string](t)(jose.Sign(signer, header, map[string]any{"iss": "a"}))
		token := must[*jose.Token](t)(jose.ParseSelfSigned(text))
		if _, err := token.Verify(token.Key()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, got := must[string](t)(publicKey(t, signer).Thumbprint()), must[string](t)(token.Key().Thumbprint())
		if want != got || token.Key().DeclaredAlgorithm() != name || token.Type() != header.Type {
			t.Errorf("%s: key %s for %q, typ %q", name, got, token.Key().DeclaredAlgorithm(), token.Type())
		}
		if _, err := jose.Parse(text); err == nil {
			t.Errorf("%s: Parse takes the key of the token", name)
		}
	}
	text := must[string](t)(jose.Sign(edSigner(t), jose.Header{}, map[string]any{}))
	if _, err := jose.ParseSelfSigned(text); err == nil {
		t.Error("a token without a key brings one")
	}
	if key := must[*jose.Token](t)(jose.Parse(text)).Key(); key.Algorithm() != "" || key.Verify(nil, nil) {
		t.Error("a token without a key has one")
	}
}

// TestSelfSignedHeaderRefused has tokens that are well signed by the key that
// they bring or should have brought.
func TestSelfSignedHeaderRefused(t *testing.T) {
	okp, ec, _ := goodJWKs(t)
	own := string(okp.json())
	tests := map[string]string{
		"no key":                         `{"alg":"EdDSA"}`,
		"null":                           `{"alg":"EdDSA","jwk":null}`,
		"a string":                       `{"alg":"EdDSA","jwk":"x"}`,
		"a list":                         `{"alg":"EdDSA","jwk":[` + own + `]}`,
		"an empty one":                   `{"alg":"EdDSA","jwk":{}}`,
		"twice":                          `{"alg":"EdDSA","jwk":` + own + `,"jwk":` + own + `}`,
		"in another case":                `{"alg":"EdDSA","JWK":` + own + `}`,
		"a private key":                  `{"alg":"EdDSA","jwk":` + string(okp.with(jwk{"d": okp["x"]}).json()) + `}`,
		"a secret":                       `{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`,
		"a secret for public keys":       `{"alg":"EdDSA","jwk":{"kty":"oct","k":"AAAA"}}`,
		"a member twice in it":           `{"alg":"EdDSA","jwk":` + strings.Replace(own, `"kty":"OKP"`, `"kty":"OKP","kty":"OKP"`, 1) + `}`,
		"a key of small order":           `{"alg":"EdDSA","jwk":` + string(okp.with(jwk{"x": b64(append([]byte{1}, make([]byte, 31)...))}).json()) + `}`,
		"a key for encryption":           `{"alg":"EdDSA","jwk":` + string(okp.with(jwk{"use": "enc"}).json()) + `}`,
		"an alg of another kind of keys": `{"alg":"EdDSA","jwk":` + string(okp.with(jwk{"alg": "ES256"}).json()) + `}`,
		"an alg that is none":            `{"alg":"none","jwk":` + own + `}`,
		"a critical extension":           `{"alg":"EdDSA","crit":["jwk"],"jwk":` + own + `}`,
		"an address of keys too":         `{"alg":"EdDSA","jku":"https://a.example","jwk":` + own + `}`,
	}
	for name, header := range tests {
		if token, err := jose.ParseSelfSigned(build(header, goodClaims, func(in []byte) []byte { return ed25519Sign(t, in) })); err == nil {
			t.Errorf("%s: read, with a key for %s", name, token.Key().Algorithm())
		}
	}
	// What the header names and what the key is for must be the same.
	header := `{"alg":"EdDSA","jwk":` + string(ec.json()) + `}`
	token := must[*jose.Token](t)(jose.ParseSelfSigned(build(header, goodClaims, func(in []byte) []byte { return ed25519Sign(t, in) })))
	if _, err := token.Verify(token.Key()); !errors.Is(err, jose.ErrNoKey) {
		t.Errorf("an alg that is not the key's: %v", err)
	}
	long := `{"alg":"EdDSA","jwk":` + own + `,"kid":"` + strings.Repeat("k", jose.MaxToken) + `"}`
	if _, err := jose.ParseSelfSigned(build(long, goodClaims, hs256)); err == nil {
		t.Error("a token longer than any")
	}
}

func TestUnverifiedClaims(t *testing.T) {
	text := build(`{"alg":"EdDSA"}`, goodClaims, func([]byte) []byte { return make([]byte, 64) })
	token := must[*jose.Token](t)(jose.Parse(text))
	claims := must[jose.Claims](t)(token.UnverifiedClaims())
	if string(claims.JSON()) != goodClaims {
		t.Errorf("got %s", claims.JSON())
	}
	if _, err := token.Verify(publicKey(t, edSigner(t))); !errors.Is(err, jose.ErrSignature) {
		t.Errorf("and yet it verifies: %v", err)
	}
	for _, payload := range []string{"x", `"a"`, "[]", "null", `{"a":1,"a":1}`, `{"a":1} {}`} {
		token := must[*jose.Token](t)(jose.Parse(build(`{"alg":"EdDSA"}`, payload, hs256)))
		if _, err := token.UnverifiedClaims(); err == nil {
			t.Errorf("%s: read", payload)
		}
	}
}

func TestDate(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1730217600": 1730217600, "9007199254740992": 1 << 53,
		"0.0": 0, "1.0": 1, "1.999": 1, "1730217600.5": 1730217600, "1.000000000000000000000000000001": 1,
		"9007199254740993": -1, "9007199254740993.0": -1, "99999999999999999999": -1, "99999999999999999999.5": -1, "-1": -1, "-1.5": -1,
		"1e3": -1, "1.5e3": -1, "1.5E3": -1, "1E-1": -1, `"1"`: -1, `"1.5"`: -1, "null": -1, "true": -1, "[1]": -1, `{"a":1.5}`: -1, `["1.5"]`: -1,
	} {
		c := claims(t, fmt.Sprintf(`{"iat":%s}`, text))
		got, err := c.Date("iat")
		if (err == nil) != (want >= 0) || err == nil && got.Unix() != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	if _, err := claims(t, `{"iat":1}`).Date("exp"); err == nil {
		t.Error("a time that is absent")
	}
}

func TestSignBytes(t *testing.T) {
	input := []byte("bytes")
	for name, signer := range map[string]crypto.Signer{"Ed25519": edSigner(t), "ES256": ecSigner(t), "RS256": rsaSigner(t)} {
		key := publicKey(t, signer)
		signature := must[[]byte](t)(jose.SignBytes(signer, key, input))
		if !key.Verify(input, signature) || !rawVerify(signer.Public(), input, signature) {
			t.Errorf("%s: not verified", name)
		}
		if key.Verify([]byte("other"), signature) || key.Verify(input, signature[1:]) || key.Verify(input, append(signature, 0)) || key.Verify(input, nil) {
			t.Errorf("%s: another verifies", name)
		}
		if (jose.Key{}).Verify(input, signature) {
			t.Errorf("%s: the zero Key verifies", name)
		}
		if _, err := jose.SignBytes(signer, jose.Key{}, input); err == nil {
			t.Errorf("%s: signed for no key", name)
		}
	}
	if _, err := jose.SignBytes(edSigner(t), publicKey(t, ecSigner(t)), input); err == nil {
		t.Error("signed for the key of another")
	}
	cut := fakeSigner{edSigner(t).Public(), make([]byte, 63), nil}
	if _, err := jose.SignBytes(cut, publicKey(t, edSigner(t)), input); err == nil {
		t.Error("a signature cut short")
	}
	failed := errors.New("the HSM is on fire")
	if _, err := jose.SignBytes(fakeSigner{edSigner(t).Public(), nil, failed}, publicKey(t, edSigner(t)), input); !errors.Is(err, failed) {
		t.Errorf("got %v, want the signer's error", err)
	}
}

// FuzzParseSelfSigned: a key that came with a token is public, and the token
// verifies by no other.
func FuzzParseSelfSigned(f *testing.F) {
	okp, ec, rsa := goodJWKs(f)
	f.Add(namingJWT)
	for _, k := range []jwk{okp, ec, rsa, okp.with(jwk{"d": okp["x"]})} {
		f.Add(build(`{"alg":"EdDSA","jwk":`+string(k.json())+`}`, goodClaims, func(in []byte) []byte { return ed25519Sign(f, in) }))
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := jose.ParseSelfSigned(text)
		if err != nil {
			return
		}
		if _, err := jose.Parse(text); err == nil {
			t.Fatal("read without its key too")
		}
		key := token.Key()
		written := must[[]byte](t)(jose.MarshalJWK(key, ""))
		var members map[string]any
		if err := json.Unmarshal(written, &members); err != nil || members["d"] != nil || key.Public() == nil {
			t.Fatalf("key %s", written)
		}
		claims, err := token.Verify(key)
		if err == nil && !json.Valid(claims.JSON()) {
			t.Fatalf("claims %s", claims.JSON())
		}
	})
}
