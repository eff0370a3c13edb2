package agentauth

import (
	"fmt"
	"io"
	"log/slog"
)

// What holds a token, or a key that its owner may have in the clear, tells neither
// where it is printed, encoded or logged.

// String tells how the key is told, and nothing of token and keys.
func (o SignOptions) String() string { return "sign options of scheme " + string(o.scheme()) }

// Format does so whichever verb prints o.
func (o SignOptions) Format(s fmt.State, _ rune) { io.WriteString(s, o.String()) }

// MarshalText does so in JSON.
func (o SignOptions) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// LogValue does so in logs.
func (o SignOptions) LogValue() slog.Value { return slog.StringValue(o.String()) }

func (o SignOptions) scheme() Scheme {
	switch {
	case o.Token != "":
		return SchemeJWT
	case o.Durable != nil:
		return SchemeJKTJWT
	case o.Server != "":
		return SchemeJWKSURI
	case o.URL != "":
		return SchemeJWKS
	}
	return SchemeHWK
}

// String tells how the key is told, and nothing of token and key.
func (c Credential) String() string { return "credential of scheme " + string(c.As.scheme()) }

// Format does so whichever verb prints c.
func (c Credential) Format(s fmt.State, _ rune) { io.WriteString(s, c.String()) }

// MarshalText does so in JSON.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue does so in logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String names the provider alone.
func (c EnrolledConfig) String() string { return "configuration of an agent of " + c.Provider }

// Format does so whichever verb prints c.
func (c EnrolledConfig) Format(s fmt.State, _ rune) { io.WriteString(s, c.String()) }

// MarshalText does so in JSON.
func (c EnrolledConfig) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// LogValue does so in logs.
func (c EnrolledConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Format tells nothing of keys and tokens.
func (e *Enrolled) Format(s fmt.State, _ rune) { io.WriteString(s, "agent of "+e.c.Provider) }

// Format tells nothing of keys and tokens.
func (t *Transport) Format(s fmt.State, _ rune) { io.WriteString(s, "agentauth.Transport") }

// Format tells nothing of keys and tokens.
func (p *PersonServer) Format(s fmt.State, _ rune) {
	io.WriteString(s, "person server "+p.c.ID)
}

// Format tells nothing of keys and tokens.
func (s *SelfIssuer) Format(f fmt.State, _ rune) { io.WriteString(f, "self-issuer "+s.claims.issuer) }

// Format tells nothing of the key.
func (f *fixed) Format(s fmt.State, _ rune) { io.WriteString(s, f.credential.String()) }
