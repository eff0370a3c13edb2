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
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// Each key that an agent leaves behind is a record for good, so an agent cannot
// have any number of them.
const (
	maxRekeys   = 20 // of one agent, in rekeyWindow
	rekeyWindow = 24 * time.Hour
)

// readRekey reads an agent's request to have another key. The new key signs it, and
// the durable one vouches for it in a naming JWT that is made for this: those of a
// refresh lend a key for minutes.
func (p *Provider) readRekey(r *http.Request) (refreshCall, error) {
	c, err := p.readKeys(r, p.policies.rekey)
	if err == nil && !c.proof.named.rekey {
		return c, badClaim("rekey: want true")
	}
	return c, err
}

// rekey notes the agent's next key.
func (p *Provider) rekey(ctx context.Context, _ keywright.Principal, c refreshCall) (enrollResponse, error) {
	var resp enrollResponse
	err := endpoint.Retry(func() error {
		records, err := p.host.Store.Get(ctx, agent.Key(c.jkt), agent.Key(c.proof.jkt), p.applicationKey(c.proof.jkt))
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
			resp, err = p.rekeyed(ctx, c, a, records[1], records[2])
			return err
		})
	})
	return resp, err
}

// rekeyed answers the agent that has the durable key. found is the record of the new
// key and applied its application, which may not exist.
func (p *Provider) rekeyed(ctx context.Context, c refreshCall, a *agentRecord, found, applied store.Record) (enrollResponse, error) {
	e := keywright.Event{Name: "agent.rekeyed_again", Actor: c.jkt, Target: a.Name, Attrs: map[string]string{"next": c.proof.jkt}}
	next, err := p.readAgent(found)
	if err != nil {
		return enrollResponse{}, err
	}
	var ops []store.Op
	switch {
	case a.Keys.Successor == c.proof.jkt && p.owns(next) && next.Name == a.Name && next.stands():
		a, ops = next, []store.Op{next.unchanged()} // it has switched already, and has lost the answer to this
	case !a.stands():
		return enrollResponse{}, denied(errors.New("agentauth: disabled agent, or a key that it has left: " + a.Name))
	case a.Keys.Next.is(c.proof.jkt):
		ops = []store.Op{a.unchanged()}
	case found.Exists() || applied.Exists():
		return enrollResponse{}, keywright.Errorf(keywright.CodeConflict, "the key is in use")
	default:
		e.Name = "agent.rekeyed"
		if ops, err = p.putNext(ctx, a, c); err != nil {
			return enrollResponse{}, err
		}
	}
	t, more, err := p.tokenFor(ctx, a, c.token)
	if err != nil {
		return enrollResponse{}, err
	}
	e.Attrs["jti"] = t.jti
	if err := p.host.Commit(ctx, e, slices.Concat(ops, more, c.markers())...); err != nil {
		if errors.Is(err, store.ErrLimit) {
			return enrollResponse{}, &keywright.Error{Code: keywright.CodeRateLimited, Err: err, Header: limit.RetryAfter(time.Hour)}
		}
		return enrollResponse{}, refreshError(replayedAt(p.policies.rekey, err))
	}
	resp := p.enrollmentOf(a, t)
	resp.KeyID = c.proof.jkt
	return resp, nil
}

// putNext makes the key that has signed the next one of a, in the place of any other.
func (p *Provider) putNext(ctx context.Context, a *agentRecord, c refreshCall) ([]store.Op, error) {
	ops, err := p.withoutNext(ctx, a)
	if err != nil {
		return nil, err
	}
	jwk, err := jose.MarshalJWK(c.token.WithKeyID(""), algorithmOf(c.token))
	if err != nil {
		return nil, err
	}
	now := p.host.Hooks.Now().UTC().Truncate(time.Second)
	a.Keys.Next = &nextKey{Thumbprint: c.proof.jkt, JWK: jwk, Added: now}
	record, err := a.record()
	if err != nil {
		return nil, err
	}
	other, err := a.otherKey(c.proof.jkt, jwk, 0, rotation{NextOf: a.jkt})
	if err != nil {
		return nil, err
	}
	counter := store.ID("agent.rekey", p.issuer, a.Name)
	return append(ops, store.Replace(record), store.Insert(other), store.Take(counter, 1, maxRekeys, now.Add(rekeyWindow))), nil
}

// withoutNext are the ops that make a's next key, if it has one, that of nobody.
func (p *Provider) withoutNext(ctx context.Context, a *agentRecord) ([]store.Op, error) {
	if a.Keys.Next == nil {
		return nil, nil
	}
	records, err := p.host.Store.Get(ctx, agent.Key(a.Keys.Next.Thumbprint))
	switch {
	case err != nil:
		return nil, err
	case !records[0].Exists(): // since a was read
		return nil, store.ErrConflict
	}
	return []store.Op{store.Delete(records[0])}, nil
}
