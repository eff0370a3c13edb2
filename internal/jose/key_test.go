//lint:file-ignore SA1019 the test makes keys that are wrong in just the way that the new functions prevent

package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

var testKeys = sync.OnceValue(func() (k struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
	err error
}) {
	var rsaErr, ecErr, edErr error
	k.rsa, rsaErr = rsa.GenerateKey(rand.Reader, 2048)
	k.ec, ecErr = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	_, k.ed, edErr = ed25519.GenerateKey(rand.Reader)
	k.err = errors.Join(rsaErr, ecErr, edErr)
	return k
})

func rsaSigner(t testing.TB) *rsa.PrivateKey {
	must[struct{}](t)(struct{}{}, testKeys().err)
	return testKeys().rsa
}
func ecSigner(t testing.TB) *ecdsa.PrivateKey {
	must[struct{}](t)(struct{}{}, testKeys().err)
	return testKeys().ec
}
func edSigner(t testing.TB) ed25519.PrivateKey {
	must[struct{}](t)(struct{}{}, testKeys().err)
	return testKeys().ed
}

func publicKey(t testing.TB, s crypto.Signer) jose.Key {
	t.Helper()
	return must[jose.Key](t)(jose.PublicKey(s.Public()))
}

func rs256(t testing.TB, key *rsa.PrivateKey, input []byte) []byte {
	d := sha256.Sum256(input)
	return must[[]byte](t)(rsa.SignPKCS1v15(nil, key, crypto.SHA256, d[:]))
}

