package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

type bootstrapClaims struct {
	Exp   int64  `json:"exp"`
	Iss   string `json:"iss"`
	Aud   string `json:"aud"`
	Iat   int64  `json:"iat"`
	Scope string `json:"scope"`
}

func TestSignHS256(t *testing.T) {
	got := must[string](t)(jose.SignHS256(secret, bootstrapClaims{1795320944, "rsconnect-python", "rsconnect", 1795320044, "bootstrap"}))
	if want := build(goodHeader, goodClaims, hs256); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSign(t *testing.T) {
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	tests := []struct {
		name   string
		signer crypto.Signer
		header jose.Header
		want   string // the header; empty: refused
	}{
		{"Ed25519", edSigner(t), jose.Header{}, `{"alg":"EdDSA","typ":"JWT"}`},
		{"Ed25519 by its new name", edSigner(t), jose.Header{Algorithm: "Ed25519", KeyID: "k", Type: "aa-agent+jwt"}, `{"alg":"Ed25519","typ":"aa-agent+jwt","kid":"k"}`},
		{"ES256", ecSigner(t), jose.Header{KeyID: "k"}, `{"alg":"ES256","typ":"JWT","kid":"k"}`},
		{"RS256", rsaSigner(t), jose.Header{Algorithm: "RS256"}, `{"alg":"RS256","typ":"JWT"}`},
		{"an algorithm of another key", ecSigner(t), jose.Header{Algorithm: "RS256"}, ``},
		{"HS256 with a public key", rsaSigner(t), jose.Header{Algorithm: "HS256"}, ``},
		{"none", edSigner(t), jose.Header{Algorithm: "none"}, ``},
		{"P-384", p384, jose.Header{}, ``},
		{"no signer", nil, jose.Header{}, ``},
		{"a kid that nobody would read", edSigner(t), jose.Header{KeyID: strings.Repeat("k", jose.MaxKeyID+1)}, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, err := jose.Sign(tt.signer, tt.header, map[string]any{"sub": "a"})
			if (err == nil) != (tt.want != "") {
				t.Fatal(err)
			}
			if err != nil {
				return
			}
			head, _, _ := strings.Cut(text, ".")
			if got := must[[]byte](t)(base64.RawURLEncoding.DecodeString(head)); string(got) != tt.want {
				t.Errorf("header %s, want %s", got, tt.want)
			}
			if _, err := read(text, publicKey(t, tt.signer)); err != nil {
				t.Error(err)
			}
			verifyRaw(t, text, tt.signer.Public())
		})
	}
}

// verifyRaw verifies with the standard library alone.
func verifyRaw(t *testing.T, token string, pub crypto.PublicKey) {
	t.Helper()
	dot := strings.LastIndexByte(token, '.')
	sig := must[[]byte](t)(base64.RawURLEncoding.DecodeString(token[dot+1:]))
	if !rawVerify(pub, []byte(token[:dot]), sig) {
		t.Error("the standard library does not verify it")
	}
}

func rawVerify(pub crypto.PublicKey, input, sig []byte) bool {
	digest := sha256.Sum256(input)
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(pub, input, sig)
	case *ecdsa.PublicKey:
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		return len(sig) == 64 && ecdsa.Verify(pub, digest[:], r, s)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
	}
	return false
}

func TestES256SignatureHasFixedWidth(t *testing.T) {
	// One number in 256 begins with a zero byte, which ASN.1 leaves out.
	for range 600 {
		text := must[string](t)(jose.Sign(ecSigner(t), jose.Header{}, map[string]any{}))
		if _, err := read(text, publicKey(t, ecSigner(t))); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func TestSignRefusesClaims(t *testing.T) {
	for name, claims := range map[string]any{
		"a list":          []string{"a"},
		"nothing":         nil,
		"a string":        "a",
		"a channel":       map[string]any{"a": make(chan int)},
		"a name twice":    raw(`{"a":1,"a":2}`),
		"more than fits":  map[string]string{"a": strings.Repeat("a", jose.MaxToken)},
		"deeper than 32":  raw(strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)),
		"a lone surogate": raw(`{"a":"\ud800"}`),
	} {
		if _, err := jose.SignHS256(secret, claims); err == nil {
			t.Errorf("HS256: %s is signed", name)
		}
		if _, err := jose.Sign(edSigner(t), jose.Header{}, claims); err == nil {
			t.Errorf("Ed25519: %s is signed", name)
		}
	}
}

type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// A fakeSigner gives a result that its key would not.
type fakeSigner struct {
	public crypto.PublicKey
	result []byte
	err    error
}

func (s fakeSigner) Public() crypto.PublicKey { return s.public }
func (s fakeSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return s.result, s.err
}

func TestSignRefusesWhatTheSignerReturns(t *testing.T) {
	type pair struct{ R, S *big.Int }
	der := func(r, s *big.Int) []byte { return must[[]byte](t)(asn1.Marshal(pair{r, s})) }
	one, big257 := big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 256)
	tests := []struct {
		name   string
		public crypto.PublicKey
		result []byte
	}{
		{"an Ed25519 signature cut short", edSigner(t).Public(), make([]byte, 63)},
		{"an RSA signature cut short", rsaSigner(t).Public(), make([]byte, 255)},
		{"no ASN.1", ecSigner(t).Public(), make([]byte, 64)},
		{"nothing", ecSigner(t).Public(), nil},
		{"more behind", ecSigner(t).Public(), append(der(one, one), 0)},
		{"r = 0", ecSigner(t).Public(), der(new(big.Int), one)},
		{"s negative", ecSigner(t).Public(), der(one, big.NewInt(-1))},
		{"r of 257 bits", ecSigner(t).Public(), der(big257, one)},
		{"s of 257 bits", ecSigner(t).Public(), der(one, big257)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := jose.Sign(fakeSigner{tt.public, tt.result, nil}, jose.Header{}, map[string]any{}); err == nil {
				t.Error("accepted")
			}
		})
	}
	failed := errors.New("the HSM is on fire")
	if _, err := jose.Sign(fakeSigner{edSigner(t).Public(), nil, failed}, jose.Header{}, map[string]any{}); !errors.Is(err, failed) {
		t.Errorf("got %v, want the signer's error", err)
	}
}
