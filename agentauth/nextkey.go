package agentauth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// A rotation is what the record of a key says of the other keys of its agent. The
// agent's own record is that of its durable key. NextOf and Successor make the
// record of another key that is refused as any disabled agent's is, and that keeps
// the key from being enrolled.
type rotation struct {
	Next      *nextKey  `json:"next,omitempty"`      // that is to take this one's place; nil: none
	Since     time.Time `json:"since,omitzero"`      // when this one took the place of another; zero: never
	NextOf    string    `json:"next_of,omitempty"`   // the durable key whose place this one is to take
	Successor string    `json:"successor,omitempty"` // the key that took this one's place
}

// A nextKey is published beside the durable one, and takes its place once it is used.
type nextKey struct {
	Thumbprint string          `json:"jkt"`
	JWK        json.RawMessage `json:"jwk"`
	Added      time.Time       `json:"added"`
}

func (n *nextKey) is(jkt string) bool { return n != nil && n.Thumbprint == jkt }

// isAgent reports whether the record is that of an agent, and not of a further key.
func (a *agentRecord) isAgent() bool { return a.Keys.NextOf == "" && a.Keys.Successor == "" }

// otherKey is the record of a key of the agent that is not its durable one.
func (a *agentRecord) otherKey(jkt string, jwk json.RawMessage, version int64, as rotation) (store.Record, error) {
	other := agentRecord{jkt: jkt, version: version}
	other.Record = agent.Record{Name: a.Name, JWK: jwk, Created: a.Created, Disabled: true}
	other.enrollment = enrollment{Provider: a.Provider, Keys: as}
	return other.record()
}

// keys are those that the agent may be known by: the durable one and the next.
func (a *agentRecord) keys() ([]signer, error) {
	list := []signer{{key: a.key, jkt: a.jkt}}
	if next := a.Keys.Next; next != nil {
		key, err := jose.ParseJWK(next.JWK)
		if err != nil {
			return nil, fmt.Errorf("agentauth: next key of agent %s: %w", a.jkt, err)
		}
		list = append(list, signer{key: key, jkt: next.Thumbprint})
	}
	return list, nil
}

func (a *agentRecord) publishedSet() (json.RawMessage, error) {
	keys, err := a.keys()
	if err != nil {
		return nil, err
	}
	set := jwkSet{make([]json.RawMessage, len(keys))}
	for i, k := range keys {
		if set.Keys[i], err = publishedJWK(k.key, k.jkt); err != nil {
			return nil, err
		}
	}
	return json.Marshal(set)
}

// A holder is the agent of a key that has called.
type holder struct {
	*agentRecord
	ops     []store.Op // that are written with what the agent gets
	retired string     // the key whose place this one takes with that; "": none
}

// event tells of the switch where there is one, in the place of what else has
// happened.
func (a holder) event(e keywright.Event) keywright.Event {
	if a.retired != "" {
		e.Name = "agent.key_switched"
		e.Attrs["retired"] = a.retired
	}
	return e
}

// holder returns the agent of a key. If that is an agent's next key, it is the
// durable one with the ops, and the one before it is retired.
func (p *Provider) holder(ctx context.Context, key *agentRecord) (holder, error) {
	if key.Keys.NextOf == "" {
		return holder{agentRecord: key, ops: []store.Op{key.unchanged()}}, nil
	}
	records, err := p.host.Store.Get(ctx, agent.Key(key.Keys.NextOf), ownerKey(key.Name))
	if err != nil {
		return holder{}, err
	}
	before, err := p.readAgent(records[0])
	if err != nil {
		return holder{}, err
	}
	o, err := readOwner(records[1])
	switch {
	case err != nil:
		return holder{}, err
	case !p.owns(before) || o == nil || o.Thumbprint != before.jkt: // since key was read
		return holder{}, store.ErrConflict
	}
	return p.switched(before, key, *o, records[1])
}

// switched makes key the durable one of the agent before, which owned is about.
func (p *Provider) switched(before, key *agentRecord, o owner, owned store.Record) (holder, error) {
	after := *before
	after.jkt, after.key, after.JWK, after.version = key.jkt, key.key, key.JWK, key.version
	after.Keys = rotation{Since: p.host.Hooks.Now().UTC().Truncate(time.Second)}
	record, err := after.record()
	if err != nil {
		return holder{}, err
	}
	retired, err := before.otherKey(before.jkt, before.JWK, before.version, rotation{Successor: key.jkt})
	if err != nil {
		return holder{}, err
	}
	o.Thumbprint = key.jkt
	owns, err := o.record(before.Name)
	owns.Version = owned.Version
	ops := []store.Op{store.Replace(record), store.Replace(retired), store.Replace(owns)}
	return holder{agentRecord: &after, ops: ops, retired: before.jkt}, err
}

// rotated finds the agent of a caller whose own record is refused, if that is only
// because the key is the next one of the agent, or because the agent has left it
// since a token was issued.
func (v *Verifier) rotated(ctx context.Context, proof *proof) (agent.Record, error) {
	keys, err := readRotation(proof.agent)
	switch {
	case err != nil:
		return agent.Record{}, err
	case keys.NextOf != "":
		return v.agentOfNext(ctx, keys.NextOf, proof.agent.Key())
	case keys.Successor == "" || proof.token == nil:
		return agent.Record{}, agent.ErrRefused
	}
	a, _, err := v.local(proof.token.issuer).agentByID(ctx, proof.token.agentID())
	switch {
	case err != nil:
		return agent.Record{}, err
	case a == nil || !a.stands():
		return agent.Record{}, agent.ErrRefused
	}
	return a.Record, nil
}

// agentOfNext finds the agent with a durable key, whose next key has called. That
// may be the durable one by now.
func (v *Verifier) agentOfNext(ctx context.Context, durable string, next store.Key) (agent.Record, error) {
	records, err := v.host.Store.Get(ctx, agent.Key(durable), next)
	if err != nil {
		return agent.Record{}, err
	}
	keys, err := readRotation(records[0])
	switch {
	case err != nil:
		return agent.Record{}, err
	case keys.Next.is(next.ID):
		return agent.Standing(ctx, v.host.Store, records[0])
	}
	return agent.Standing(ctx, v.host.Store, records[1])
}

// readRotation reads that of a record, which need not exist or be of a provider.
func readRotation(r store.Record) (rotation, error) {
	if !r.Exists() {
		return rotation{}, nil
	}
	a, err := agent.Read(r)
	if err != nil || len(a.Own) == 0 {
		return rotation{}, err
	}
	var e enrollment
	if err := json.Unmarshal(a.Own, &e); err != nil {
		return rotation{}, fmt.Errorf("agentauth: agent %s: %w", r.ID, err)
	}
	return e.Keys, nil
}
