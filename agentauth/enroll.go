package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

const maxEndpointBody = endpoint.MaxBody

// A call is a signed request to an endpoint of the provider.
type call struct {
	proof *proof
	key   jose.Key // that is enrolled or to be enrolled
	jkt   string
}

// verified checks the signature of a request to an endpoint.
func (p *Provider) verified(r *http.Request, c policy) (*proof, error) {
	if !httpsig.Signed(r.Header) {
		return nil, c.refuseUnsigned(r)
	}
	proof, err := p.verifier.verify(r, c)
	if err != nil {
		return nil, c.challenged(err)
	}
	return proof, nil
}

// An enrollCall is a request to enrol.
type enrollCall struct {
	Applicant
	call
}

// readEnroll reads a request to enrol (AAuth Bootstrap).
func (p *Provider) readEnroll(r *http.Request) (enrollCall, error) {
	var c enrollCall
	var err error
	unsigned := p.verifier.profile.Compat.AllowUnsignedEnrol && !httpsig.Signed(r.Header)
	if !unsigned {
		if c.proof, err = p.verified(r, p.policies.enroll); err != nil {
			return c, err
		}
		c.key, c.jkt, c.covered = c.proof.key, c.proof.jkt, c.proof.components
	}
	if c.Body, err = endpoint.ReadBody(r); err != nil {
		return c, err
	}
	req, err := endpoint.ParseLoose[enrollRequest](c.Body)
	if err != nil {
		return c, err
	}
	if err := p.checkEnrollKey(&c, req, unsigned); err != nil {
		return c, err
	}
	c.AgentID, c.PersonServer, c.Attestation = req.AgentID, req.PersonServer, req.Attestation
	c.Thumbprint, c.Key, c.Request = c.jkt, c.key.Public(), r
	if scheme, credential, err := authorization.Parse(r.Header); err == nil && authorization.Is(scheme, "Bearer") {
		c.Secret = credential
	}
	return c, p.checkApplicant(c.AgentID, c.PersonServer)
}

// checkEnrollKey wants the key of the body, where there is one, to be the one that
// has signed.
func (p *Provider) checkEnrollKey(c *enrollCall, req enrollRequest, unsigned bool) error {
	if len(req.JWK) == 0 {
		if unsigned {
			return keywright.Errorf(keywright.CodeInvalidRequest, "jwk is missing")
		}
		return nil
	}
	key, err := p.readJWK(req.JWK)
	if err != nil {
		return err
	}
	s, err := signedBy(key)
	switch {
	case err != nil:
		return err
	case unsigned:
		c.key, c.jkt = s.key, s.jkt
	case s.jkt != c.jkt:
		return keywright.Errorf(keywright.CodeInvalidRequest, "jwk is not the key that has signed")
	}
	return nil
}

// readJWK reads the member jwk of a request.
func (p *Provider) readJWK(jwk json.RawMessage) (jose.Key, error) {
	key, err := jose.ParseJWK(jwk)
	if err != nil {
		return jose.Key{}, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "jwk: want the public key of Ed25519 or P-256", Err: err}
	}
	if err := checkAlgorithm(key, p.verifier.profile.Compat.CnfWithoutAlg, p.verifier.profile.Compat.AcceptEdDSA); err != nil {
		return jose.Key{}, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "jwk: alg: want Ed25519 or ES256", Err: err}
	}
	return key, nil
}

// checkApplicant checks what an applicant may choose, or its admission for it.
func (p *Provider) checkApplicant(agentID, ps string) error {
	if agentID != "" {
		id, err := parseAgentID(agentID, p.verifier.profile.Network.Development)
		switch {
		case err != nil:
			return &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "agent_id: want aauth:name@" + p.domain, Err: err}
		case id.Domain != p.domain:
			return keywright.Errorf(keywright.CodeInvalidRequest, "agent_id: its domain is not %s", p.domain)
		case strings.Contains(id.Local, "+"):
			return keywright.Errorf(keywright.CodeInvalidRequest, `agent_id: a "+" is for sub-agents`)
		}
	}
	if ps != "" {
		if err := checkServerID(ps, p.verifier.profile.Network.Development); err != nil {
			return &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "ps: want the identifier of a server, https://host", Err: err}
		}
	}
	return nil
}

// enroll makes an agent of who asks, or gives one that is enrolled another token.
func (p *Provider) enroll(ctx context.Context, _ keywright.Principal, c enrollCall) (enrollAnswer, error) {
	var resp enrollAnswer
	count := sync.OnceValue(func() error { return p.callers.admitNew(ctx) })
	err := endpoint.Retry(func() error {
		records, err := p.host.Store.Get(ctx, agent.Key(c.jkt), p.applicationKey(c.jkt))
		if err != nil {
			return err
		}
		a, err := p.readAgent(records[0])
		switch {
		case err != nil:
			return err
		case a != nil && c.proof == nil:
			return p.callers.refuse(ctx, p.policies.enroll.refuseUnsigned(c.Request))
		case a != nil:
			return p.callers.admitKnown(ctx, c.jkt, func() error {
				resp.enrollResponse, err = p.enrollAgain(ctx, c, a)
				return err
			})
		}
		if err := count(); err != nil {
			return err
		}
		resp, err = p.admit(ctx, c, records[1])
		return p.unlessFirst(ctx, c.jkt, err)
	})
	return resp, err
}

