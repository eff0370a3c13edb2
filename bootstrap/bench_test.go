package bootstrap_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

// BenchmarkVerify is what a token costs beside the least that anybody would
// write by hand: HMAC and encoding/json, with no check of either's pitfalls.
func BenchmarkVerify(b *testing.B) {
	now := (&clock{now: t0}).Now
	tok, err := bootstrap.Client{Secret: secret}.Token(t0)
	if err != nil {
		b.Fatal(err)
	}
	v, err := bootstrap.NewVerifier(bootstrap.VerifierConfig{Secret: secret, Hooks: keywright.Hooks{Now: now}})
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, bootstrap.Path, nil)
	r.Header.Set("Authorization", "Connect-Bootstrap "+tok)

	b.Run("keywright", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by hand", func(b *testing.B) {
		key, _ := base64.StdEncoding.DecodeString(secret)
		b.ReportAllocs()
		for b.Loop() {
			if !verifyByHand(r, key, t0.Unix()) {
				b.Fatal("refused")
			}
		}
	})
}

func verifyByHand(r *http.Request, key []byte, now int64) bool {
	tok, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Connect-Bootstrap ")
	parts := strings.Split(tok, ".")
	if !ok || len(parts) != 3 {
		return false
	}
	var header struct {
		Alg, Typ string
	}
	var c struct {
		Iss, Aud, Scope, Jti string
		Iat, Exp             int64
	}
	h, err1 := base64.RawURLEncoding.DecodeString(parts[0])
	p, err2 := base64.RawURLEncoding.DecodeString(parts[1])
	sig, err3 := base64.RawURLEncoding.DecodeString(parts[2])
	if err1 != nil || err2 != nil || err3 != nil || json.Unmarshal(h, &header) != nil || header.Alg != "HS256" {
		return false
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if !hmac.Equal(mac.Sum(nil), sig) || json.Unmarshal(p, &c) != nil {
		return false
	}
	return c.Iss == "rsconnect-python" && c.Aud == "rsconnect" && c.Scope == "bootstrap" && c.Exp > now && c.Iat <= now
}