func es256(t testing.TB, input []byte) []byte {
	d := sha256.Sum256(input)
	r, s, err := ecdsa.Sign(rand.Reader, ecSigner(t), d[:])
	must[struct{}](t)(struct{}{}, err)
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func ed25519Sign(t testing.TB, input []byte) []byte { return ed25519.Sign(edSigner(t), input) }

func TestHS256SecretLength(t *testing.T) {
	for _, n := range []int{0, 1, 16, 31} {
		t.Run(fmt.Sprintf("J12 %d bytes", n), func(t *testing.T) {
			if _, err := jose.HS256(make([]byte, n)); err == nil {
				t.Error("accepted for verifying")
			}
			if _, err := jose.SignHS256(make([]byte, n), map[string]any{}); err == nil {
				t.Error("accepted for signing")
			}
		})
	}
}

func TestKeyOwnsItsMemory(t *testing.T) {
	own := append([]byte(nil), secret...)
	hs := must[jose.Key](t)(jose.HS256(own))
	clear(own)
	ed := append(ed25519.PublicKey(nil), edSigner(t).Public().(ed25519.PublicKey)...)
	edKey := must[jose.Key](t)(jose.PublicKey(ed))
	clear(ed)
	n := rsa.PublicKey{N: new(big.Int).Set(rsaSigner(t).N), E: rsaSigner(t).E}
	rsaKey := must[jose.Key](t)(jose.PublicKey(&n))
	n.N.SetInt64(15)
	n.E = 3

	for name, token := range map[string]string{
		"HS256": build(goodHeader, goodClaims, hs256),
		"EdDSA": build(`{"alg":"EdDSA"}`, goodClaims, func(in []byte) []byte { return ed25519Sign(t, in) }),
		"RS256": build(`{"alg":"RS256"}`, goodClaims, func(in []byte) []byte { return rs256(t, rsaSigner(t), in) }),
	} {
		if _, err := read(token, hs, edKey, rsaKey); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrintingAKeyHidesTheSecret(t *testing.T) {
	k := hsKey(t)
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k)} {
		if strings.Contains(text, string(secret)) || strings.Contains(text, hex.EncodeToString(secret)) || strings.Contains(text, fmt.Sprint(secret)) {
			t.Errorf("the secret is in %s", text)
		}
	}
}

func TestPublicKeyRefused(t *testing.T) {
	rsaPub, ecPub := rsaSigner(t).PublicKey, ecSigner(t).PublicKey
	p := elliptic.P256().Params().P
	point := func(x, y *big.Int) *ecdsa.PublicKey { return &ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y} }
	withE := func(e int64) *rsa.PublicKey { return &rsa.PublicKey{N: rsaPub.N, E: int(e)} }
	ofBits := func(bits int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))

	tests := []struct {
		name        string
		key         crypto.PublicKey
		unsupported bool
	}{
		{"nothing", nil, true},
		{"a private key", rsaSigner(t), true},
		{"an RSA key by value", rsaPub, true},
		{"bytes", []byte("0123456789abcdef0123456789abcdef"), true},
		{"K02 off the curve", point(ecPub.X, new(big.Int).Add(ecPub.Y, big.NewInt(1))), false},
		{"K03 (0,0)", point(new(big.Int), new(big.Int)), false},
		{"a coordinate not below p", point(new(big.Int).Add(ecPub.X, p), ecPub.Y), false},
		{"a negative coordinate", point(ecPub.X, new(big.Int).Neg(ecPub.Y)), false},
		{"a huge coordinate", point(new(big.Int).Lsh(ecPub.X, 300), ecPub.Y), false},
		{"no coordinates", &ecdsa.PublicKey{Curve: elliptic.P256()}, false},
		{"no curve", &ecdsa.PublicKey{X: ecPub.X, Y: ecPub.Y}, true},
		{"a nil EC key", (*ecdsa.PublicKey)(nil), false},
		{"P-384", &p384.PublicKey, true},
		{"a nil RSA key", (*rsa.PublicKey)(nil), false},
		{"no modulus", &rsa.PublicKey{E: 65537}, false},
		{"a negative modulus", &rsa.PublicKey{N: new(big.Int).Neg(rsaPub.N), E: 65537}, false},
		{"K25 512 bits", ofBits(512), false},
		{"K25 1024 bits", ofBits(1024), false},
		{"K25 2047 bits", ofBits(2047), false},
		{"V08 4097 bits", ofBits(4097), false},
		{"V08 65536 bits", ofBits(65536), false},
		{"K29 an even modulus", &rsa.PublicKey{N: new(big.Int).Add(rsaPub.N, big.NewInt(1)), E: 65537}, false},
		{"K27 e = 0", withE(0), false},
		{"K27 e = 1", withE(1), false},
		{"K27 e = 2", withE(2), false},
		{"e = 3", withE(3), false},
		{"e = 65535", withE(65535), false},
		{"e = 65538", withE(65538), false},
		{"e = 2^31", withE(1 << 31), false},
		{"e = 2^31+1", withE(1<<31 + 1), false},
		{"e negative", withE(-65537), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jose.PublicKey(tt.key)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := errors.Is(err, jose.ErrUnsupportedAlgorithm); got != tt.unsupported {
				t.Errorf("ErrUnsupportedAlgorithm is %v, want %v: %v", got, tt.unsupported, err)
			}
		})
	}
	for _, good := range []crypto.PublicKey{withE(1<<31 - 1), ofBits(4096), ofBits(2048), ofBits(3072)} {
		if _, err := jose.PublicKey(good); err != nil {
			t.Error(err)
		}
	}
}

