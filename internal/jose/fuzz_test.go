package jose_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/jose"
)

// FuzzParse: a token that is accepted is the one spelling of its parts, and
// one that verifies does so by the standard library alone.
func FuzzParse(f *testing.F) {
	hs := must[jose.Key](f)(jose.HS256(secret))
	ed, ec, rs := publicKey(f, edSigner(f)), publicKey(f, ecSigner(f)), publicKey(f, rsaSigner(f))
	f.Add(build(goodHeader, goodClaims, hs256))
	f.Add(build(`{"alg":"EdDSA","kid":"k"}`, goodClaims, func(in []byte) []byte { return ed25519Sign(f, in) }))
	f.Add(build(`{"alg":"ES256"}`, `{}`, func(in []byte) []byte { return es256(f, in) }))
	f.Add(build(`{"alg":"RS256","x5t":"AA"}`, `{"iss":"a"}`, func(in []byte) []byte { return rs256(f, rsaSigner(f), in) }))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := jose.Parse(text)
		if err != nil {
			return
		}
		parts := strings.Split(text, ".")
		for _, part := range parts {
			decoded, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil || len(parts) != 3 || b64(decoded) != part {
				t.Fatalf("%q is not canonical", text)
			}
		}
		_, _ = token.UnverifiedIssuer()
		claims, err := token.Verify(hs, ed, ec, rs)
		if err != nil {
			return
		}
		if !json.Valid(claims.JSON()) || b64(claims.JSON()) != parts[1] {
			t.Errorf("claims %q of %q", claims.JSON(), text)
		}
		input := text[:strings.LastIndexByte(text, '.')]
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		switch token.Algorithm() {
		case "HS256":
			if parts[2] != b64(hs256([]byte(input))) {
				t.Errorf("%q does not verify", text)
			}
		default:
			if !rawVerify(ed.Public(), []byte(input), signature) && !rawVerify(rs.Public(), []byte(input), signature) &&
				(len(signature) != 64 || !rawVerify(ec.Public(), []byte(input), signature)) {
				t.Errorf("%q does not verify", text)
			}
		}
	})
}

// FuzzParseJWK: a key that is accepted survives being written and read, and
// can be asked to verify anything.
func FuzzParseJWK(f *testing.F) {
	okp, ec, rsa := goodJWKs(f)
	for _, k := range []jwk{okp, ec, rsa, okp.with(jwk{"alg": "Ed25519", "kid": "k", "use": "sig"}), rsa.with(jwk{"key_ops": []string{"verify"}})} {
		f.Add(k.json())
	}
	f.Add([]byte(`{"kty":"oct","k":"AA"}`))
	token := must[*jose.Token](f)(jose.Parse(build(`{"alg":"EdDSA"}`, goodClaims, func(in []byte) []byte { return make([]byte, 64) })))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := jose.ParseJWK(data)
		if err != nil {
			return
		}
		if _, err := token.Verify(key); err == nil {
			t.Error("zeros verify")
		}
		text := must[[]byte](t)(jose.MarshalJWK(key, key.DeclaredAlgorithm()))
		again := must[jose.Key](t)(jose.ParseJWK(text))
		one, two := must[string](t)(key.Thumbprint()), must[string](t)(again.Thumbprint())
		if one != two || again.KeyID() != key.KeyID() || again.DeclaredAlgorithm() != key.DeclaredAlgorithm() {
			t.Errorf("%s was read back from %s", text, data)
		}
		var want, got map[string]any
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"kty", "crv", "x", "y", "n", "e"} {
			if _, written := got[name]; written && !cmp.Equal(want[name], got[name]) {
				t.Errorf("%s: %v became %v", name, want[name], got[name])
			}
		}
	})
}
