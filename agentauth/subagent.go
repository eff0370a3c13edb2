package agentauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

func (p *Provider) subAgentRoutes() []keywright.Route {
	return []keywright.Route{
		{Pattern: p.paths.SubAgent, Handler: signedEndpoint(p, "subagent", p.readSubAgent, p.issueSubAgent)},
	}
}

// A subAgentCall is an agent's request for a token of a sub-agent, which acts for
// it with a key of its own.
type subAgentCall struct {
	proof  *proof
	parent *token
	key    jose.Key // of the sub-agent
	id     string   // of the sub-agent
}

// readSubAgent reads such a request (AAuth, section "Sub-Agents"). That a token
// is a sub-agent's is told by its claim parent_agent, never by its name.
func (p *Provider) readSubAgent(r *http.Request) (subAgentCall, error) {
	proof, err := p.verified(r, p.policies.subAgent)
	if err != nil {
		return subAgentCall{}, err
	}
	c := subAgentCall{proof: proof, parent: proof.token}
	if c.parent.parent != "" {
		return c, keywright.Errorf(keywright.CodeDenied, "a sub-agent has no sub-agents")
	}
	req, err := endpoint.LooseJSON[subAgentRequest](r)
	if err != nil {
		return c, err
	}
	if c.id, err = p.subAgentID(c.parent.subject, req.Discriminator); err != nil {
		return c, err
	}
	c.key, err = p.subAgentKey(c, req)
	return c, err
}

func (p *Provider) subAgentID(parent, discriminator string) (string, error) {
	id, err := parseAgentID(parent, p.verifier.profile.Network.Development)
	if err != nil {
		return "", badClaim("sub: want the identifier of an agent")
	}
	id.Local += "+" + discriminator
	if err := checkLocal(id.Local); err != nil {
		return "", &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "discriminator: " + err.Error(), Err: err}
	}
	if strings.Contains(discriminator, "+") {
		return "", keywright.Errorf(keywright.CodeInvalidRequest, `discriminator: a "+" is not for sub-agents of agents`)
	}
	return id.String(), nil
}

// subAgentKey reads the sub-agent's key. The parent vouches for it: who has a
// token without the key of it has nothing.
func (p *Provider) subAgentKey(c subAgentCall, req subAgentRequest) (jose.Key, error) {
	key, err := p.readJWK(req.JWK)
	if err != nil {
		return jose.Key{}, err
	}
	switch jkt, err := key.Thumbprint(); {
	case err != nil:
		return jose.Key{}, err
	case jkt == c.proof.jkt, jkt == c.parent.owner:
		return jose.Key{}, notItsOwn()
	}
	return key, nil
}

func notItsOwn() error {
	return keywright.Errorf(keywright.CodeInvalidRequest, "jwk: a sub-agent has a key of its own")
}

// issueSubAgent gives a sub-agent a token that ends with its parent's. Nothing is
// kept of sub-agents: all that they may is their parent's, and ends with it.
func (p *Provider) issueSubAgent(ctx context.Context, _ keywright.Principal, c subAgentCall) (subAgentResponse, error) {
	var resp subAgentResponse
	err := endpoint.Retry(func() error {
		a, _, err := p.agentByID(ctx, c.parent.subject)
		switch {
		case err != nil:
			return err
		case a == nil || !a.stands() || !c.parent.isOf(a.Record):
			return p.callers.refuse(ctx, denied(errors.New("agentauth: no agent "+c.parent.subject+", or a disabled one")))
		}
		return p.callers.admitKnown(ctx, a.jkt, func() error {
			resp, err = p.subAgentOf(ctx, c, a)
			return err
		})
	})
	return resp, err
}

// subAgentOf makes the token for a sub-agent of an agent.
func (p *Provider) subAgentOf(ctx context.Context, c subAgentCall, a *agentRecord) (subAgentResponse, error) {
	switch jkt, err := c.key.Thumbprint(); {
	case err != nil:
		return subAgentResponse{}, err
	case jkt == a.jkt, a.Keys.Next.is(jkt):
		return subAgentResponse{}, notItsOwn()
	}
	t, ops, err := p.recorded(ctx, a, agentClaims{
		subject: c.id, parent: a.Name, ps: c.parent.ps, key: c.key, life: a.TokenLife, notAfter: c.parent.expires,
	})
	switch {
	case err != nil:
		return subAgentResponse{}, err
	case t.life <= 0: // within Compat.ExpSkew
		return subAgentResponse{}, refuse(keywright.CodeExpiredJWT, "", nil)
	}
	ops = append(ops, a.unchanged(), store.Insert(c.proof.seen))
	e := keywright.Event{Name: "agent.subagent_issued", Actor: c.proof.jkt, Target: c.id, Attrs: map[string]string{"jti": t.jti, "parent_agent": a.Name}}
	if err := p.host.Commit(ctx, e, ops...); err != nil {
		return subAgentResponse{}, p.policies.subAgent.challenged(replayed(err))
	}
	return subAgentResponse{AgentToken: t.text, ExpiresIn: int64(t.life / time.Second), AgentID: c.id}, nil
}
