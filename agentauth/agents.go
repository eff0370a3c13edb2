package agentauth

import (
	"context"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// agentBatch is how many agents one Get reads.
const agentBatch = 100

func agentNotFound() error {
	return keywright.Errorf(keywright.CodeNotFound, "no agent has this identifier")
}

func (a *agentRecord) describe() Agent {
	d := Agent{
		ID: a.Name, Thumbprint: a.jkt, KeyID: a.jkt, PersonServer: a.PersonServer, Scopes: a.Scopes, Created: a.Created,
		AdmittedBy: a.AdmittedBy, Disabled: !a.stands(), Banned: a.Banned, KeySince: a.Keys.Since,
	}
	if next := a.Keys.Next; next != nil {
		d.NextKey, d.NextKeyAdded = next.Thumbprint, next.Added
	}
	return d
}

// Agents describes up to limit agents (0: all) behind the one with the identifier
// after, which need not exist. "" begins with the first.
func (p *Provider) Agents(ctx context.Context, after string, limit int) ([]Agent, error) {
	q := store.Query{Kind: KindAgentID}
	if after != "" {
		q.After = store.ID(after)
	}
	var agents []Agent
	var ids []store.Record // owners whose agents were not read yet
	for r, err := range p.host.Store.List(ctx, q) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		if ids = append(ids, r); len(ids) < agentBatch {
			continue
		}
		if agents, err = p.appendAgents(ctx, agents, ids); err != nil {
			return nil, err
		}
		if ids = ids[:0]; limit > 0 && len(agents) >= limit {
			break
		}
	}
	agents, err := p.appendAgents(ctx, agents, ids)
	if limit > 0 && len(agents) > limit {
		agents = agents[:limit]
	}
	return agents, err
}

// appendAgents adds the agents that own identifiers, and not those that have gone.
func (p *Provider) appendAgents(ctx context.Context, agents []Agent, ids []store.Record) ([]Agent, error) {
	keys := make([]store.Key, len(ids))
	for i, r := range ids {
		o, err := readOwner(r)
		if err != nil {
			return nil, err
		}
		keys[i] = agent.Key(o.Thumbprint)
	}
	records, err := p.host.Store.Get(ctx, keys...)
	if err != nil {
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	for i, r := range records {
		a, err := p.readAgent(r)
		if err != nil {
			return nil, err
		}
		if a != nil && !a.isAgent() { // any more
			if a, _, err = p.agentByID(ctx, a.Name); err != nil {
				return nil, err
			}
		}
		// A key may have had another identifier before.
		if p.owns(a) && ownerKey(a.Name).ID == ids[i].ID {
			agents = append(agents, a.describe())
		}
	}
	return agents, nil
}

// Agent describes the agent with an identifier. Without one it is CodeNotFound.
func (p *Provider) Agent(ctx context.Context, id string) (Agent, error) {
	a, _, err := p.agentByID(ctx, id)
	switch {
	case err != nil:
		return Agent{}, err
	case a == nil:
		return Agent{}, agentNotFound()
	}
	return a.describe(), nil
}

// DisableAgent ends an agent for now, on behalf of actor: it gets no more tokens,
// and this server's Verifiers refuse those that it has, from the next request on.
// Others accept them until they expire.
func (p *Provider) DisableAgent(ctx context.Context, actor keywright.Principal, id string) error {
	return p.changeAgent(ctx, "agent.disabled", actor, id, func(a *agentRecord) (bool, error) {
		changed := !a.Disabled
		a.Disabled = true
		return changed, nil
	})
}

// EnableAgent undoes DisableAgent. An agent that was banned is CodeConflict.
func (p *Provider) EnableAgent(ctx context.Context, actor keywright.Principal, id string) error {
	return p.changeAgent(ctx, "agent.enabled", actor, id, func(a *agentRecord) (bool, error) {
		if a.Banned {
			return false, keywright.Errorf(keywright.CodeConflict, "the agent is banned")
		}
		changed := a.Disabled
		a.Disabled = false
		return changed, nil
	})
}

// BanAgent disables an agent for good: its key never becomes an agent again while
// the record stands, so do not delete it.
func (p *Provider) BanAgent(ctx context.Context, actor keywright.Principal, id string) error {
	return p.changeAgent(ctx, "agent.banned", actor, id, func(a *agentRecord) (bool, error) {
		changed := !a.Banned
		a.Banned, a.Disabled = true, true
		return changed, nil
	})
}

// changeAgent writes what change has made of an agent, if that is anything new.
func (p *Provider) changeAgent(ctx context.Context, event string, actor keywright.Principal, id string, change func(*agentRecord) (bool, error)) error {
	return endpoint.Retry(func() error {
		a, _, err := p.agentByID(ctx, id)
		switch {
		case err != nil:
			return err
		case a == nil:
			return agentNotFound()
		}
		changed, err := change(a)
		if err != nil || !changed {
			return err
		}
		record, err := a.record()
		if err != nil {
			return err
		}
		return p.host.Commit(ctx, agentEvent(event, actor, a), store.Replace(record))
	})
}

// DeleteAgent ends an agent and forgets it, on behalf of actor. Its identifier is
// never given to another key. The same key may enrol again, if it is admitted
// again, and even if it was banned.
func (p *Provider) DeleteAgent(ctx context.Context, actor keywright.Principal, id string) error {
	return endpoint.Retry(func() error {
		a, _, err := p.agentByID(ctx, id)
		switch {
		case err != nil:
			return err
		case a == nil:
			return agentNotFound()
		}
		ops, err := p.withoutNext(ctx, a)
		if err != nil {
			return err
		}
		gone := store.Delete(store.Record{Kind: agent.Kind, ID: a.jkt, Version: a.version})
		return p.host.Commit(ctx, agentEvent("agent.deleted", actor, a), append(ops, gone)...)
	})
}

func agentEvent(name string, actor keywright.Principal, a *agentRecord) keywright.Event {
	return keywright.Event{Name: name, Actor: actor.Credential, Target: a.Name, Attrs: map[string]string{"by": actor.Subject, "jkt": a.jkt}}
}
