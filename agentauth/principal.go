package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	AttrRequest      = "request"      // names the request, where it is remembered: no two accepted ones share it
	AttrComponents   = "components"   // that the signature covers, with spaces between
)

// principal tells who has signed. proof was accepted.
func (v *Verifier) principal(ctx context.Context, proof *proof) (keywright.Principal, error) {
	who := keywright.Principal{
		Method: keywright.MethodAgent, Credential: proof.jkt,
		Attrs: map[string]string{
			AttrScheme: string(proof.scheme), AttrThumbprint: proof.jkt, AttrComponents: strings.Join(proof.components, " "),
		},
	}
	if proof.seen.Kind != "" {
		who.Attrs[AttrRequest] = proof.seen.ID
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
	if err := v.enrolled(ctx, proof, &who); err != nil {
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
	who.Issuer, who.Subject, who.Expires = t.issuer, t.subject, t.expires
	who.Claims = slices.Clone(t.claims) // t is that of other requests too
	who.Attrs[AttrTokenType], who.Attrs[AttrTokenID] = string(t.typ), t.jti
	if t.ps != "" {
		who.Attrs[AttrPersonServer] = t.ps
	}
	if t.parent != "" {
		who.Attrs[AttrParentAgent] = t.parent
	}
	switch t.typ {
	case AgentToken:
		who.Attrs[AttrAgent] = t.subject
	case AuthToken:
		who.Scopes = strings.Fields(t.scope)
	}
}

// enrolledAs returns the thumbprint of the key that the caller must be enrolled
// with, or "".
func (p policy) enrolledAs(proof *proof) string {
	switch {
	case proof.token != nil:
		return proof.token.owner
	case proof.here:
		return proof.jkt
	case p.Pseudonyms:
		return ""
	case proof.named != nil:
		return proof.named.jkt
	case proof.scheme == SchemeHWK:
		return proof.jkt
	}
	return ""
}

// enrolled adds what the record of an agent says that is enrolled here.
func (v *Verifier) enrolled(ctx context.Context, proof *proof, who *keywright.Principal) error {
	if proof.agent.ID == "" {
		return nil
	}
	a, err := agent.Standing(ctx, v.host.Store, proof.agent)
	if errors.Is(err, agent.ErrRefused) {
		a, err = v.rotated(ctx, proof)
	}
	switch {
	case errors.Is(err, agent.ErrRefused):
		return denied(err)
	case err != nil:
		return keywright.Wrap(keywright.CodeUnavailable, err)
	case proof.token != nil && !proof.token.isOf(a):
		return denied(errors.New("agentauth: token of an agent that was deleted"))
	}
	who.Scopes = a.Scopes
	if proof.token != nil { // which tells the rest
		return nil
	}
	issuer, err := v.enrolledBy(a)
	if err != nil {
		return err
	}
	who.Issuer, who.Subject = issuer, a.Name
	proven := who.Attrs
	who.Attrs = make(map[string]string, len(a.Attrs)+len(proven)+1)
	maps.Copy(who.Attrs, a.Attrs)
	maps.Copy(who.Attrs, proven)
	if len(a.Own) > 0 {
		who.Attrs[AttrAgent] = a.Name
	}
	return nil
}

// enrolledBy tells who vouches for the name of a, which is an agent of one of the
// verifier's providers or a runner of the host.
func (v *Verifier) enrolledBy(a agent.Record) (issuer string, err error) {
	if len(a.Own) == 0 {
		if v.host.URL == nil {
			return "", nil
		}
		return strings.TrimRight(v.host.URL.String(), "/"), nil
	}
	var e enrollment
	if err := json.Unmarshal(a.Own, &e); err != nil {
		return "", keywright.Wrap(keywright.CodeInternal, fmt.Errorf("agentauth: agent %s: %w", a.Name, err))
	}
	if v.local(e.Provider) == nil {
		return "", denied(errors.New("agentauth: agent of another provider"))
	}
	return e.Provider, nil
}

// isOf reports whether a token is of the agent, or of a sub-agent of it. Its key
// may have been that of an agent which was deleted, of the same identifier or of
// another.
func (t *token) isOf(a agent.Record) bool {
	return !t.issued.Before(a.Created) && (a.Name == t.subject && t.parent == "" || a.Name == t.parent)
}

// denied is the answer to everybody who is not known here, whatever the reason.
func denied(err error) error { return keywright.Wrap(keywright.CodeDenied, err) }
