package agentauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
)

// requirementField says what a request needs before it is served (AAuth, section
// "Requirement Responses").
const requirementField = "AAuth-Requirement"

// The requirements that a resource makes.
const (
	needsAgentToken  = "requirement=agent-token"
	needsPersonToken = "requirement=person-token"
	needsAuthToken   = "requirement=auth-token"
)

// A gate admits requests with a token of one type. What it answers to others
// depends on what they have shown:
//
//   - A token of this resource that comes earlier on the way is verified, and
//     answered with the requirement alone: nothing is wrong with its signature.
//   - A token of any other type is refused by its typ before the rest of it is
//     read. That is an error of the signature's key, to which the requirement is
//     added as it is to a request without a signature.
type gate struct {
	resource *Resource
	policy   policy
	wants    TokenType
	scopes   []string // of an auth token
}

// Authenticate implements [keywright.Authenticator].
func (g *gate) Authenticate(r *http.Request) (keywright.Principal, error) {
	if !httpsig.Signed(r.Header) {
		e := g.policy.refuseUnsigned(r)
		e.Header.Set(requirementField, g.first())
		return keywright.Principal{}, e
	}
	p, err := g.admit(r)
	if err == nil {
		return p, nil
	}
	// To want more of a good caller is no refusal.
	if code := keywright.AsError(err).Code; code != keywright.CodeInvalidToken && code != keywright.CodeInsufficientScope {
		g.resource.host.Hooks.Refused(keywright.WithRequestAddr(r), "agent.refused", err)
	}
	return keywright.Principal{}, err
}

func (g *gate) admit(r *http.Request) (keywright.Principal, error) {
	v := g.resource.verifier
	proof, err := v.verify(r, g.policy)
	if err != nil {
		return keywright.Principal{}, g.policy.challenged(g.advised(proof, err))
	}
	if err := g.check(r.Context(), proof); err != nil {
		return keywright.Principal{}, err
	}
	p, err := v.principal(r.Context(), proof)
	if err != nil {
		return keywright.Principal{}, err
	}
	// The host may allow less than the token, and no other token helps then.
	if missing := lacking(p.Scopes, g.scopes); len(missing) > 0 {
		return keywright.Principal{}, insufficient(missing)
	}
	if err := v.remember(r.Context(), proof); err != nil {
		return keywright.Principal{}, g.policy.challenged(err)
	}
	return p, nil
}

// check compares a token that was verified with what the gate wants.
func (g *gate) check(ctx context.Context, proof *proof) error {
	t := proof.token
	switch {
	case t == nil:
		return badClaim("a token is wanted")
	case g.wants == AuthToken && t.typ == AuthToken:
		missing := lacking(strings.Fields(t.scope), g.scopes)
		switch {
		case len(missing) == 0:
			return nil
		case g.resource.noStepUp:
			return insufficient(missing)
		}
		return g.askAuth(ctx, proof)
	case t.typ == g.wants:
		return nil
	case g.wants == AuthToken && t.typ == PersonToken:
		return g.askAuth(ctx, proof)
	case t.typ == AgentToken:
		return required(needsPersonToken, "a person token is required")
	}
	return otherType()
}

// askAuth sends the agent for an auth token, with a resource token that names the
// token of this very request.
func (g *gate) askAuth(ctx context.Context, proof *proof) error {
	text, err := g.resource.issue(ctx, proof, g.scopes)
	if err != nil {
		return err
	}
	return required(needsAuthToken+`; resource-token="`+text+`"`, "an auth token is required for: "+strings.Join(g.scopes, " "))
}

// first is the requirement to who has shown nothing that counts here. Without a
// person token there can be no resource token.
func (g *gate) first() string {
	if g.wants == AgentToken {
		return needsAgentToken
	}
	return needsPersonToken
}

// advised adds the requirement to errors that another token would mend. proof is
// nil where the request was refused before its signature was verified.
func (g *gate) advised(proof *proof, err error) error {
	e, ok := errors.AsType[*keywright.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case keywright.CodeUnsupportedScheme:
		e.Header.Set(requirementField, g.first())
	case keywright.CodeInvalidJWT:
		if errors.Is(e, errOtherType) {
			e.Header.Set(requirementField, g.first())
		}
	case keywright.CodeInvalidKey:
		// Who has issued the agent token does not matter once there is a person.
		if u, ok := errors.AsType[untrustedError](e); ok && u.role == RoleAgentProvider && g.wants != AgentToken {
			e.Header.Set(requirementField, g.first())
		}
	case keywright.CodeRevokedJWT:
		// The grant is gone, and the person may give another.
		if proof != nil && proof.token != nil && proof.token.typ == AuthToken {
			e.Header.Set(requirementField, needsPersonToken)
		}
	}
	return err
}

// required is the answer to a good request that needs another token.
func required(requirement, detail string) error {
	return &keywright.Error{Code: keywright.CodeInvalidToken, Detail: detail, Header: http.Header{
		http.CanonicalHeaderKey(requirementField): {requirement},
	}}
}

// insufficient is a 403, which has no field of signatures.
func insufficient(missing []string) error {
	return keywright.Errorf(keywright.CodeInsufficientScope, "missing scope: %s", strings.Join(missing, " "))
}

// lacking lists those of wanted that are not in granted.
func lacking(granted, wanted []string) []string {
	var missing []string
	for _, scope := range wanted {
		if !slices.Contains(granted, scope) {
			missing = append(missing, scope)
		}
	}
	return missing
}

// errOtherType is the cause where a token is of a type that the route has no use
// for.
var errOtherType = errors.New("agentauth: a token of another type")

func otherType() error {
	return refuse(keywright.CodeInvalidJWT, "typ: a token of another type is wanted", errOtherType)
}

// takes checks a token against the route, as far as its claims tell.
func (p policy) takes(t *token) error {
	switch {
	case !slices.Contains(p.tokens, t.typ):
		return otherType()
	case t.typ == AgentToken:
		return nil
	case t.aud != p.audience:
		return badClaim("aud is another")
	case t.typ == AuthToken && !p.mayGrant(t):
		return refuse(keywright.CodeInvalidKey, "the issuer grants nothing here", nil)
	}
	return nil
}

// mayGrant reports whether auth tokens of t's issuer count. Where an access server
// decides, a person server must not, and nobody else's access server ever.
func (p policy) mayGrant(t *token) bool {
	if p.access == "" {
		return t.role == RolePersonServer
	}
	return t.role == RoleAccessServer && t.issuer == p.access
}
