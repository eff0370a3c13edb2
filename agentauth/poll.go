package agentauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// pollAfter is how long an applicant is told to wait between polls.
const pollAfter = 5 * time.Second

// An enrollAnswer is a token, or where to ask for one (AAuth, section "Deferred
// Responses").
type enrollAnswer struct {
	enrollResponse
	pollURL string // "": this is the token
}

// Status implements what endpoint.New asks of an answer.
func (a enrollAnswer) Status() int {
	if a.pollURL != "" {
		return http.StatusAccepted
	}
	return http.StatusOK
}

// Header does so too.
func (a enrollAnswer) Header() http.Header {
	if a.pollURL == "" {
		return nil
	}
	h := limit.RetryAfter(pollAfter)
	h.Set("Location", a.pollURL)
	return h
}

func (p *Provider) wait(a *application) enrollAnswer {
	return enrollAnswer{pollURL: p.base + p.paths.Enroll + "/pending/" + a.ID}
}

func (p *Provider) approvalRoutes() []keywright.Route {
	pattern := p.paths.Enroll + "/pending/{application}"
	count := counted(p, func(r *http.Request) (pollCall, error) { return p.readPoll(r, pattern) })
	read := func(r *http.Request) (pollCall, error) {
		c, err := count(r)
		return c, tooSoon(err)
	}
	return []keywright.Route{{Pattern: pattern, Handler: endpoint.New(endpoint.Spec{
		Name: "agent.poll", Method: http.MethodGet, Dialect: keywright.AAuth, Hooks: p.host.Hooks,
	}, read, p.poll)}}
}

// A pollCall asks what has become of an application.
type pollCall struct {
	proof *proof
	id    string
}

func (p *Provider) readPoll(r *http.Request, pattern string) (pollCall, error) {
	proof, err := p.verified(r, p.policies.poll)
	if err != nil {
		return pollCall{}, err
	}
	id, err := endpoint.Segment(r, pattern, "application")
	if err != nil {
		return pollCall{}, &keywright.Error{Code: keywright.CodeNotFound, Err: err}
	}
	return pollCall{proof, id}, nil
}

// poll tells an applicant how it stands. How it has ended is told once. To
// whoever signs with another key there is no such application.
func (p *Provider) poll(ctx context.Context, _ keywright.Principal, c pollCall) (enrollAnswer, error) {
	var resp enrollAnswer
	err := endpoint.Retry(func() error {
		records, err := p.host.Store.Get(ctx, p.applicationKey(c.proof.jkt), agent.Key(c.proof.jkt))
		if err != nil {
			return err
		}
		a, err := readApplication(records[0])
		switch {
		case err != nil:
			return err
		case a == nil:
			return p.callers.refuse(ctx, c.notFound())
		}
		return p.callers.admitKnown(ctx, c.proof.jkt, func() error {
			resp, err = p.polled(ctx, c, a, records[1])
			return err
		})
	})
	return resp, tooSoon(err)
}

// tooSoon tells an applicant to poll less often (AAuth, section "Deferred Responses").
func tooSoon(err error) error {
	if e, ok := errors.AsType[*keywright.Error](err); ok && e.Code == keywright.CodeRateLimited {
		return &keywright.Error{Code: keywright.CodeSlowDown, Header: e.Header}
	}
	return err
}

func (c pollCall) notFound() error {
	return keywright.Wrap(keywright.CodeNotFound, errors.New("agentauth: no such application of key "+c.proof.jkt))
}

// polled answers who has applied. r is the record of the agent that it may have
// become.
func (p *Provider) polled(ctx context.Context, c pollCall, a *application, r store.Record) (enrollAnswer, error) {
	switch {
	case a.ID != c.id:
		return enrollAnswer{}, c.notFound()
	case a.Told:
		return enrollAnswer{}, keywright.Wrap(keywright.CodeAnswered, errors.New("agentauth: application "+a.ID))
	case a.waits(p.host.Hooks.Now()):
		return p.wait(a), p.remember(ctx, c.proof, p.policies.poll)
	case a.Decision == "":
		return enrollAnswer{}, p.end(ctx, c, a, keywright.CodeUndecided)
	case a.Decision == decidedNo:
		return enrollAnswer{}, p.end(ctx, c, a, keywright.CodeDenied)
	}
	return p.deliver(ctx, c, a, r)
}

// end tells that there will be no agent.
func (p *Provider) end(ctx context.Context, c pollCall, a *application, code keywright.Code) error {
	if err := p.tell(ctx, c, a, keywright.Event{Name: "agent.application_ended", Attrs: map[string]string{"outcome": string(code)}}); err != nil {
		return err
	}
	return keywright.Wrap(code, errors.New("agentauth: application "+a.ID))
}

// deliver gives an agent that was approved its first token.
func (p *Provider) deliver(ctx context.Context, c pollCall, a *application, r store.Record) (enrollAnswer, error) {
	made, err := p.readAgent(r)
	switch {
	case err != nil:
		return enrollAnswer{}, err
	case !p.owns(made) || made.Name != a.AgentID || !made.stands():
		return enrollAnswer{}, denied(errors.New("agentauth: the agent of application " + a.ID + " has gone or is disabled"))
	}
	t, ops, err := p.tokenFor(ctx, made, made.key)
	if err != nil {
		return enrollAnswer{}, err
	}
	e := keywright.Event{Name: "agent.enrolled", Attrs: map[string]string{"jti": t.jti, "admitted_by": made.AdmittedBy}}
	if err := p.tell(ctx, c, a, e, append(ops, store.Check(r))...); err != nil {
		return enrollAnswer{}, err
	}
	return enrollAnswer{enrollResponse: p.enrollmentOf(made, t)}, nil
}

// tell marks an application as told, with what else is written then.
func (p *Provider) tell(ctx context.Context, c pollCall, a *application, e keywright.Event, ops ...store.Op) error {
	a.Told = true
	record, err := p.applicationRecord(a)
	if err != nil {
		return err
	}
	e.Actor, e.Target = a.jkt, a.AgentID
	e.Attrs["application"] = a.ID
	err = p.host.Commit(ctx, e, append(ops, store.Replace(record), store.Insert(c.proof.seen))...)
	return replayedAt(p.policies.poll, err)
}
