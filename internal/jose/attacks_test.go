package jose

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestBootstrapAttacks plays the bootstrap attacks against this layer alone.
func TestBootstrapAttacks(t *testing.T) {
	data, err := os.ReadFile("../../bootstrap/testdata/attacks/bootstrap.json")
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		Now     int64
		Leeway  int64  `json:"leeway_s"`
		MaxLife int64  `json:"max_lifetime_s"`
		Secret  []byte `json:"secret_base64"`
		Cases   []struct {
			ID, Name      string
			Authorization []string
			Expect        struct{ Status int }
		}
	}
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	key, err := HS256(f.Secret)
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) bool {
		token, err := Parse(text)
		if err != nil {
			return false
		}
		c, err := token.Verify(key)
		if err != nil {
			return false
		}
		_, timesErr := c.Times(time.Unix(f.Now, 0), time.Duration(f.Leeway)*time.Second, time.Duration(f.MaxLife)*time.Second)
		aud, audErr := c.Audience()
		iss, issErr := c.String("iss")
		scope, scopeErr := c.String("scope")
		return timesErr == nil && audErr == nil && issErr == nil && scopeErr == nil &&
			aud == "rsconnect" && iss == "rsconnect-python" && scope == "bootstrap"
	}
	for _, c := range f.Cases {
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			scheme, text, _ := strings.Cut(c.Authorization[0], " ")
			good := strings.EqualFold(scheme, "Connect-Bootstrap") && check(text)
			if good != (c.Expect.Status == 200) {
				t.Errorf("accepted: %v, want status %d", good, c.Expect.Status)
			}
		})
	}
}

// TestExchangeAttacks plays the part of the exchange attacks that is decided here.
func TestExchangeAttacks(t *testing.T) {
	var f struct {
		Now      int64
		Leeway   int64 `json:"leeway_s"`
		Audience string
		JWKS     json.RawMessage
		Cases    []struct {
			ID, Name     string
			SubjectToken string `json:"subject_token"`
			Expect       struct{ Status int }
		}
	}
	if !vectors(t, "attacks/exchange.json", &f) {
		return
	}
	set, err := ParseJWKS(f.JWKS)
	if err != nil || len(set.Keys) != 2 || len(set.Rejected) != 1 {
		t.Fatalf("EXC-03 keys: %d, rejected: %v, %v", len(set.Keys), set.Rejected, err)
	}
	for _, c := range f.Cases {
		if c.ID > "EXC-11" || c.ID == "EXC-04" || c.ID == "EXC-07" {
			continue // decided by the policy of an issuer
		}
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			good := false
			if token, err := Parse(c.SubjectToken); err == nil {
				if _, err = token.UnverifiedIssuer(); err == nil {
					var claims Claims
					claims, err = token.Verify(set.Keys...)
					aud, audErr := claims.Audience()
					_, timesErr := claims.Times(time.Unix(f.Now, 0), time.Duration(f.Leeway)*time.Second, time.Hour)
					good = err == nil && audErr == nil && timesErr == nil && aud == f.Audience
				}
			}
			if good != (c.Expect.Status == 200) {
				t.Errorf("accepted: %v, want status %d", good, c.Expect.Status)
			}
		})
	}
}
