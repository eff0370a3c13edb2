package jose

import (
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

// A wycheproof file, as far as the kinds used here have the same fields.
type wycheproof struct {
	TestGroups []struct {
		KeySize, TagSize int
		PublicKeyJWK     json.RawMessage
		PublicKey        struct{ Uncompressed, Modulus, PublicExponent string }
		Tests            []struct {
			TcID                       int
			Key, Msg, Sig, Tag, Result string
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWycheproofHMAC(t *testing.T) {
	var f wycheproof
	vectors(t, "wycheproof/hmac_sha256_test.json", &f)
	for _, g := range f.TestGroups {
		for _, v := range g.Tests {
			key, err := HS256(unhex(t, v.Key))
			if (err == nil) != (g.KeySize >= 256) {
				t.Errorf("%d: a key of %d bits: %v", v.TcID, g.KeySize, err)
			}
			want := v.Result == "valid" && g.TagSize == 256
			if got := err == nil && key.Verify(unhex(t, v.Msg), unhex(t, v.Tag)); err == nil && got != want {
				t.Errorf("%d: verified: %v, want %v", v.TcID, got, want)
			}
		}
	}
}

func TestWycheproofPublicKeys(t *testing.T) {
	for _, name := range []string{"ed25519_test.json", "ecdsa_secp256r1_sha256_p1363_test.json"} {
		var f wycheproof
		vectors(t, "wycheproof/"+name, &f)
		for _, g := range f.TestGroups {
			for _, v := range g.Tests {
				key, err := wycheproofKey(t, g.PublicKeyJWK, g.PublicKey.Uncompressed)
				if err != nil {
					t.Fatalf("%s %d: %v", name, v.TcID, err)
				}
				if got := key.Verify(unhex(t, v.Msg), unhex(t, v.Sig)); got != (v.Result == "valid") {
					t.Errorf("%s %d: verified: %v, want %s", name, v.TcID, got, v.Result)
				}
			}
		}
	}
}

// wycheproofKey reads the JWK, which not every group has.
func wycheproofKey(t *testing.T, jwk json.RawMessage, point string) (Key, error) {
	if len(jwk) > 0 {
		return ParseJWK(jwk)
	}
	return p256Key(unhex(t, point))
}

// TestWycheproofASN1 is about what a signer returns, not about tokens.
func TestWycheproofASN1(t *testing.T) {
	var f wycheproof
	vectors(t, "wycheproof/ecdsa_secp256r1_sha256_test.json", &f)
	for _, g := range f.TestGroups {
		for _, v := range g.Tests {
			key, err := p256Key(unhex(t, g.PublicKey.Uncompressed))
			if err != nil {
				t.Fatal(err)
			}
			sig, err := fixedWidth(unhex(t, v.Sig))
			if got := err == nil && key.Verify(unhex(t, v.Msg), sig); got != (v.Result == "valid") {
				t.Errorf("%d: verified: %v, want %s", v.TcID, got, v.Result)
			}
		}
	}
}

func TestWycheproofRSA(t *testing.T) {
	for _, name := range []string{"rsa_signature_2048_sha256_test.json", "rsa_pss_2048_sha256_mgf1_32_test.json"} {
		var f wycheproof
		vectors(t, "wycheproof/"+name, &f)
		for _, g := range f.TestGroups {
			e := new(big.Int).SetBytes(unhex(t, g.PublicKey.PublicExponent))
			n := new(big.Int).SetBytes(unhex(t, g.PublicKey.Modulus))
			key, err := PublicKey(&rsa.PublicKey{N: n, E: int(e.Int64())})
			if (err == nil) != (e.Int64() > 3) {
				t.Errorf("%s: exponent %v: %v", name, e, err)
			}
			for _, v := range g.Tests {
				if err != nil {
					continue
				}
				got, valid := key.Verify(unhex(t, v.Msg), unhex(t, v.Sig)), v.Result == "valid"
				if strings.Contains(name, "pss") {
					// What is valid there is another kind of signature here.
					if got && valid {
						t.Errorf("%s %d: verified", name, v.TcID)
					}
				} else if got != valid {
					t.Errorf("%s %d: verified: %v, want %s", name, v.TcID, got, v.Result)
				}
			}
		}
	}
}
