package agentauth

import (
	"errors"
	"time"
)

// Compat admits what other versions of the drafts have. Each flag admits its own
// case and nothing else; the zero value none of them, which is right for clients
// of AAuth -11 with HTTP Signature Keys -09.
type Compat struct {
	HWKWithoutAlg bool // keys in the field Signature-Key without alg, which then is that of the curve; kid is passed over
	CnfWithoutAlg bool // keys in tokens and in enrolments without alg
	AcceptEdDSA   bool // the name EdDSA for Ed25519

	LegacyNamingJWT   bool // naming JWTs of before June 2026: typ naming+jwt, the durable key named by kid
	LegacyHWKJWKParam bool // hwk;jwk="base64url of a JWK"
	LegacyJWKSURI     bool // jwks_uri;uri="...";kid="..." for what is called jwks today

	// AllowUnsignedEnrol is enrolment without proof of the key: whoever asks first
	// has a name. It is for the first enrolment of a key only. Repeating it is
	// invalid_signature, for whoever knows a public key could repeat it, so a client
	// that has lost its first answer must sign its second request. While this is
	// on, requests without a signature count against ProviderLimits.
	AllowUnsignedEnrol bool

	AnyAgentDomain     bool          // agent identifiers whose domain is not the host of their issuer
	EmitPersonTokenJTI bool          // resource tokens with person_token_jti beside presented_jti
	ExpSkew            time.Duration // after a token's exp that it still counts, up to a minute
}

const maxExpSkew = time.Minute

func (c Compat) check() error {
	if c.ExpSkew < 0 || c.ExpSkew > maxExpSkew {
		return errors.New("ExpSkew: want 0 to 1 minute")
	}
	return nil
}
