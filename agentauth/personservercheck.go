package agentauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// A held is a token that an agent has got for one resource.
type held struct {
	text            string
	typ             TokenType
	jkt             string // of the key that it is bound to
	jti             string
	issued, expires time.Time
}

// A presented is the token that a request was signed with, as it reads itself.
type presented struct {
	text     string
	typ      TokenType
	jti, sub string
	ps       string // of an agent token; "": none
	jkt      string // of the key that has signed
	expires  time.Time
}

// readPresented reads the token of a credential; false: it has none.
func readPresented(c Credential) (presented, bool) {
	parsed, err := jose.Parse(c.As.Token)
	if err != nil || c.Key == nil {
		return presented{}, false
	}
	claims, err := parsed.UnverifiedClaims()
	if err != nil {
		return presented{}, false
	}
	s := presented{text: c.As.Token, typ: TokenType(parsed.Type())}
	if s.jkt, err = thumbprintOf(c.Key); err != nil {
		return presented{}, false
	}
	s.jti, _ = text(claims.Members, "jti")
	s.sub, _ = text(claims.Members, "sub")
	s.ps, _ = text(claims.Members, "ps")
	s.expires, _ = claims.Date("exp")
	switch s.typ {
	case AgentToken, PersonToken, AuthToken:
		return s, true
	}
	return presented{}, false
}

// A resourceGrant is a resource token that was checked.
type resourceGrant struct {
	text      string
	resource  string // the identifier of the resource
	audience  string // who issues the auth token for it
	scope     string
	loginHint string
}

// readResourceToken checks the resource token of an answer (AAuth, section
// "Resource Token Verification").
func (p *PersonServer) readResourceToken(ctx context.Context, token, origin string, shown presented, who *caller) (*resourceGrant, error) {
	g, parsed, err := p.resourceClaims(token, origin, shown, who)
	if err != nil {
		return nil, fmt.Errorf("agentauth: resource token: %w", err)
	}
	if err := p.verify(ctx, parsed, origin, RoleResource); err != nil {
		return nil, fmt.Errorf("agentauth: resource token: %w", err)
	}
	return g, nil
}

func (p *PersonServer) resourceClaims(token, origin string, shown presented, who *caller) (*resourceGrant, *jose.Token, error) {
	now := p.remote.now()
	parsed, c, err := readToken(token, ResourceToken, RoleResource, now)
	if err != nil {
		return nil, nil, err
	}
	if err := says(c.Members, map[string]string{"iss": origin, "agent_jkt": who.jkt}); err != nil {
		return nil, nil, err
	}
	if err := checkPresented(c, shown, who.ps); err != nil {
		return nil, nil, err
	}
	issued, err := c.Date("iat")
	if err != nil {
		return nil, nil, errors.New("iat: want a time")
	}
	if expires, err := c.Date("exp"); err != nil || expires.Sub(issued) > maxResourceLife || expires.Sub(now) > maxResourceLife+time.Minute {
		return nil, nil, errors.New("exp is too far")
	}
	g := &resourceGrant{text: token, resource: origin}
	if g.audience, err = c.Audience(); err != nil || checkServerID(g.audience, p.c.Development) != nil {
		return nil, nil, errors.New("aud: want the identifier of a server")
	}
	if g.scope, err = text(c.Members, "scope"); err != nil {
		return nil, nil, errors.New("scope: want a string")
	}
	g.loginHint, _ = text(c.Members, "login_hint")
	return g, parsed, nil
}

// checkPresented checks that a resource token is about the token that was presented.
// Resources of older drafts, which want no person token first, name neither.
func checkPresented(c jose.Claims, shown presented, ps string) error {
	if shown.typ == AgentToken {
		if c.Has("ps") {
			return says(c.Members, map[string]string{"ps": ps})
		}
		return nil
	}
	want := map[string]string{"ps": ps, "sub": shown.sub}
	for _, name := range []string{"presented_jti", "person_token_jti"} { // the second is of a draft between two
		if c.Has(name) {
			want[name] = shown.jti
		}
	}
	if len(want) == 2 {
		return errors.New("presented_jti is missing")
	}
	return says(c.Members, want)
}