// enrollAgain answers the agent that has key, or gets it as its own.
func (p *Provider) enrollAgain(ctx context.Context, c enrollCall, key *agentRecord) (enrollResponse, error) {
	if !p.owns(key) {
		return enrollResponse{}, keywright.Errorf(keywright.CodeConflict, "the key is in use")
	}
	a, err := p.holder(ctx, key)
	switch {
	case err != nil:
		return enrollResponse{}, err
	case !a.stands():
		return enrollResponse{}, denied(errors.New("agentauth: disabled agent " + a.Name))
	case c.AgentID != "" && c.AgentID != a.Name:
		return enrollResponse{}, keywright.Errorf(keywright.CodeConflict, "the key is enrolled under another agent identifier")
	case c.PersonServer != "" && c.PersonServer != a.PersonServer:
		return enrollResponse{}, keywright.Errorf(keywright.CodeConflict, "the agent is enrolled with another person server")
	}
	t, ops, err := p.tokenFor(ctx, a.agentRecord, a.key)
	if err != nil {
		return enrollResponse{}, err
	}
	return p.enrolled(ctx, "agent.enrolled_again", c, a, t, slices.Concat(ops, a.ops))
}

// admit asks whether the applicant may be an agent, and makes it one. waits is the
// record of its application, if it has one.
func (p *Provider) admit(ctx context.Context, c enrollCall, waits store.Record) (enrollAnswer, error) {
	to, err := p.admission(ctx, c.Applicant)
	if err != nil {
		return enrollAnswer{}, admissionError(err)
	}
	if to.Ops, err = p.withCaller(ctx, to); err != nil {
		return enrollAnswer{}, err
	}
	if err := c.proof.inTime(p.host.Hooks.Now()); err != nil {
		return enrollAnswer{}, err
	}
	if to.Pending {
		return p.hold(ctx, c, to, waits)
	}
	a, ops, err := p.newAgent(ctx, c.Applicant, c.key, to)
	if err != nil {
		return enrollAnswer{}, err
	}
	t, more, err := p.tokenFor(ctx, a, a.key)
	if err != nil {
		return enrollAnswer{}, err
	}
	waiting, err := readApplication(waits)
	if err != nil {
		return enrollAnswer{}, err
	}
	if waiting != nil {
		more = slices.Concat(more, []store.Op{store.Delete(waits)}, p.waitingRoom(waiting, nil))
	}
	resp, err := p.enrolled(ctx, "agent.enrolled", c, holder{agentRecord: a}, t, slices.Concat(ops, to.Ops, more))
	return enrollAnswer{enrollResponse: resp}, err
}

// unlessFirst is err, unless a key is denied that was enrolled meanwhile: it is
// itself what has used up its admission, and is to try again.
func (p *Provider) unlessFirst(ctx context.Context, jkt string, err error) error {
	if err == nil || keywright.AsError(err).Code != keywright.CodeDenied {
		return err
	}
	records, trouble := p.host.Store.Get(ctx, agent.Key(jkt))
	switch {
	case trouble != nil:
		return trouble
	case records[0].Exists():
		return store.ErrConflict
	}
	return err
}

func admissionError(err error) error {
	if _, ok := errors.AsType[*keywright.Error](err); ok {
		return err
	}
	return denied(err)
}

// enrolled writes all that an enrolment changes, and answers it.
func (p *Provider) enrolled(ctx context.Context, event string, c enrollCall, a holder, t issued, ops []store.Op) (enrollResponse, error) {
	if c.proof != nil {
		ops = append(ops, store.Insert(c.proof.seen))
	}
	e := keywright.Event{Name: event, Actor: c.jkt, Target: a.Name, Attrs: map[string]string{"jti": t.jti, "admitted_by": a.AdmittedBy}}
	if err := p.host.Commit(ctx, a.event(e), ops...); err != nil {
		return enrollResponse{}, p.commitError(err)
	}
	return p.enrollmentOf(a.agentRecord, t), nil
}

func (p *Provider) enrollmentOf(a *agentRecord, t issued) enrollResponse {
	resp := enrollResponse{AgentToken: t.text, KeyID: a.jkt, AgentID: a.Name, ExpiresIn: int64(t.life / time.Second)}
	if !p.hideAgents {
		resp.JWKSURI = p.agentURL(a.Name)
	}
	return resp
}

// commitError tells a replay, and an admission that was used up meanwhile, from
// what is to be tried again.
func (p *Provider) commitError(err error) error {
	if errors.Is(err, store.ErrLimit) {
		return denied(err)
	}
	return replayedAt(p.policies.enroll, err)
}

// replayedAt is replayed for who has come to an endpoint with policy c. Other
// errors stay as they are.
func replayedAt(c policy, err error) error {
	if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Kind == KindSeen && errors.Is(err, store.ErrExists) {
		return c.challenged(replayed(err))
	}
	return err
}
