package agentauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// newAgent makes the records of an agent that is admitted. Ops of the admission are
// the caller's to add.
func (p *Provider) newAgent(ctx context.Context, c Applicant, key jose.Key, to Admitted) (*agentRecord, []store.Op, error) {
	id, ps, err := p.settled(ctx, c, to)
	if err != nil {
		return nil, nil, err
	}
	jwk, err := jose.MarshalJWK(key.WithKeyID(""), algorithmOf(key))
	if err != nil {
		return nil, nil, err
	}
	now := p.host.Hooks.Now().UTC().Truncate(time.Second)
	a := &agentRecord{jkt: c.Thumbprint, key: key}
	a.Record = agent.Record{Name: id, JWK: jwk, Scopes: to.Scopes, Created: now}
	a.enrollment = enrollment{Provider: p.issuer, PersonServer: ps, TokenLife: to.TokenLife, Claims: to.Claims, AdmittedBy: to.By}
	ownership, err := p.own(ctx, id, c.Thumbprint, now)
	if err != nil {
		return nil, nil, err
	}
	record, err := a.record()
	return a, []store.Op{store.Insert(record), ownership}, err
}

// settled is who an applicant becomes, by what it has asked for and what its
// admission says.
func (p *Provider) settled(ctx context.Context, c Applicant, to Admitted) (id, ps string, err error) {
	id = cmp.Or(to.AgentID, c.AgentID, AgentID{c.Thumbprint, p.domain}.String())
	ps = cmp.Or(to.PersonServer, c.PersonServer)
	if err := p.checkApplicant(id, ps); err != nil {
		return "", "", err
	}
	if err := p.checkThumbprint(ctx, id, c.Thumbprint); err != nil {
		return "", "", err
	}
	if err := p.checkAdmitted(to); err != nil {
		return "", "", keywright.Wrap(keywright.CodeInternal, err)
	}
	return id, ps, nil
}

// checkThumbprint leaves names that look like a thumbprint to who has the key: it
// is the name of a key that asks for none. An agent that has another key now may
// still come back to its own.
func (p *Provider) checkThumbprint(ctx context.Context, agentID, jkt string) error {
	local, _, _ := strings.Cut(strings.TrimPrefix(agentID, "aauth:"), "@")
	sum, err := base64.RawURLEncoding.Strict().DecodeString(local)
	if err != nil || len(sum) != sha256.Size || local == jkt {
		return nil
	}
	records, err := p.host.Store.Get(ctx, ownerKey(agentID))
	if err != nil {
		return err
	}
	o, err := readOwner(records[0])
	if err == nil && (o == nil || o.Thumbprint != jkt) {
		err = keywright.Errorf(keywright.CodeInvalidRequest, "agent_id: the name looks like the thumbprint of another key")
	}
	return err
}

func (p *Provider) checkAdmitted(to Admitted) error {
	for name := range to.Claims {
		if registered[name] {
			return errors.New("agentauth: Admitted.Claims: " + name + " is not for an admission to say")
		}
	}
	if to.TokenLife == 0 {
		return nil
	}
	if err := checkTokenLife(to.TokenLife); err != nil {
		return fmt.Errorf("agentauth: Admitted.TokenLife: %w", err)
	}
	return nil
}

// withCaller adds to the ops of an admission that the key which it goes by stands.
func (p *Provider) withCaller(ctx context.Context, to Admitted) ([]store.Op, error) {
	if to.CallerKey == "" {
		return to.Ops, nil
	}
	standing, err := p.host.Keys.Standing(ctx, to.CallerKey)
	if err != nil {
		return nil, callerError(err)
	}
	ops := slices.Clone(to.Ops)
	for _, op := range standing {
		known := func(other store.Op) bool {
			return other.Action != store.ActionTake && other.Record.Key() == op.Record.Key()
		}
		if !slices.ContainsFunc(to.Ops, known) {
			ops = append(ops, op)
		}
	}
	return ops, nil
}

// own makes the key the owner of an identifier that nobody else ever had.
func (p *Provider) own(ctx context.Context, id, jkt string, now time.Time) (store.Op, error) {
	records, err := p.host.Store.Get(ctx, ownerKey(id))
	if err != nil {
		return store.Op{}, err
	}
	o, err := readOwner(records[0])
	switch {
	case err != nil:
		return store.Op{}, err
	case o != nil && o.Thumbprint != jkt:
		return store.Op{}, keywright.Wrap(keywright.CodeAgentIDInUse, nil)
	case o != nil:
		return store.Check(records[0]), nil // it was deleted, and is welcome again
	}
	record, err := owner{Thumbprint: jkt, Since: now}.record(id)
	return store.Insert(record), err
}
