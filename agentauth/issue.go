package agentauth

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// KindAgentToken is the store kind of agent tokens that may be revoked at a person
// server, until they expire. The ID is of the provider, the agent identifier and the
// token.
const KindAgentToken = "agent.token"

// An issued is an agent token that was made.
type issued struct {
	text    string
	jti     string
	expires time.Time
	life    time.Duration
}

// registered are the claims that no admission may choose.
var registered = map[string]bool{
	"iss": true, "dwk": true, "sub": true, "ps": true, "cnf": true, "jti": true, "iat": true, "exp": true, "nbf": true,
	"aud": true, "parent_agent": true, "act": true, "scope": true, "mission_s256": true,
}

// agentClaims are what an agent token says (AAuth, section "Agent Tokens").
type agentClaims struct {
	issuer, subject, ps, parent string
	key                         jose.Key
	life                        time.Duration
	notBefore, notAfter         time.Time // zero: no bound
	more                        map[string]json.RawMessage
}

// checkTokenLife bounds the life of agent tokens (AAuth Bootstrap): one that is
// hardly longer than clients refresh before the end is of no use.
func checkTokenLife(life time.Duration) error {
	if life <= minTokenLife || life > maxAgentLife {
		return errors.New("want more than 5 minutes and at most 24 hours")
	}
	return nil
}

// issue makes an agent token.
func (p *Provider) issue(ctx context.Context, c agentClaims) (issued, error) {
	c.issuer = p.issuer
	if c.life == 0 {
		c.life = p.life
	}
	if err := p.checkForeign(ctx, c.key); err != nil {
		return issued{}, err
	}
	signer, kid, err := p.keys.signer(ctx)
	if err != nil {
		return issued{}, err
	}
	return c.sign(signer, kid, p.host.Hooks.Now())
}

// sign makes the token, with the key of an id.
func (c agentClaims) sign(signer crypto.Signer, kid string, now time.Time) (issued, error) {
	now = now.Truncate(time.Second)
	if now.Before(c.notBefore) {
		now = c.notBefore
	}
	expires := now.Add(c.life)
	if !c.notAfter.IsZero() && expires.After(c.notAfter) {
		expires = c.notAfter
	}
	jwk, err := jose.MarshalJWK(c.key.WithKeyID(""), algorithmOf(c.key))
	if err != nil {
		return issued{}, err
	}
	t := issued{jti: rand.Text(), expires: expires, life: expires.Sub(now)}
	claims := make(map[string]any, len(c.more)+10)
	for name, value := range c.more {
		claims[name] = value
	}
	maps.Copy(claims, map[string]any{
		"iss": c.issuer, "dwk": RoleAgentProvider, "sub": c.subject, "cnf": confirmation{jwk},
		"jti": t.jti, "iat": now.Unix(), "exp": expires.Unix(),
	})
	for name, value := range map[string]string{"ps": c.ps, "parent_agent": c.parent} {
		if value != "" {
			claims[name] = value
		}
	}
	t.text, err = signToken(signer, kid, AgentToken, claims)
	return t, err
}

// checkForeign refuses to bind a token to a key of the provider itself: whoever
// may sign tokens would be an agent.
func (p *Provider) checkForeign(ctx context.Context, key jose.Key) error {
	jkt, err := key.Thumbprint()
	if err != nil {
		return err
	}
	switch _, err := p.keys.published(ctx, jkt); {
	case errors.Is(err, errNoSuchKid):
		return nil
	case err != nil:
		return err
	}
	return keywright.Errorf(keywright.CodeInvalidRequest, "the key is one of the provider")
}

// tokenFor makes a token for an enrolled agent, bound to key, and what is to be
// written with it.
func (p *Provider) tokenFor(ctx context.Context, a *agentRecord, key jose.Key) (issued, []store.Op, error) {
	return p.recorded(ctx, a, agentClaims{subject: a.Name, ps: a.PersonServer, key: key, life: a.TokenLife, more: a.Claims})
}

// recorded makes a token of an agent or one of its sub-agents, with the record
// that it can be revoked by.
func (p *Provider) recorded(ctx context.Context, a *agentRecord, c agentClaims) (issued, []store.Op, error) {
	// The clock of the replica that has enrolled the agent may be ahead of this
	// one's, and tokens of before an agent was made are not its own: see isOf.
	c.notBefore = a.Created
	t, err := p.issue(ctx, c)
	if err != nil || c.ps == "" {
		return t, nil, err
	}
	data, err := json.Marshal(revocable{ID: t.jti, PersonServer: c.ps})
	if err != nil {
		return issued{}, nil, err
	}
	return t, []store.Op{store.Insert(store.Record{
		Kind: KindAgentToken, ID: p.tokensOf(a.Name) + t.jti, Expires: t.expires, Data: data,
	})}, nil
}

// tokensOf is how the IDs of the tokens of an agent and its sub-agents begin. A key
// may be that of another agent later, or of another provider.
func (p *Provider) tokensOf(agentID string) string { return store.ID(p.issuer, agentID) + "/" }
