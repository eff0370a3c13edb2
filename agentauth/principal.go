package agentauth

import (
	"context"
	"errors"
	"maps"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
)

// The facts that a Principal of this package may have among its Attrs.
const (
	AttrScheme       = "scheme"       // how the key was told, a [Scheme]
	AttrThumbprint   = "jkt"          // of the key that signed the request (RFC 7638)
	AttrDurable      = "durable_jkt"  // of the durable key, of scheme jkt-jwt
	AttrTokenType    = "typ"          // of the token, a [TokenType]
	AttrTokenID      = "jti"          // of the token
	AttrAgent        = "agent"        // the agent identifier, where it is known
	AttrPersonServer = "ps"           // of the agent, or of the person for whom it acts
	AttrParentAgent  = "parent_agent" // of a sub-agent
	AttrRole         = "dwk"          // in which a server signed, a [Role]
	AttrComponents   = "components"   // that the signature covers, with spaces between
)

// principal tells who has signed. proof was accepted.
func (v *Verifier) principal(ctx context.Context, proof *proof, p policy) (keywright.Principal, error) {
	who := keywright.Principal{
		Method: keywright.MethodAgent, Credential: proof.jkt,
		Attrs: map[string]string{
			AttrScheme: string(proof.scheme), AttrThumbprint: proof.jkt, AttrComponents: strings.Join(proof.components, " "),
		},
	}
	switch {
	case proof.token != nil:
		proof.token.describe(&who)
	case proof.named != nil:
		who.Subject, who.Credential, who.Expires = urnPrefix+proof.named.jkt, proof.named.jkt, proof.named.expires
		who.Attrs[AttrDurable] = proof.named.jkt
	case proof.role != "":
		who.Issuer, who.Subject = proof.id, proof.id
		who.Attrs[AttrRole] = string(proof.role)
	case proof.id != "":
		who.Subject = proof.id
	default:
		who.Subject = proof.jkt
	}
	if err := v.enrolled(ctx, proof, p, &who); err != nil {
		return keywright.Principal{}, err
	}
	if v.scopes != nil {
		scopes, err := v.scopes(ctx, who)
		if err != nil {
			return keywright.Principal{}, err
		}
		who.Scopes = scopes
	}
	return who, nil
}

func (t *token) describe(who *keywright.Principal) {
	who.Issuer, who.Subject, who.Expires, who.Claims = t.issuer, t.subject, t.expires, t.claims
	who.Attrs[AttrTokenType], who.Attrs[AttrTokenID] = string(t.typ), t.jti
	for name, value := range map[string]string{AttrPersonServer: t.ps, AttrParentAgent: t.parent} {
		if value != "" {
			who.Attrs[name] = value
		}
	}
	switch t.typ {
	case AgentToken:
		who.Attrs[AttrAgent] = t.subject
	case AuthToken:
		who.Scopes = strings.Fields(t.scope)
	}
}

// enrolled adds what the record of an agent says that is enrolled here.
func (v *Verifier) enrolled(ctx context.Context, proof *proof, p policy, who *keywright.Principal) error {
	jkt := ""
	switch {
	case proof.token != nil && proof.token.typ == AgentToken && v.local(proof.token.issuer) != nil:
		jkt = proof.token.owner
	case p.Enrolled && (proof.scheme == SchemeHWK || proof.scheme == SchemeJWKS):
		jkt = proof.jkt
	default:
		return nil
	}
	a, _, err := agent.Find(ctx, v.host.Store, jkt)
	switch {
	case errors.Is(err, agent.ErrRefused):
		return denied(err)
	case err != nil:
		return keywright.Wrap(keywright.CodeUnavailable, err)
	}
	who.Scopes = a.Scopes
	if proof.token == nil {
		who.Subject = a.Name
		maps.Copy(who.Attrs, a.Attrs)
		who.Attrs[AttrAgent] = a.Name
	}
	return nil
}

// denied is the answer to everybody who is not known here, whatever the reason.
func denied(err error) error { return keywright.Wrap(keywright.CodeDenied, err) }
