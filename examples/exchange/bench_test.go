package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	gooidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/oidc"
)

// BenchmarkIdentityToken verifies one token with cached keys, beside
// coreos/go-oidc, which most servers in Go use for it.
func BenchmarkIdentityToken(b *testing.B) {
	issuer := exchangetest.NewIssuer(b)
	issuer.Audience = "https://connect.example"
	token := issuer.GitHub(nil)
	ours, theirs := trust(b, issuer), verifier(b, issuer)
	for i := range 3 { // interleaved, since a busy machine slows some and not others
		b.Run(fmt.Sprint("keywright/", i), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := verifyOurs(ours, issuer, token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("go-oidc/", i), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := verifyTheirs(theirs, token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func trust(b *testing.B, issuer *exchangetest.Issuer) oidc.Trust {
	client, err := egress.New(egress.Config{InsecureLoopback: true})
	if err != nil {
		b.Fatal(err)
	}
	issuers, err := oidc.NewIssuers(client, time.Now, nil, func(string, error) {})
	if err != nil {
		b.Fatal(err)
	}
	t, err := issuers.Trust(issuer.URL())
	if err != nil {
		b.Fatal(err)
	}
	return t
}

// verifyOurs also reads the claims that a publisher would compare.
func verifyOurs(t oidc.Trust, issuer *exchangetest.Issuer, text string) error {
	candidate, err := oidc.Read(text)
	if err != nil {
		return err
	}
	token, err := t.Verify(context.Background(), candidate, issuer.Audience, time.Now(), true)
	if err != nil {
		return err
	}
	_, err = token.Claims.String("repository_id")
	return err
}

func verifier(b *testing.B, issuer *exchangetest.Issuer) *gooidc.IDTokenVerifier {
	provider, err := gooidc.NewProvider(b.Context(), issuer.URL())
	if err != nil {
		b.Fatal(err)
	}
	return provider.Verifier(&gooidc.Config{ClientID: issuer.Audience})
}

func verifyTheirs(v *gooidc.IDTokenVerifier, text string) error {
	token, err := v.Verify(context.Background(), text)
	if err != nil {
		return err
	}
	var claims map[string]any
	return token.Claims(&claims)
}
