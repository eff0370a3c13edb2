package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// keyOfAgent returns the key of an agent, by the id that it is published under. Of
// agents that are disabled no key is published.
func (p *Provider) keyOfAgent(ctx context.Context, id, kid string) (signer, error) {
	a, err := p.standingAgent(ctx, id)
	switch {
	case err != nil:
		return signer{}, err
	case a == nil:
		return signer{}, noAgentKey()
	}
	keys, err := a.keys()
	if err != nil {
		return signer{}, err
	}
	for _, k := range keys {
		if k.jkt == kid {
			k.id, k.here = p.agentURL(id), true
			return k, nil
		}
	}
	return signer{}, noAgentKey()
}

func noAgentKey() error {
	return refuse(keywright.CodeUnknownKey, "", errors.New("agentauth: no such key of the agent"))
}

// standingAgent returns the agent that has an identifier, or nil for one that is
// unknown, disabled or deleted.
func (p *Provider) standingAgent(ctx context.Context, id string) (*agentRecord, error) {
	if !p.names(id) {
		return nil, nil
	}
	a, _, err := p.agentByID(ctx, id)
	if err != nil || a == nil || !a.stands() {
		return nil, err
	}
	return a, nil
}

// names reports whether id could be one of the provider's agents.
func (p *Provider) names(id string) bool {
	parsed, err := parseAgentID(id, p.verifier.profile.Network.Development)
	return err == nil && parsed.Domain == p.domain
}

func (p *Provider) agentKeyRoutes() []keywright.Route {
	if p.hideAgents {
		return nil
	}
	pattern := p.paths.Agents + "/{agent_id}/jwks.json"
	return []keywright.Route{{Pattern: pattern, Handler: p.agentKeys(pattern)}}
}

// agentKeys serves the keys of one agent as a JWK Set, for scheme jwks: that of an
// agent that is unknown, disabled or deleted is not found. Servers elsewhere go on
// with a set that they have for up to a day.
func (p *Provider) agentKeys(pattern string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		document(func(ctx context.Context) (json.RawMessage, error) {
			id, err := endpoint.Segment(r, pattern, "agent_id")
			if err != nil {
				return nil, keywright.Wrap(keywright.CodeNotFound, err)
			}
			a, err := p.standingAgent(ctx, id)
			switch {
			case err != nil:
				return nil, err
			case a == nil:
				return nil, keywright.Errorf(keywright.CodeNotFound, "no agent of this identifier")
			}
			return a.publishedSet()
		}).ServeHTTP(w, r)
	})
}
