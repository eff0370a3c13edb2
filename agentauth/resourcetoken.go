package agentauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
)

// issue makes a resource token (AAuth, section "Resource Token"), which asks for
// scopes and for what the token of the request grants already: the auth token
// that the agent gets takes the place of that one. proof is of the request that
// is answered, with a person or auth token.
func (s *Resource) issue(ctx context.Context, proof *proof, scopes []string) (string, error) {
	t := proof.token
	now := s.host.Hooks.Now().Truncate(time.Second)
	claims := resourceClaims{
		Issuer: s.issuer, Document: RoleResource, Audience: cmp.Or(s.access, t.ps), PersonServer: t.ps, Subject: t.subject,
		PresentedID: t.jti, Thumbprint: proof.jkt, Scope: strings.Join(s.extended(t, scopes), " "), Mission: t.mission, Tenant: t.tenant,
		ID: rand.Text(), IssuedAt: now.Unix(), Expires: now.Add(maxResourceLife).Unix(),
	}
	if s.verifier.profile.Compat.EmitPersonTokenJTI {
		claims.PersonTokenID = t.jti
	}
	text, err := s.keys.sign(ctx, ResourceToken, claims)
	if err != nil {
		return "", err
	}
	s.host.Hooks.Audit(ctx, keywright.Event{
		Time: s.host.Hooks.Now(), Name: "agent.resource_token_issued", Actor: proof.jkt, Target: claims.ID, Remote: keywright.RemoteAddr(ctx),
		Attrs: map[string]string{"iss": t.issuer, "sub": t.subject, "presented_jti": t.jti, "scope": claims.Scope},
	})
	return text, nil
}

// extended adds to scopes those that t grants and that may be asked for.
func (s *Resource) extended(t *token, scopes []string) []string {
	all := slices.Clone(scopes)
	for _, scope := range strings.Fields(t.scope) {
		if s.knows(scope) && !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return all
}
