package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/oidc"
)

const audience = "https://connect.example"

var t0 = time.Unix(1767225600, 0)

func now() time.Time { return t0 }

func newIssuer(t *testing.T) *exchangetest.Issuer {
	t.Helper()
	i := exchangetest.NewIssuer(t)
	i.Now, i.Audience = now, audience
	return i
}

// trust makes what is known of the issuer, whose keys are given.
func trust(t *testing.T, i *exchangetest.Issuer) oidc.Trust {
	t.Helper()
	const ec = `{"keys":[{"kty":"EC","crv":"P-256","kid":"ec","x":"qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA","y":"Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"},`
	set := []byte(ec + strings.TrimPrefix(string(i.JWKS()), `{"keys":[`))
	return trustIn(t, newIssuers(t, map[string]oidc.Settings{i.URL(): {JWKS: set}}), i.URL())
}

func trustIn(t *testing.T, s *oidc.Issuers, issuer string) oidc.Trust {
	t.Helper()
	tr, err := s.Trust(issuer)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func newIssuers(t *testing.T, settings map[string]oidc.Settings) *oidc.Issuers {
	t.Helper()
	s, err := oidc.NewIssuers(client(t), now, settings, func(string, error) {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(t *testing.T) *egress.Client {
	t.Helper()
	c, err := egress.New(egress.Config{InsecureLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func reason(err error) oidc.Reason {
	if e, ok := errors.AsType[*oidc.Error](err); ok {
		return e.Reason
	}
	return ""
}

func read(t *testing.T, token string) oidc.Candidate {
	t.Helper()
	c, err := oidc.Read(token)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRead(t *testing.T) {
	i := newIssuer(t)
	for name, tt := range map[string]struct {
		token string
		want  oidc.Reason
	}{
		"no token":         {"", oidc.Malformed},
		"unknown alg":      {i.RawToken([]byte(`{"alg":"none"}`), []byte(`{"iss":"x"}`)), oidc.Algorithm},
		"no JSON":          {i.RawToken([]byte(`{"alg":"RS256"}`), []byte(`x`)), oidc.Issuer},
		"no issuer":        {i.RawToken([]byte(`{"alg":"RS256"}`), []byte(`{}`)), oidc.Issuer},
		"issuer, a number": {i.RawToken([]byte(`{"alg":"RS256"}`), []byte(`{"iss":1}`)), oidc.Issuer},
	} {
		c, err := oidc.Read(tt.token)
		if reason(err) != tt.want || c.Issuer != "" {
			t.Errorf("%s: got %q, %v, want %s", name, c.Issuer, err, tt.want)
		}
		if zero := c.Digest() == [32]byte{}; zero != (tt.want != oidc.Issuer) {
			t.Errorf("%s: the digest is zero: %v", name, zero)
		}
	}
	token := i.Token(nil)
	c := read(t, token)
	other := read(t, token[:len(token)-4]+"AAAA")
	if c.Issuer != i.URL() || c.Digest() != other.Digest() || c.Digest() == read(t, i.Token(nil)).Digest() {
		t.Error("the digest names what was signed, and not the signature")
	}
}

// The reasons are what the audit and the answer depend on.
func TestVerify(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	kid := i.KeyID()
	sign := func(header string) string { return i.RawToken([]byte(header), claimsOf(t, i.Token(nil))) }
	good := i.Token(map[string]any{"jti": "7", "sub": "s"})
	for name, tt := range map[string]struct {
		token  string
		needID bool
		want   oidc.Reason
	}{
		"as it is":                {good, true, ""},
		"issuer":                  {other.Token(nil), false, oidc.Issuer},
		"algorithm of the trust":  {sign(`{"alg":"ES256","kid":"` + kid + `"}`), false, oidc.Algorithm},
		"typ":                     {sign(`{"alg":"RS256","typ":"at+jwt","kid":"` + kid + `"}`), false, oidc.Malformed},
		"no kid":                  {sign(`{"alg":"RS256"}`), false, oidc.Key},
		"unknown kid":             {sign(`{"alg":"RS256","kid":"x"}`), false, oidc.Key},
		"signature":               {other.RawToken([]byte(`{"alg":"RS256","kid":"`+kid+`"}`), claimsOf(t, good)), false, oidc.Signature},
		"key of another kind":     {sign(`{"alg":"RS256","kid":"ec"}`), false, oidc.Key},
		"time":                    {i.Token(map[string]any{"exp": nil}), false, oidc.Time},
		"time before audience":    {i.Token(map[string]any{"exp": nil, "aud": "x"}), false, oidc.Time},
		"audience":                {i.Token(map[string]any{"aud": "x"}), false, oidc.Audience},
		"audience of two":         {i.Token(map[string]any{"aud": []string{audience, "x"}}), false, oidc.Audience},
		"no jti, needed":          {i.Token(map[string]any{"jti": nil}), true, oidc.TokenID},
		"no jti, not needed":      {i.Token(map[string]any{"jti": nil}), false, ""},
		"jti empty, not needed":   {i.Token(map[string]any{"jti": ""}), false, oidc.TokenID},
		"jti null, not needed":    {i.Token(map[string]any{"jti": json.RawMessage("null")}), false, oidc.TokenID},
		"jti of 256 bytes":        {i.Token(map[string]any{"jti": strings.Repeat("j", oidc.MaxTokenID)}), true, ""},
		"jti of 257 bytes":        {i.Token(map[string]any{"jti": strings.Repeat("j", oidc.MaxTokenID+1)}), false, oidc.TokenID},
		"audience before the jti": {i.Token(map[string]any{"aud": "x", "jti": nil}), true, oidc.Audience},
	} {
		got, err := trust(t, i).Verify(t.Context(), read(t, tt.token), audience, t0, tt.needID)
		if reason(err) != tt.want || (err == nil) != (tt.want == "") {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if err != nil && (got.Issuer != "" || got.Claims.Len() != 0) {
			t.Errorf("%s: claims of a token that was refused", name)
		}
		if err != nil && strings.Contains(err.Error(), tt.token[:20]) {
			t.Errorf("%s: the error holds the token", name)
		}
	}
	got, err := trust(t, i).Verify(t.Context(), read(t, good), audience, t0, true)
	if err != nil || got.ID != "7" || got.Issuer != i.URL() || got.Digest != read(t, good).Digest() || !got.Times.Expires.Equal(t0.Add(5*time.Minute)) {
		t.Errorf("got %+v, %v", got, err)
	}
	if sub, err := got.Claims.String("sub"); err != nil || sub != "s" {
		t.Errorf("sub %q, %v", sub, err)
	}
}

func claimsOf(t *testing.T, token string) []byte {
	t.Helper()
	part := strings.Split(token, ".")[1]
	text, err := base64URL(part)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Keys that cannot be had are the issuer's trouble; a caller that has hung up
// is nobody's.
func TestKeysUnavailable(t *testing.T) {
	i := newIssuer(t)
	s := newIssuers(t, nil)
	i.SetFault(exchangetest.Down)
	_, err := trustIn(t, s, i.URL()).Verify(t.Context(), read(t, i.Token(nil)), audience, t0, true)
	e, ok := errors.AsType[*oidc.Error](err)
	if !ok || e.Reason != oidc.Unavailable || e.RetryAfter <= 0 || e.RetryAfter > time.Minute {
		t.Errorf("got %+v", err)
	}
	if _, ok := errors.AsType[*egress.UnavailableError](err); !ok {
		t.Errorf("the cause of %v is lost", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	j := newIssuer(t)
	j.SetFault(exchangetest.Silent)
	_, err = trustIn(t, s, j.URL()).Verify(ctx, read(t, j.Token(nil)), audience, t0, true)
	if !errors.Is(err, context.Canceled) || reason(err) != "" {
		t.Errorf("hung up: got %v, want context.Canceled", err)
	}
}
