package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// KindAgentID is the store kind of owners of agent identifiers. The ID is the
// identifier. A record stays when its agent is deleted, so that no identifier
// ever has another owner.
const KindAgentID = "agent.id"

// An owner is the record of an agent identifier.
type owner struct {
	Thumbprint string    `json:"jkt"`
	Since      time.Time `json:"since"`
}

func ownerKey(agentID string) store.Key { return store.Key{Kind: KindAgentID, ID: store.ID(agentID)} }

func readOwner(r store.Record) (*owner, error) {
	if !r.Exists() {
		return nil, nil
	}
	o := new(owner)
	if err := json.Unmarshal(r.Data, o); err != nil {
		return nil, fmt.Errorf("agentauth: owner of an agent identifier: %w", err)
	}
	return o, nil
}

func (o owner) record(agentID string) (store.Record, error) {
	data, err := json.Marshal(o)
	k := ownerKey(agentID)
	return store.Record{Kind: k.Kind, ID: k.ID, Data: data}, err
}

// An enrollment is what a provider keeps of an agent beside [agent.Record].
type enrollment struct {
	Provider     string                     `json:"provider"` // its issuer
	PersonServer string                     `json:"ps,omitempty"`
	TokenLife    time.Duration              `json:"life,omitempty"` // 0: the provider's
	Claims       map[string]json.RawMessage `json:"claims,omitempty"`
	AdmittedBy   string                     `json:"admitted_by,omitempty"`
	Banned       bool                       `json:"banned,omitempty"`
	Keys         rotation                   `json:"keys,omitzero"`
}

// An agentRecord is an agent of a provider.
type agentRecord struct {
	agent.Record
	enrollment
	jkt     string
	key     jose.Key
	version int64
}

// readAgent reads the record of an agent, which may be a runner's or of another
// provider; nil: there is none.
func (p *Provider) readAgent(r store.Record) (*agentRecord, error) {
	if !r.Exists() {
		return nil, nil
	}
	a := &agentRecord{jkt: r.ID, version: r.Version}
	var err error
	if a.Record, err = agent.Read(r); err != nil {
		return nil, err
	}
	if len(a.Own) == 0 {
		return a, nil // a runner's key
	}
	if err := json.Unmarshal(a.Own, &a.enrollment); err != nil {
		return nil, fmt.Errorf("agentauth: agent %s: %w", r.ID, err)
	}
	if a.key, err = jose.ParseJWK(a.JWK); err != nil {
		return nil, fmt.Errorf("agentauth: agent %s: %w", r.ID, err)
	}
	return a, nil
}

func (p *Provider) owns(a *agentRecord) bool { return a != nil && a.Provider == p.issuer }

func (a *agentRecord) record() (store.Record, error) {
	own, err := json.Marshal(a.enrollment)
	if err != nil {
		return store.Record{}, err
	}
	a.Own = own
	return a.Record.Store(a.jkt, a.version)
}

// stands reports whether the agent may have tokens.
func (a *agentRecord) stands() bool { return !a.Disabled && !a.Banned }

// unchanged keeps a Commit from taking effect if the agent is another by then.
func (a *agentRecord) unchanged() store.Op {
	return store.Check(store.Record{Kind: agent.Kind, ID: a.jkt, Version: a.version})
}

// agentByID finds the agent that has an identifier, and its owner record. Both are
// nil where nobody has ever had it, the agent where it was deleted.
func (p *Provider) agentByID(ctx context.Context, id string) (*agentRecord, *owner, error) {
	for range 3 {
		a, o, err := p.findAgent(ctx, id)
		if err != nil || a == nil || a.isAgent() {
			return a, o, err
		}
		// Its key was switched between the two looks.
	}
	return nil, nil, keywright.Wrap(keywright.CodeUnavailable, errors.New("agentauth: the key of "+id+" changes all the time"))
}

func (p *Provider) findAgent(ctx context.Context, id string) (*agentRecord, *owner, error) {
	records, err := p.host.Store.Get(ctx, ownerKey(id))
	if err != nil {
		return nil, nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	o, err := readOwner(records[0])
	if o == nil || err != nil {
		return nil, nil, err
	}
	records, err = p.host.Store.Get(ctx, agent.Key(o.Thumbprint))
	if err != nil {
		return nil, nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	a, err := p.readAgent(records[0])
	if !p.owns(a) || a.Name != id {
		a = nil
	}
	return a, o, err
}