func TestEd25519KeyRefused(t *testing.T) {
	ff := strings.Repeat("ff", 30)
	zero := strings.Repeat("00", 30)
	tests := []struct{ name, key string }{
		{"V01 nothing", ""},
		{"V01 5 bytes", "d75a980182"},
		{"K08 31 bytes", strings.Repeat("01", 31)},
		{"K08 33 bytes", strings.Repeat("01", 33)},
		{"K09 order 4, y = 0", "00" + zero + "00"},
		{"K09 order 4, y = 0, the other", "00" + zero + "80"},
		{"K09 identity", "01" + zero + "00"},
		{"K09 identity with a sign", "01" + zero + "80"},
		{"K09 order 2", "ec" + ff + "7f"},
		{"K09 order 2 with a sign", "ec" + ff + "ff"},
		{"K09 order 8", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"},
		{"K09 order 8, the second", "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"},
		{"K09 order 8, the third", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"},
		{"K09 order 8, the fourth", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"},
		{"K09 y = p, which is 0", "ed" + ff + "7f"},
		{"K09 y = p with a sign", "ed" + ff + "ff"},
		{"K09 y = p + 1, which is 1", "ee" + ff + "7f"},
		{"K09 y = p + 1 with a sign", "ee" + ff + "ff"},
		{"y = p + 18, the last that is not canonical", "ff" + ff + "7f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := must[[]byte](t)(hex.DecodeString(tt.key))
			if _, err := jose.PublicKey(ed25519.PublicKey(raw)); err == nil {
				t.Error("accepted as a key")
			}
			if _, err := jose.ParseJWK([]byte(`{"kty":"OKP","crv":"Ed25519","x":"` + b64(raw) + `"}`)); err == nil {
				t.Error("accepted as a JWK")
			}
		})
	}
}

// TestEd25519NoPoint: y = 2 is on no point of the curve.
func TestEd25519NoPoint(t *testing.T) {
	pub := make(ed25519.PublicKey, 32)
	pub[0] = 2
	key := must[jose.Key](t)(jose.PublicKey(pub))
	for _, sig := range [][]byte{make([]byte, 64), append([]byte{1}, make([]byte, 63)...), ed25519Sign(t, nil)} {
		if _, err := read(build(`{"alg":"EdDSA"}`, goodClaims, func([]byte) []byte { return sig }), key); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("got %v, want ErrSignature", err)
		}
	}
}

// TestV03ConstantSignature is what refusing small orders is for: R = identity
// and S = 0 verify under the identity for any message.
func TestV03ConstantSignature(t *testing.T) {
	identity := make(ed25519.PublicKey, 32)
	identity[0] = 1
	forged := make([]byte, 64)
	forged[0] = 1
	if !ed25519.Verify(identity, []byte("anything"), forged) {
		t.Skip("the standard library refuses it by now")
	}
	if _, err := jose.PublicKey(identity); err == nil {
		t.Error("accepted")
	}
}

// TestJ13BothNamesOfEd25519: RFC 8037 and RFC 9864 name one algorithm.
func TestJ13BothNamesOfEd25519(t *testing.T) {
	key := publicKey(t, edSigner(t))
	for _, name := range []string{"EdDSA", "Ed25519"} {
		token := must[*jose.Token](t)(jose.Parse(build(`{"alg":"`+name+`"}`, goodClaims, func(in []byte) []byte { return ed25519Sign(t, in) })))
		if token.Algorithm() != name {
			t.Errorf("Algorithm() = %q, want %q", token.Algorithm(), name)
		}
		if _, err := token.Verify(key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := jose.Parse(build(`{"alg":"Ed448"}`, goodClaims, hs256)); !errors.Is(err, jose.ErrUnsupportedAlgorithm) {
		t.Errorf("Ed448: %v", err)
	}
}

// TestV05SignatureTwin: an ES256 signature has a twin that is as valid, so a
// token's text says nothing about whether it was used before; its Digest does.
func TestV05SignatureTwin(t *testing.T) {
	one := build(`{"alg":"ES256"}`, goodClaims, func(in []byte) []byte { return es256(t, in) })
	dot := strings.LastIndexByte(one, '.')
	sig := es256(t, []byte(one[:dot]))
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	twin := one[:dot+1] + b64(sig)
	for _, token := range []string{one, twin} {
		if _, err := read(token, publicKey(t, ecSigner(t))); err != nil {
			t.Error(err)
		}
	}
	a, b := must[*jose.Token](t)(jose.Parse(one)), must[*jose.Token](t)(jose.Parse(twin))
	if a.Digest() != b.Digest() {
		t.Error("the digests of twins differ")
	}
}
