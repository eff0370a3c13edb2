package bootstrap

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
)

// skew is how far a client's clock may be from ours.
const skew = 30 * time.Second

// Expect says what a bootstrap token must claim. Values are compared byte for
// byte; an empty one stands for what rsconnect-python writes.
type Expect struct {
	Issuer   string // "rsconnect-python"
	Audience string // "rsconnect"
	Scope    string // "bootstrap"

	// MaxLifetime is the longest accepted exp - iat; 0 means 15 minutes, the
	// lifetime that rsconnect-python writes. Posit Connect documents no limit:
	// clients that make longer tokens need a larger one here.
	MaxLifetime time.Duration
}

func (e Expect) withDefaults() (Expect, error) {
	if e.MaxLifetime < 0 {
		return Expect{}, errors.New("bootstrap: Expect.MaxLifetime is negative")
	}
	for field, value := range map[*string]string{&e.Issuer: "rsconnect-python", &e.Audience: "rsconnect", &e.Scope: "bootstrap"} {
		if *field == "" {
			*field = value
		}
	}
	if e.MaxLifetime == 0 {
		e.MaxLifetime = 15 * time.Minute
	}
	return e, nil
}

// VerifierConfig configures a [Verifier]. Secret or PublicKeys are required;
// see [Config] for both.
type VerifierConfig struct {
	Secret     string
	PublicKeys []crypto.PublicKey
	Expect     Expect
	Hooks      keywright.Hooks
}

// A Verifier is the keywright.Authenticator of bootstrap tokens alone: it keeps
// no state and issues nothing. It is for hosts with a handler of their own,
// which must see to it that one token does its work once.
type Verifier struct {
	keys   []jose.Key
	expect Expect
	hooks  keywright.Hooks
}

// NewVerifier checks c.
func NewVerifier(c VerifierConfig) (*Verifier, error) {
	expect, err := c.Expect.withDefaults()
	if err != nil {
		return nil, err
	}
	v := &Verifier{expect: expect, hooks: c.Hooks.WithDefaults()}
	if c.Secret != "" {
		secret, err := decodeSecret(c.Secret)
		if err != nil {
			return nil, fmt.Errorf("bootstrap: Secret: %w", err)
		}
		key, err := jose.HS256(secret)
		if err != nil {
			return nil, fmt.Errorf("bootstrap: Secret: %w", err)
		}
		v.keys = append(v.keys, key)
	}
	for i, public := range c.PublicKeys {
		key, err := jose.PublicKey(public)
		if err != nil {
			return nil, fmt.Errorf("bootstrap: PublicKeys[%d]: %w", i, err)
		}
		v.keys = append(v.keys, key)
	}
	if len(v.keys) == 0 {
		return nil, errors.New("bootstrap: Secret or PublicKeys is required (or Disabled)")
	}
	return v, nil
}

// Challenge names the scheme, for WWW-Authenticate.
func (v *Verifier) Challenge() string { return scheme }

// Authenticate accepts "Authorization: Connect-Bootstrap TOKEN". The Principal
// carries the token's claims; its Credential is a name for the token that does
// not reveal it.
func (v *Verifier) Authenticate(r *http.Request) (keywright.Principal, error) {
	got, token, err := authorization.Parse(r.Header)
	switch {
	case errors.Is(err, authorization.ErrAbsent), got != "" && !authorization.Is(got, scheme):
		return keywright.Principal{}, keywright.ErrNoCredential
	case err == nil:
		var p keywright.Principal
		if p, err = v.verify(token); err == nil {
			return p, nil
		}
	}
	err = invalidToken(err)
	v.hooks.Refused(keywright.WithRequestAddr(r), "bootstrap.refused", err)
	return keywright.Principal{}, err
}

func (v *Verifier) verify(compact string) (keywright.Principal, error) {
	token, err := jose.Parse(compact)
	if err != nil {
		return keywright.Principal{}, err
	}
	claims, err := token.Verify(v.keys...)
	if err != nil {
		return keywright.Principal{}, err
	}
	times, err := v.check(token, claims)
	if err != nil {
		return keywright.Principal{}, err
	}
	return keywright.Principal{
		Method: keywright.MethodBootstrap, Issuer: v.expect.Issuer, Subject: "bootstrap", Scopes: []string{v.expect.Scope},
		Credential: credential(compact), Expires: times.Expires, Claims: claims.JSON(),
	}, nil
}

func (v *Verifier) check(token *jose.Token, claims jose.Claims) (jose.Times, error) {
	if typ := token.Type(); typ != "" && !strings.EqualFold(typ, "JWT") {
		return jose.Times{}, errors.New("typ is not JWT")
	}
	audience, err := claims.Audience()
	if err != nil {
		return jose.Times{}, err
	}
	if audience != v.expect.Audience {
		return jose.Times{}, errors.New("aud is not the one expected")
	}
	for name, want := range map[string]string{"iss": v.expect.Issuer, "scope": v.expect.Scope} {
		got, err := claims.String(name)
		if err != nil {
			return jose.Times{}, err
		}
		if got != want {
			return jose.Times{}, fmt.Errorf("%s is not the one expected", name)
		}
	}
	if _, err := tokenID(claims.Members); err != nil {
		return jose.Times{}, err
	}
	return claims.Times(v.hooks.Now(), skew, v.expect.MaxLifetime)
}

// tokenID returns the claim jti, or "" where there is none.
func tokenID(claims strictjson.Members) (string, error) {
	id, err := claims.String("jti")
	switch {
	case errors.Is(err, strictjson.ErrAbsent):
		return "", nil
	case err == nil && id == "":
		return "", errors.New("jti is empty")
	}
	return id, err
}

// credential names a token in the audit. It is cut short, and not what
// redelivery derives a key from.
func credential(compact string) string {
	sum := sha256.Sum256([]byte("keywright bootstrap token " + compact))
	return "token-" + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// invalidToken is the one answer to every bad token.
func invalidToken(cause error) error {
	return &keywright.Error{
		Code:   keywright.CodeInvalidToken,
		Header: http.Header{"Www-Authenticate": {scheme}},
		Err:    fmt.Errorf("bootstrap token: %w", cause),
	}
}