// checkPersonToken checks what a person server has issued.
func (p *PersonServer) checkPersonToken(ctx context.Context, w grantResponse, resource string, who *caller) (*held, error) {
	h, err := p.checkGranted(ctx, w.PersonToken, w.ExpiresIn, grantedAs{
		typ: PersonToken, role: RolePersonServer, claims: map[string]string{"iss": who.ps}, audience: resource, who: who,
	})
	if err != nil {
		return nil, fmt.Errorf("agentauth: person token: %w", err)
	}
	return h, nil
}

// checkAuthToken checks what a person server has issued, or has got of an access
// server.
func (p *PersonServer) checkAuthToken(ctx context.Context, w grantResponse, rt *resourceGrant, shown presented, who *caller) (*held, error) {
	as := grantedAs{typ: AuthToken, role: RolePersonServer, claims: map[string]string{"iss": rt.audience}, audience: rt.resource, who: who}
	if rt.audience != who.ps {
		as.role = RoleAccessServer
	}
	if shown.typ != AgentToken {
		as.claims["ps"], as.claims["sub"] = who.ps, shown.sub
	}
	h, err := p.checkGranted(ctx, w.AuthToken, w.ExpiresIn, as)
	if err != nil {
		return nil, fmt.Errorf("agentauth: auth token: %w", err)
	}
	return h, nil
}

// A grantedAs is what a granted token must say.
type grantedAs struct {
	typ      TokenType
	role     Role // of the issuer
	claims   map[string]string
	audience string
	who      *caller
}

func (p *PersonServer) checkGranted(ctx context.Context, token string, expiresIn int64, as grantedAs) (*held, error) {
	if token == "" {
		return nil, errors.New("an answer of success without it")
	}
	now := p.remote.now()
	parsed, c, err := readToken(token, as.typ, as.role, now)
	if err != nil {
		return nil, err
	}
	if err := says(c.Members, as.claims); err != nil {
		return nil, err
	}
	if aud, err := c.Audience(); err != nil || aud != as.audience {
		return nil, errors.New("aud is another")
	}
	if err := boundTo(c, as.who.jkt); err != nil {
		return nil, err
	}
	jti, err := text(c.Members, "jti")
	switch sub, bad := text(c.Members, "sub"); {
	case err != nil || jti == "", bad != nil || sub == "" && as.typ == PersonToken:
		return nil, errors.New("jti or sub is missing")
	case as.typ == PersonToken && (c.Has("scope") || c.Has("account")):
		return nil, errors.New("scope and account are not for person tokens")
	}
	// An access server's address is the resource's word, so nothing is fetched
	// there. The resource checks the signature itself.
	if as.role == RolePersonServer {
		if err := p.verify(ctx, parsed, as.who.ps, as.role); err != nil {
			return nil, err
		}
	}
	expires, _ := c.Date("exp")
	return &held{
		text: token, typ: as.typ, jkt: as.who.jkt, jti: jti, issued: now, expires: as.who.capped(expires, expiresIn),
	}, nil
}

// capped is when a token ends at the latest: with the agent token.
func (w *caller) capped(expires time.Time, expiresIn int64) time.Time {
	now := w.now()
	ends := []time.Time{now.Add(maxPersonLife), w.cred.Expires}
	if expiresIn > 0 && expiresIn < int64(maxPersonLife/time.Second) {
		ends = append(ends, now.Add(time.Duration(expiresIn)*time.Second))
	}
	if s, ok := readPresented(w.cred); ok {
		ends = append(ends, s.expires)
	}
	for _, end := range ends {
		if !end.IsZero() && end.Before(expires) {
			expires = end
		}
	}
	return expires
}

// An update is a resource token that takes the place of another.
type update struct {
	grant *resourceGrant
	shown presented
}

// checkUpdate checks what a callback wants to send in the place of a resource token.
func (p *PersonServer) checkUpdate(ctx context.Context, r ClarificationReply, origin string, shown presented, who *caller) (update, error) {
	if r.PresentedToken != "" {
		key := who.cred.Key
		var ok bool
		if shown, ok = readPresented(Credential{Key: key, As: SignOptions{Token: r.PresentedToken}}); !ok {
			return update{}, errors.New("agentauth: ClarificationReply.PresentedToken is no token")
		}
	}
	g, err := p.readResourceToken(ctx, r.ResourceToken, origin, shown, who)
	return update{g, shown}, err
}
