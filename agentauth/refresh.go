package agentauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// KindNaming is the store kind of naming JWTs that were used: each is good for one
// token.
const KindNaming = "agent.naming"

// A refreshCall is a request for another token. Who asks is known by the key, and
// by nothing in the body.
type refreshCall struct {
	call
	token jose.Key // that the token is to be bound to
}

func (p *Provider) readRefresh(r *http.Request) (refreshCall, error) {
	return p.readKeys(r, p.policies.refresh)
}

// readKeys reads a request that goes by its keys alone.
func (p *Provider) readKeys(r *http.Request, rules policy) (refreshCall, error) {
	proof, err := p.verified(r, rules)
	if err != nil {
		return refreshCall{}, err
	}
	c := refreshCall{call{proof, proof.key, proof.jkt}, proof.key}
	if n := proof.named; n != nil {
		c.key, c.jkt = n.key, n.jkt
		switch {
		case n.jti == "":
			return c, badClaim("jti is missing")
		case n.jkt == proof.jkt:
			return c, refuse(keywright.CodeInvalidKey, "the key vouches for itself", nil)
		}
	}
	return c, nil
}

// refresh gives an agent another token.
func (p *Provider) refresh(ctx context.Context, _ keywright.Principal, c refreshCall) (refreshResponse, error) {
	var resp refreshResponse
	err := endpoint.Retry(func() error {
		records, err := p.host.Store.Get(ctx, agent.Key(c.jkt))
		if err != nil {
			return err
		}
		a, err := p.readAgent(records[0])
		switch {
		case err != nil:
			return err
		case !p.owns(a):
			return p.callers.refuse(ctx, denied(errors.New("agentauth: no agent with key "+c.jkt)))
		}
		return p.callers.admitKnown(ctx, c.jkt, func() error {
			resp, err = p.refreshed(ctx, c, a)
			return err
		})
	})
	return resp, err
}

// refreshed makes the token for the agent that has key, or gets it as its own.
func (p *Provider) refreshed(ctx context.Context, c refreshCall, key *agentRecord) (refreshResponse, error) {
	a, err := p.holder(ctx, key)
	switch {
	case err != nil:
		return refreshResponse{}, err
	case !a.stands():
		return refreshResponse{}, denied(errors.New("agentauth: disabled agent " + a.Name))
	}
	t, ops, err := p.tokenFor(ctx, a.agentRecord, c.token)
	if err != nil {
		return refreshResponse{}, err
	}
	ops = slices.Concat(ops, a.ops, c.markers())
	e := keywright.Event{Name: "agent.refreshed", Actor: c.jkt, Target: a.Name, Attrs: map[string]string{"jti": t.jti}}
	if err := p.host.Commit(ctx, a.event(e), ops...); err != nil {
		return refreshResponse{}, refreshError(replayedAt(p.policies.refresh, err))
	}
	return refreshResponse{AgentToken: t.text, ExpiresIn: int64(t.life / time.Second)}, nil
}

// markers are the ops after which neither the request nor its naming JWT is good
// again.
func (c refreshCall) markers() []store.Op {
	ops := []store.Op{store.Insert(c.proof.seen)}
	if n := c.proof.named; n != nil {
		ops = append(ops, store.Insert(n.marker()))
	}
	return ops
}

// marker is the record that a naming JWT was used.
func (n *naming) marker() store.Record {
	return store.Record{Kind: KindNaming, ID: store.ID(n.jkt, n.jti), Expires: n.expires.Add(2 * time.Minute), Data: []byte("{}")}
}

func refreshError(err error) error {
	if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Kind == KindNaming && errors.Is(err, store.ErrExists) {
		return badClaim("the naming JWT was used before")
	}
	return err
}
