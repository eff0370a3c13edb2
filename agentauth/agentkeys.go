package agentauth

import (
	"context"
	"errors"

	"github.com/keywright/keywright"
)

// keyOfAgent returns the key of an agent, by the id that it is published under.
func (p *Provider) keyOfAgent(ctx context.Context, id, kid string) (signer, error) {
	a, _, err := p.agentByID(ctx, id)
	switch {
	case err != nil:
		return signer{}, err
	case a == nil || kid != a.jkt:
		return signer{}, refuse(keywright.CodeUnknownKey, "", errors.New("agentauth: no such key of agent "+id))
	}
	return signer{key: a.key, jkt: a.jkt}, nil
}

func (p *Provider) agentKeyRoutes() []keywright.Route { return nil }
