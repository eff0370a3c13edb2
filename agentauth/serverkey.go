package agentauth

import (
	"context"
	"slices"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// byServer is scheme jwks_uri (HTTP Signature Keys, section "jwks_uri"), with
// which a server signs for itself.
func (v *Verifier) byServer(ctx context.Context, m *httpsig.Message) (signer, error) {
	id, _ := m.Param("id")
	dwk, _ := m.Param("dwk")
	kid, _ := m.Param("kid")
	if err := checkServerID(id, v.profile.Network.Development); err != nil {
		return signer{}, refuse(keywright.CodeInvalidKey, "id: want the identifier of a server", err)
	}
	role := Role(dwk)
	if !slices.Contains([]Role{RoleAgentProvider, RoleResource, RolePersonServer, RoleAccessServer}, role) {
		return signer{}, refuse(keywright.CodeInvalidKey, "dwk is not that of a role", nil)
	}
	keys, err := v.keysOf(id, role)
	if err != nil {
		return signer{}, err
	}
	s, err := v.publishedKey(ctx, keys, kid)
	s.id, s.role = id, role
	return s, err
}

// byURL is scheme jwks (HTTP Signature Keys, section "jwks"): a key at a URL,
// which is the identity. The URLs of agents enrolled here are not fetched.
func (v *Verifier) byURL(ctx context.Context, m *httpsig.Message) (signer, error) {
	name := "url"
	if m.Scheme == string(SchemeJWKSURI) {
		name = "uri" // of LegacyJWKSURI
	}
	url, _ := m.Param(name)
	kid, _ := m.Param("kid")
	for _, p := range v.providers {
		if id, ok := p.agentOfURL(url); ok {
			return p.keyOfAgent(ctx, id, kid)
		}
	}
	keys, err := v.issuers.atURL(url)
	if err != nil {
		return signer{}, err
	}
	s, err := v.publishedKey(ctx, keys, kid)
	s.id = url
	return s, err
}

// publishedKey finds the one key of an id.
func (v *Verifier) publishedKey(ctx context.Context, keys issuerKeys, kid string) (signer, error) {
	if kid == "" {
		return signer{}, refuse(keywright.CodeInvalidKey, "kid is missing", nil)
	}
	candidates, err := keys.Keys(ctx, kid)
	if err != nil {
		return signer{}, unknownKey(err)
	}
	if len(candidates) > 1 {
		return signer{}, refuse(keywright.CodeInvalidKey, "several keys have the id", nil)
	}
	if err := checkAlgorithm(candidates[0], false, v.profile.Compat.AcceptEdDSA); err != nil {
		return signer{}, err
	}
	s, err := signedBy(candidates[0])
	s.newer = func() []jose.Key { return keys.Newer(ctx, kid, candidates) }
	s.prove = keys.Proven
	return s, err
}

// issuerKeys are the public keys of an issuer.
type issuerKeys interface {
	Keys(ctx context.Context, kid string) ([]jose.Key, error)

	// Newer returns those of an id that have not been tried yet, for which it may
	// look anew and wait.
	Newer(ctx context.Context, kid string, tried []jose.Key) []jose.Key

	Proven() // one of them has verified a signature
}

// keysOf returns the keys of a trusted issuer in a role. It fetches nothing.
func (v *Verifier) keysOf(issuer string, role Role) (issuerKeys, error) {
	if role == RoleAgentProvider {
		if p := v.local(issuer); p != nil {
			return ownKeys{p.keys}, nil
		}
	}
	return v.issuers.trusted(issuer, role)
}

// local returns the provider of this server that is issuer, or nil.
func (v *Verifier) local(issuer string) *Provider {
	for _, p := range v.providers {
		if p.issuer == issuer {
			return p
		}
	}
	return nil
}
