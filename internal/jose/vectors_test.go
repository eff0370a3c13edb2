package jose

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The built-in subset of the vectors: RFC 7515 A.1, A.3 and A.5, RFC 8037 A.4
// and A.3, and RFC 7638 3.1.
const builtIn = `{"jws":[
{"id":"RFC7515-A.1","alg":"HS256","key":{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
 "compact":"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
 "payload":"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"},
{"id":"RFC7515-A.3","alg":"ES256","key":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
 "compact":"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
 "payload":"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"},
{"id":"RFC7515-A.5","alg":"none","key":null,"expect":"invalid",
 "compact":"eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."},
{"id":"RFC8037-A.4","alg":"EdDSA","key":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
 "compact":"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
 "payload":"Example of Ed25519 signing"}],
"thumbprints":[
{"id":"RFC8037-A.3","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},"sha256":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
{"id":"RFC7638-3.1","jwk":{"kty":"RSA","e":"AQAB","alg":"RS256","kid":"2011-04-29","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"},"sha256":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}]}`

// vectors reads a file of the test vectors that may lie beside the checkout.
func vectors(t *testing.T, name string, into any) (found bool) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "shared", "vectors", name))
		if err == nil {
			if err := json.Unmarshal(data, into); err != nil {
				t.Fatal(err)
			}
			return true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Logf("no vectors %s beside this checkout: the built-in ones have to do", name)
			return false
		}
		dir = parent
	}
}

func TestRFCVectors(t *testing.T) {
	type file struct {
		JWS []struct {
			ID, Compact, Payload, Expect string
			Key                          json.RawMessage
		}
		Thumbprints []struct {
			ID, SHA256 string
			JWK        json.RawMessage
		}
	}
	var all []file
	var own, beside file
	if err := json.Unmarshal([]byte(builtIn), &own); err != nil {
		t.Fatal(err)
	}
	all = append(all, own)
	if vectors(t, "jose/vectors.json", &beside) {
		all = append(all, beside)
	}
	for _, f := range all {
		for _, v := range f.JWS {
			t.Run(v.ID, func(t *testing.T) { rfcVector(t, v.Compact, v.Key, v.Payload, v.Expect == "invalid") })
		}
		for _, v := range f.Thumbprints {
			t.Run("thumbprint "+v.ID, func(t *testing.T) {
				key, err := ParseJWK(v.JWK)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := key.Thumbprint(); got != v.SHA256 || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, v.SHA256)
				}
			})
		}
	}
}

func rfcVector(t *testing.T, compact string, jwk json.RawMessage, payload string, invalid bool) {
	token, err := Parse(compact)
	if invalid {
		if err == nil {
			t.Error("accepted")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var oct struct{ K string }
	var key Key
	if json.Unmarshal(jwk, &oct) == nil && oct.K != "" {
		secret, decodeErr := encoding.DecodeString(oct.K)
		if decodeErr != nil {
			t.Fatal(decodeErr)
		}
		key, err = HS256(secret)
	} else {
		key, err = ParseJWK(jwk)
	}
	if err != nil {
		t.Fatal(err)
	}
	// One of the payloads is no JSON, so this looks at the signature alone.
	if err := token.verifySignature([]Key{key}); err != nil || string(token.payload) != payload {
		t.Errorf("%v, payload %q", err, token.payload)
	}
	token.signature[0] ^= 1
	if err := token.verifySignature([]Key{key}); err == nil {
		t.Error("another signature is accepted")
	}
}

// TestSignatureLength: the arithmetic is never asked about another length.
func TestSignatureLength(t *testing.T) {
	asked := 0
	key := Key{alg: algES256, size: 64, check: func(_, _ []byte) bool { asked++; return true }}
	for n := range 100 {
		if key.Verify(nil, make([]byte, n)) != (n == 64) {
			t.Errorf("%d bytes", n)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
