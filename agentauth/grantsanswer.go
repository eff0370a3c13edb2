package agentauth

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/jose"
)

// answer gets what an origin requires in an answer of 401 to a request that was
// signed with used, and reports whether the request may be sent again. If not, the
// answer is the caller's. The error is a [*ChallengeError].
func (g *grants) answer(ctx context.Context, origin string, resp *http.Response, used Credential) (bool, error) {
	c, ok := g.challenge(ctx, origin, resp, used)
	if !ok {
		return false, nil
	}
	again, err := c.meet(ctx)
	if err != nil {
		return false, &ChallengeError{Origin: c.origin, Requirement: c.need, Err: err}
	}
	return again, nil
}

// A challenge is a requirement of an origin that can perhaps be met.
type challenge struct {
	grants *grants
	errand *errand
	origin string // the identifier of the server
	need   Requirement
	shown  presented // the token of the request
	who    *caller   // nil: the agent has no person server, or another key than it had
}

func (g *grants) challenge(ctx context.Context, origin string, resp *http.Response, used Credential) (*challenge, bool) {
	g.endSession(origin, resp.Request)
	if g.person == nil {
		return nil, false
	}
	shown, ok := readPresented(used)
	c := &challenge{grants: g, errand: errandOf(ctx), origin: origin, need: RequirementOf(resp.Header), shown: shown}
	switch signatureError(resp.Header).code {
	case "revoked_jwt", "expired_jwt":
		g.drop(origin, shown)
	}
	return c, ok
}

// meet does what the requirement wants, once for each request.
func (c *challenge) meet(ctx context.Context) (bool, error) {
	switch c.need.Name {
	case wantsAgent:
		if c.shown.typ == AgentToken || !c.errand.first(wantsAgent) {
			return false, nil
		}
		c.grants.learn(c.origin, c.errand, AgentToken)
		return true, nil
	case wantsPerson:
		return c.meetPerson(ctx)
	case wantsAuth:
		return c.meetAuth(ctx)
	}
	return false, nil
}

// meetPerson has the request show a person token, and gets one if there is none but
// that which was shown.
func (c *challenge) meetPerson(ctx context.Context) (bool, error) {
	if again, err := c.become(ctx); again || c.who == nil || err != nil {
		return again, err
	}
	if !c.errand.first(wantsPerson, string(c.shown.typ)) {
		return false, nil
	}
	g := c.grants
	if c.shown.typ == PersonToken {
		g.drop(c.origin, c.shown)
	}
	level := TokenType("") // a person token may be the step to more
	if c.shown.typ == AuthToken {
		level = PersonToken
	}
	err := g.once(ctx, c.origin+" person "+c.who.jkt, func() error { return c.getPerson(ctx) })
	if err != nil && !c.patient(ctx, err, PersonToken) {
		return false, err
	}
	g.learn(c.origin, c.errand, level)
	c.errand.level = PersonToken
	return true, nil
}

func (c *challenge) getPerson(ctx context.Context) error {
	if c.grants.standing(c.origin, PersonToken, c.who.jkt) != nil {
		return nil
	}
	h, err := c.grants.person.personToken(ctx, c.origin, c.who)
	if err == nil {
		c.grants.keep(c.origin, h)
	}
	return err
}

// meetAuth gets an auth token by the resource token, and with the token that was
// shown.
func (c *challenge) meetAuth(ctx context.Context) (bool, error) {
	if again, err := c.become(ctx); again || c.who == nil || err != nil {
		return again, err
	}
	scope := scopeOf(c.need.ResourceToken)
	if !c.errand.first(wantsAuth, string(c.shown.typ), scope) {
		return false, nil
	}
	g := c.grants
	err := g.once(ctx, strings.Join([]string{c.origin, "auth", c.who.jkt, string(c.shown.typ), c.shown.jti, scope}, " "), func() error { return c.getAuth(ctx) })
	switch {
	case err == nil, c.patient(ctx, err, AuthToken):
		g.learn(c.origin, c.errand, "")
		return true, nil
	case c.shown.typ == AuthToken && isOldStepUp(err):
		// The person token's own challenge is one that the server knows.
		g.drop(c.origin, c.shown)
		c.errand.level = PersonToken
		return true, nil
	}
	return false, err
}

