package agentauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// KindApplication is the store kind of applications that a person decides. The ID
// is of the provider and the key, so that one key has one application.
const KindApplication = "agent.pending"

const (
	approvalWait = 24 * time.Hour // for which a person may decide
	approvalKept = 24 * time.Hour // after that, for who asks what has become of it
)

// The decisions.
const (
	decidedYes = "approved"
	decidedNo  = "denied"
)

// An application is a key that waits for a person, with what its admission has
// said of it.
type application struct {
	enrollment
	ID       string          `json:"id"` // the thumbprint and a part that nobody guesses
	JWK      json.RawMessage `json:"jwk"`
	AgentID  string          `json:"agent_id"`
	Scopes   []string        `json:"scopes,omitempty"`
	Asked    [2]string       `json:"asked"` // for which agent identifier and person server
	From     string          `json:"from,omitempty"`
	Created  time.Time       `json:"created"`
	Decision string          `json:"decision,omitempty"` // "": none
	Told     bool            `json:"told,omitempty"`     // the applicant knows how it ended

	jkt     string
	version int64
	expires time.Time
}

func (p *Provider) applicationKey(jkt string) store.Key {
	return store.Key{Kind: KindApplication, ID: store.ID(p.issuer, jkt)}
}

// readApplication returns nil where there is none.
func readApplication(r store.Record) (*application, error) {
	if !r.Exists() {
		return nil, nil
	}
	a := &application{version: r.Version, expires: r.Expires}
	if err := json.Unmarshal(r.Data, a); err != nil {
		return nil, keywright.Wrap(keywright.CodeInternal, fmt.Errorf("agentauth: application %s: %w", r.ID, err))
	}
	a.jkt, _, _ = strings.Cut(a.ID, ".")
	return a, nil
}

func (p *Provider) applicationRecord(a *application) (store.Record, error) {
	data, err := json.Marshal(a)
	k := p.applicationKey(a.jkt)
	return store.Record{Kind: k.Kind, ID: k.ID, Version: a.version, Expires: a.expires, Data: data}, err
}

// waits reports whether a person may still decide.
func (a *application) waits(now time.Time) bool {
	return a.Decision == "" && now.Before(a.Created.Add(approvalWait))
}

func (a *application) describe() Application {
	return Application{
		ID: a.ID, AgentID: a.AgentID, Thumbprint: a.jkt, PersonServer: a.PersonServer, Scopes: a.Scopes, By: a.AdmittedBy,
		From: a.From, Created: a.Created, Expires: a.Created.Add(approvalWait),
	}
}

// hold keeps an applicant for a person to decide. found is the record of its
// application, if it has one: asking for the same again is none of its own.
func (p *Provider) hold(ctx context.Context, c enrollCall, to Admitted, found store.Record) (enrollAnswer, error) {
	old, err := readApplication(found)
	if err != nil {
		return enrollAnswer{}, err
	}
	now := p.host.Hooks.Now().UTC()
	if old != nil && old.Asked == [2]string{c.AgentID, c.PersonServer} {
		switch {
		case old.waits(now):
			return p.wait(old), p.remember(ctx, c.proof, p.policies.enroll)
		case old.Decision == decidedNo:
			return enrollAnswer{}, denied(errors.New("agentauth: a person has denied key " + c.jkt))
		}
	}
	if old.takesRoom() && c.proof == nil { // it may be somebody else's
		return enrollAnswer{}, p.callers.refuse(ctx, p.policies.enroll.refuseUnsigned(c.Request))
	}
	a, err := p.apply(ctx, c, to, now)
	if err != nil {
		return enrollAnswer{}, err
	}
	put := store.Insert
	if old != nil {
		put, a.version = store.Replace, old.version
	}
	record, err := p.applicationRecord(a)
	if err != nil {
		return enrollAnswer{}, err
	}
	ops := slices.Concat(to.Ops, []store.Op{put(record)}, p.waitingRoom(old, a))
	if c.proof != nil {
		ops = append(ops, store.Insert(c.proof.seen))
	}
	err = p.host.Commit(ctx, keywright.Event{Name: "agent.applied", Actor: c.jkt, Target: a.AgentID, Attrs: map[string]string{"application": a.ID}}, ops...)
	if op, ok := errors.AsType[*store.OpError](err); ok && slices.Contains(p.counters(a), op.Op.Counter.Name) {
		return enrollAnswer{}, &keywright.Error{Code: keywright.CodeRateLimited, Err: err, Header: limit.RetryAfter(applicationsFull)}
	}
	return p.wait(a), p.commitError(err)
}

