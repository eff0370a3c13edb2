package agentauth

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
)

// readLegacyNaming reads a naming JWT of before June 2026. It names the durable
// key by its thumbprint, so only one that is enrolled here can be found, and iss
// is the provider.
func (v *Verifier) readLegacyNaming(ctx context.Context, text string, now time.Time) (*naming, error) {
	t, err := jose.Parse(text)
	if err != nil {
		return nil, badToken(err)
	}
	if t.Type() != legacyNamingType {
		return nil, badClaim("typ: want " + namingType)
	}
	iss, err := t.UnverifiedIssuer()
	if err != nil || !slices.ContainsFunc(v.providers, func(p *Provider) bool { return p.issuer == iss }) {
		return nil, badClaim("iss is not that of the provider")
	}
	n := &naming{jkt: t.KeyID()}
	_, n.key, err = agent.Find(ctx, v.host.Store, n.jkt)
	switch {
	case errors.Is(err, agent.ErrRefused):
		return nil, refuse(keywright.CodeUnknownKey, "", err)
	case err != nil:
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return n, v.completeNaming(n, t, iss, now)
}