// hasAuth reports whether there is an auth token other than what was shown.
func (c *challenge) hasAuth() bool {
	h := c.grants.standing(c.origin, AuthToken, c.who.jkt)
	return h != nil && (c.shown.typ != AuthToken || h.jti != c.shown.jti)
}

func (c *challenge) getAuth(ctx context.Context) error {
	if c.hasAuth() { // another request has got it since this one was signed
		return nil
	}
	p := c.grants.person
	rt, err := p.readResourceToken(ctx, c.need.ResourceToken, c.origin, c.shown, c.who)
	if err != nil {
		return err
	}
	h, err := p.authToken(ctx, rt, c.shown, c.who)
	if err == nil {
		c.grants.keep(c.origin, h)
	}
	return err
}

// become finds as whom the agent speaks to its person server, if it has one. It
// reports whether the agent has another key by now: what was shown is of no use then.
func (c *challenge) become(ctx context.Context) (bool, error) {
	base, err := c.grants.identity.Credential(ctx)
	if err != nil {
		return false, err
	}
	agent, ok := readPresented(base)
	if !ok || agent.typ != AgentToken {
		return false, nil
	}
	if agent.jkt != c.shown.jkt {
		return true, nil
	}
	p := c.grants.person
	ps := p.c.ID
	if ps == "" {
		ps = agent.ps
	}
	if ps != "" && checkServerID(ps, p.c.Development) == nil {
		c.who = &caller{identity: c.grants.identity, cred: base, jkt: agent.jkt, ps: ps, now: c.grants.now}
	}
	return false, nil
}

// patient reports whether a token whose end is near will do, because no other could
// be had for a reason that may pass.
func (c *challenge) patient(ctx context.Context, err error, typ TokenType) bool {
	if e, ok := errors.AsType[*StatusError](err); ok && e.Status < http.StatusInternalServerError && e.Status != http.StatusTooManyRequests {
		return false
	}
	if ctx.Err() != nil || c.shown.typ == typ { // which was just refused
		return false
	}
	return c.grants.patience(c.origin, typ, c.who.jkt)
}

// isOldStepUp reports whether a person server knows no auth tokens that are
// presented for wider ones, as those of older drafts do not.
func isOldStepUp(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Status == http.StatusBadRequest && (strings.HasSuffix(e.Code, "_resource_token") || strings.HasSuffix(e.Code, "_presented_token"))
}

// scopeOf reads the scope of a resource token that is not checked yet; "": none.
func scopeOf(token string) string {
	parsed, err := jose.Parse(token)
	if err != nil {
		return ""
	}
	c, err := parsed.UnverifiedClaims()
	if err != nil {
		return ""
	}
	scope, _ := text(c.Members, "scope")
	return scope
}

// renew gets other tokens than one which a server does not accept any more, with the
// code of Signature-Error, and reports whether the request may be sent again. Tokens
// that end no later than that one go with it, the agent token first.
func (g *grants) renew(ctx context.Context, origin string, used Credential, code string) (bool, error) {
	shown, ok := readPresented(used)
	if !ok || !errandOf(ctx).first("renew", code, string(shown.typ)) {
		return false, nil
	}
	fail := func(err error) (bool, error) { return false, &ChallengeError{Origin: origin, Err: err} }
	if shown.typ == AgentToken {
		if _, err := g.identity.Renew(ctx, used); err != nil {
			return fail(err)
		}
		return true, nil
	}
	g.drop(origin, shown)
	if code != "expired_jwt" {
		return true, nil
	}
	base, err := g.identity.Credential(ctx)
	if err != nil {
		return fail(err)
	}
	if agent, ok := readPresented(base); ok && !agent.expires.After(shown.expires) {
		if _, err := g.identity.Renew(ctx, base); err != nil {
			return fail(err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.at(origin); o.person != nil && !o.person.expires.After(shown.expires) {
		o.person = nil
	}
	return true, nil
}
