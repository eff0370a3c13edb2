package agentauth

import (
	"context"
	"errors"
	"net/http"
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
	proof, err := p.verified(r, p.policies.refresh)
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
			resp, err = p.refreshed(ctx, c, a, records[0])
			return err
		})
	})
	return resp, err
}

// refreshed makes the token for an agent that was found in r.
func (p *Provider) refreshed(ctx context.Context, c refreshCall, a *agentRecord, r store.Record) (refreshResponse, error) {
	if !a.stands() {
		return refreshResponse{}, denied(errors.New("agentauth: disabled agent " + a.Name))
	}
	t, ops, err := p.tokenFor(ctx, a, c.token)
	if err != nil {
		return refreshResponse{}, err
	}
	ops = append(ops, store.Check(r), store.Insert(c.proof.seen))
	if n := c.proof.named; n != nil {
		ops = append(ops, store.Insert(n.marker()))
	}
	e := keywright.Event{Name: "agent.refreshed", Actor: c.jkt, Target: a.Name, Attrs: map[string]string{"jti": t.jti}}
	if err := p.host.Commit(ctx, e, ops...); err != nil {
		return refreshResponse{}, refreshError(replayedAt(p.policies.refresh, err))
	}
	return refreshResponse{AgentToken: t.text, ExpiresIn: int64(t.life / time.Second)}, nil
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
