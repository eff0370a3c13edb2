package agentauth

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"
)

// A Credential is a key, and as whom it signs.
type Credential struct {
	Key crypto.Signer // Ed25519 or P-256

	// As says how the key is told to others. Its Components, Created and Expires
	// count for nothing here.
	As SignOptions

	Expires time.Time // of As.Token; zero: never
}

// An Identity is as whom requests are signed: an [Enrolled] agent, a [SelfIssuer],
// or a key by itself, see [FixedIdentity]. It is safe for concurrent use.
type Identity interface {
	// Credential returns the one to sign with now. It makes a new one where that
	// is due, and fails where none is to be had.
	Credential(ctx context.Context) (Credential, error)

	// Renew returns another than refused, which a server did not accept any more.
	// It fails where there is no other.
	Renew(ctx context.Context, refused Credential) (Credential, error)
}

// FixedIdentity is that of one key which is told in one way: as a pseudonym (the
// zero SignOptions), or as published by a server or at a URL.
func FixedIdentity(key crypto.Signer, as SignOptions) (Identity, error) {
	if key == nil {
		return nil, errors.New("agentauth: FixedIdentity: no key")
	}
	if err := as.check(); err != nil {
		return nil, fmt.Errorf("agentauth: FixedIdentity: %w", err)
	}
	return &fixed{Credential{Key: key, As: as}}, nil
}

type fixed struct{ credential Credential }

func (f *fixed) Credential(context.Context) (Credential, error) { return f.credential, nil }

func (f *fixed) Renew(context.Context, Credential) (Credential, error) {
	return Credential{}, errors.New("agentauth: the key is refused, and there is no other")
}

// compile prepares c for signing.
func (c Credential) compile(ctx context.Context, now time.Time) (signingKey, error) {
	if c.Key == nil {
		return signingKey{}, errors.New("agentauth: a Credential without a key")
	}
	o := c.As
	o.Created = now
	return o.compile(ctx, c.Key)
}