// apply makes the application of a key. Whether somebody else has the agent
// identifier is for the person to hear, not for the applicant.
func (p *Provider) apply(ctx context.Context, c enrollCall, to Admitted, now time.Time) (*application, error) {
	id, ps, err := p.settled(ctx, c.Applicant, to)
	if err != nil {
		return nil, err
	}
	if err := p.checkForeign(ctx, c.key); err != nil {
		return nil, err
	}
	jwk, err := jose.MarshalJWK(c.key.WithKeyID(""), algorithmOf(c.key))
	if err != nil {
		return nil, err
	}
	now = now.Truncate(time.Second)
	return &application{
		enrollment: enrollment{Provider: p.issuer, PersonServer: ps, TokenLife: to.TokenLife, Claims: to.Claims, AdmittedBy: to.By},
		ID:         c.jkt + "." + rand.Text(), JWK: jwk, AgentID: id, Scopes: to.Scopes, Asked: [2]string{c.AgentID, c.PersonServer},
		From: keywright.RemoteAddr(ctx), Created: now,
		jkt: c.jkt, expires: now.Add(approvalWait + approvalKept),
	}, nil
}

// remember marks a request as seen that changes nothing else.
func (p *Provider) remember(ctx context.Context, proof *proof, c policy) error {
	if proof == nil {
		return nil
	}
	if err := p.host.Store.Commit(ctx, store.Insert(proof.seen)); err != nil {
		return c.challenged(replayed(err))
	}
	return nil
}

// Pending describes the applications that wait for a decision, the oldest first.
// There are at most some thousands.
func (p *Provider) Pending(ctx context.Context) ([]Application, error) {
	var list []Application
	now := p.host.Hooks.Now()
	for r, err := range p.host.Store.List(ctx, store.Query{Kind: KindApplication, Prefix: store.ID(p.issuer) + "/"}) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		a, err := readApplication(r)
		if err != nil {
			return nil, err
		}
		if a.waits(now) {
			list = append(list, a.describe())
		}
	}
	slices.SortStableFunc(list, func(a, b Application) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// undecided finds an application by its ID, and tells why it cannot be decided.
func (p *Provider) undecided(ctx context.Context, id string) (*application, error) {
	jkt, _, _ := strings.Cut(id, ".")
	records, err := p.host.Store.Get(ctx, p.applicationKey(jkt), agent.Key(cmp.Or(jkt, "-")))
	if errors.Is(err, store.ErrInvalid) {
		return nil, applicationNotFound()
	}
	if err != nil {
		return nil, err
	}
	a, err := readApplication(records[0])
	switch {
	case err != nil:
		return nil, err
	case a == nil || a.ID != id:
		return nil, applicationNotFound()
	case a.Decision != "":
		return nil, keywright.Errorf(keywright.CodeConflict, "the application is %s already", a.Decision)
	case !a.waits(p.host.Hooks.Now()):
		return nil, keywright.Errorf(keywright.CodeConflict, "nobody decided in time: the agent has to apply again")
	case records[1].Exists():
		return nil, keywright.Errorf(keywright.CodeConflict, "the key is enrolled already")
	}
	return a, nil
}

func applicationNotFound() error {
	return keywright.Errorf(keywright.CodeNotFound, "no application has this id")
}

// Approve makes an agent of who waits, on behalf of actor, and returns it. If
// another key has the agent identifier it is CodeAgentIDInUse, and the application
// waits on.
func (p *Provider) Approve(ctx context.Context, actor keywright.Principal, id string) (Agent, error) {
	var made *agentRecord
	err := p.decide(ctx, actor, id, decidedYes, func(a *application) (ops []store.Op, err error) {
		key, err := jose.ParseJWK(a.JWK)
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeInternal, err)
		}
		made, ops, err = p.newAgent(ctx, Applicant{AgentID: a.AgentID, Thumbprint: a.jkt, PersonServer: a.PersonServer}, key, Admitted{
			Scopes: a.Scopes, TokenLife: a.TokenLife, Claims: a.Claims, By: cmp.Or(actor.Credential, actor.Subject, a.AdmittedBy),
		})
		return ops, err
	})
	if err != nil {
		return Agent{}, err
	}
	return made.describe(), nil
}

// Deny refuses who waits, on behalf of actor. For a day the key cannot apply for
// the same again.
func (p *Provider) Deny(ctx context.Context, actor keywright.Principal, id string) error {
	return p.decide(ctx, actor, id, decidedNo, func(*application) ([]store.Op, error) { return nil, nil })
}

// decide writes a decision and what follows from it.
func (p *Provider) decide(ctx context.Context, actor keywright.Principal, id, decision string, follow func(*application) ([]store.Op, error)) error {
	return endpoint.Retry(func() error {
		a, err := p.undecided(ctx, id)
		if err != nil {
			return err
		}
		ops, err := follow(a)
		if err != nil {
			return err
		}
		leave := p.waitingRoom(a, nil)
		a.Decision, a.expires = decision, p.host.Hooks.Now().Add(approvalKept)
		record, err := p.applicationRecord(a)
		if err != nil {
			return err
		}
		e := keywright.Event{Name: "agent." + decision, Actor: actor.Credential, Target: a.AgentID, Attrs: map[string]string{"by": actor.Subject, "application": a.ID}}
		return p.host.Commit(ctx, e, slices.Concat(ops, []store.Op{store.Replace(record)}, leave)...)
	})
}
