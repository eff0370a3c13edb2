// Package oidc verifies the identity tokens of issuers that the host trusts
// (OpenID Connect Core 1.0, section 3.1.3.7, as far as it is about a token that
// comes without a login).
//
// The order is: cheap and local checks, then the issuer's keys, then the rest.
// Nothing is ever fetched on behalf of an issuer that is not configured.
package oidc

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
)

// Skew is how far an issuer's clock may be from ours.
const Skew = 30 * time.Second

// MaxTokenID is the longest jti that is accepted.
const MaxTokenID = 256

// A Reason says which check an identity token failed.
type Reason string

// The reasons.
const (
	Malformed   Reason = "malformed" // not a token that could be read
	Issuer      Reason = "issuer"    // no issuer, or none that is trusted
	Algorithm   Reason = "algorithm" // not one of the issuer's
	Key         Reason = "key"       // no key of the issuer has its id
	Signature   Reason = "signature" // not that of the key
	Time        Reason = "time"      // expired, not valid yet, too long, or without a time
	Audience    Reason = "audience"  // not for us, or not for us alone
	TokenID     Reason = "jti"       // none, where the issuer's tokens have one
	Unavailable Reason = "keys unavailable"
)

// An Error is why a token is not accepted. Its text holds nothing of the token.
type Error struct {
	Reason     Reason
	Err        error
	RetryAfter time.Duration // for Unavailable
}

func (e *Error) Error() string { return string(e.Reason) + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

func fail(r Reason, err error) error { return &Error{Reason: r, Err: err} }

// A Trust is what is known of one issuer. It does not change.
type Trust struct {
	Issuer      string   // the claim iss, byte for byte
	Algorithms  []string // header alg values that are accepted
	Keys        *egress.KeySet
	MaxLifetime time.Duration // of a token, from iat to exp
}

// A Candidate is a token that nobody has verified, with its issuer.
type Candidate struct {
	token  *jose.Token
	Issuer string // unverified: for choosing a Trust, and nothing else
}

// Read reads a token as far as one may before its issuer is known.
func Read(compact string) (Candidate, error) {
	t, err := jose.Parse(compact)
	switch {
	case errors.Is(err, jose.ErrUnsupportedAlgorithm):
		return Candidate{}, fail(Algorithm, err)
	case err != nil:
		return Candidate{}, fail(Malformed, err)
	}
	iss, err := t.UnverifiedIssuer()
	if err != nil {
		return Candidate{token: t}, fail(Issuer, err)
	}
	return Candidate{t, iss}, nil
}

// Digest is the SHA-256 of what the token's issuer has signed, which names the
// token without revealing it. Zero if there is no token.
func (c Candidate) Digest() [sha256.Size]byte {
	if c.token == nil {
		return [sha256.Size]byte{}
	}
	return c.token.Digest()
}

// A Token is one that was verified.
type Token struct {
	Claims jose.Claims
	Times  jose.Times
	Issuer string
	ID     string // the claim jti; empty: it has none
	Digest [sha256.Size]byte
}

// Verify checks c against the issuer that it names, which the caller has looked
// up among those configured, and against the one audience. needID says that a
// token without a jti is refused. An error is an [*Error], or ctx's.
func (t Trust) Verify(ctx context.Context, c Candidate, audience string, now time.Time, needID bool) (Token, error) {
	claims, err := t.verifySignature(ctx, c)
	if err != nil {
		return Token{}, err
	}
	token := Token{Claims: claims, Issuer: t.Issuer, Digest: c.Digest()}
	if token.Times, err = claims.Times(now, Skew, t.MaxLifetime); err != nil {
		return Token{}, fail(Time, err)
	}
	switch got, err := claims.Audience(); {
	case err != nil:
		return Token{}, fail(Audience, err)
	case got != audience:
		return Token{}, fail(Audience, errors.New("another audience"))
	}
	if token.ID, err = tokenID(claims, needID); err != nil {
		return Token{}, fail(TokenID, err)
	}
	return token, nil
}

func (t Trust) verifySignature(ctx context.Context, c Candidate) (jose.Claims, error) {
	switch typ := c.token.Type(); {
	case c.Issuer != t.Issuer:
		return jose.Claims{}, fail(Issuer, errors.New("not the one that was looked up"))
	case !slices.Contains(t.Algorithms, c.token.Algorithm()):
		return jose.Claims{}, fail(Algorithm, fmt.Errorf("alg %s is not configured for this issuer", c.token.Algorithm()))
	case typ != "" && !strings.EqualFold(typ, "JWT"):
		return jose.Claims{}, fail(Malformed, errors.New("typ is not JWT"))
	case c.token.KeyID() == "":
		return jose.Claims{}, fail(Key, errors.New("the token names no key"))
	}
	keys, err := t.Keys.Keys(ctx, c.token.KeyID())
	if err != nil {
		return jose.Claims{}, keyError(ctx, err)
	}
	claims, err := c.token.Verify(keys...)
	switch {
	case errors.Is(err, jose.ErrNoKey):
		return jose.Claims{}, fail(Key, err)
	case errors.Is(err, jose.ErrSignature):
		return jose.Claims{}, fail(Signature, err)
	case err != nil:
		return jose.Claims{}, fail(Malformed, err)
	}
	return claims, nil
}

func keyError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if u, ok := errors.AsType[*egress.UnavailableError](err); ok {
		return &Error{Reason: Unavailable, Err: u, RetryAfter: u.RetryAfter}
	}
	return fail(Key, err)
}

func tokenID(claims jose.Claims, need bool) (string, error) {
	id, err := claims.String("jti")
	switch {
	case errors.Is(err, strictjson.ErrAbsent) && !need:
		return "", nil
	case err != nil:
		return "", err
	case id == "" || len(id) > MaxTokenID:
		return "", fmt.Errorf("jti of %d bytes, want 1 to %d", len(id), MaxTokenID)
	}
	return id, nil
}
