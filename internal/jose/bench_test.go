package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// bootstrap is all that a mechanism does with a bootstrap token.
func bootstrap(text string, key jose.Key, now time.Time) error {
	token, err := jose.Parse(text)
	if err != nil {
		return err
	}
	c, err := token.Verify(key)
	if err != nil {
		return err
	}
	_, timesErr := c.Times(now, 30*time.Second, 15*time.Minute)
	aud, audErr := c.Audience()
	iss, issErr := c.String("iss")
	scope, scopeErr := c.String("scope")
	if token.Type() != "JWT" || aud != "rsconnect" || iss != "rsconnect-python" || scope != "bootstrap" {
		return errors.New("wrong claims")
	}
	return errors.Join(timesErr, audErr, issErr, scopeErr)
}

// byHand is the least that code without this package would do.
func byHand(text string, secret []byte, now time.Time) error {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return errors.New("not three parts")
	}
	head, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return err
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	var h struct{ Alg, Typ string }
	if err := json.Unmarshal(head, &h); err != nil {
		return err
	}
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(text[:len(parts[0])+1+len(parts[1])]))
	if h.Alg != "HS256" || !hmac.Equal(m.Sum(nil), sig) {
		return errors.New("invalid signature")
	}
	var c bootstrapClaims
	if err := json.Unmarshal(payload, &c); err != nil {
		return err
	}
	if c.Exp <= now.Unix() || c.Aud != "rsconnect" || c.Iss != "rsconnect-python" || c.Scope != "bootstrap" {
		return errors.New("wrong claims")
	}
	return nil
}

func BenchmarkHS256(b *testing.B) {
	token := build(goodHeader, goodClaims, hs256)
	now := time.Unix(1795320100, 0)
	key := hsKey(b)
	b.Run("jose", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must[struct{}](b)(struct{}{}, bootstrap(token, key, now))
		}
	})
	b.Run("by hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must[struct{}](b)(struct{}{}, byHand(token, secret, now))
		}
	})
}

// BenchmarkPublicKey compares the whole reading of a token with the bare
// verification of its signature.
func BenchmarkPublicKey(b *testing.B) {
	for _, s := range []struct {
		name   string
		signer crypto.Signer
	}{{"RS256", rsaSigner(b)}, {"ES256", ecSigner(b)}, {"Ed25519", edSigner(b)}} {
		token := must[string](b)(jose.Sign(s.signer, jose.Header{KeyID: "k"}, json.RawMessage(goodClaims)))
		key := publicKey(b, s.signer).WithKeyID("k")
		b.Run(s.name+"/jose", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must[jose.Claims](b)(read(token, key))
			}
		})
		dot := strings.LastIndexByte(token, '.')
		input, sig := []byte(token[:dot]), must[[]byte](b)(base64.RawURLEncoding.DecodeString(token[dot+1:]))
		b.Run(s.name+"/raw", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !bareVerify(s.signer.Public(), input, sig) {
					b.Fatal("not verified")
				}
			}
		})
	}
}

func bareVerify(pub crypto.PublicKey, input, sig []byte) bool {
	if pub, ok := pub.(ed25519.PublicKey); ok {
		return ed25519.Verify(pub, input, sig)
	}
	digest := sha256.Sum256(input)
	if pub, ok := pub.(*rsa.PublicKey); ok {
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest[:], sig) == nil
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
	return ecdsa.Verify(pub.(*ecdsa.PublicKey), digest[:], r, s)
}

func BenchmarkParseJWK(b *testing.B) {
	okp, ec, rsa := goodJWKs(b)
	for name, k := range map[string]jwk{"Ed25519": okp, "P-256": ec, "RSA": rsa} {
		text := k.json()
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must[jose.Key](b)(jose.ParseJWK(text))
			}
		})
	}
}
