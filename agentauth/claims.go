package agentauth

import (
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
)

type life struct{ issued, expires time.Time }

// checkLife reads iat and exp. A token is good before its exp, by this clock
// alone; its iat tells whether the clocks agree.
func (v *Verifier) checkLife(c jose.Claims, now time.Time, max time.Duration) (life, error) {
	issued, err := c.Date("iat")
	if err != nil {
		return life{}, badClaim("iat: want a time")
	}
	expires, err := c.Date("exp")
	if err != nil {
		return life{}, badClaim("exp: want a time")
	}
	switch {
	case !now.Before(expires.Add(v.profile.Compat.ExpSkew)):
		return life{}, refuse(keywright.CodeExpiredJWT, "", nil)
	case issued.After(now.Add(v.profile.Window)):
		return life{}, refuse(keywright.CodeClockSkew, "iat is too far ahead", nil)
	case !expires.After(issued), expires.Sub(issued) > max:
		return life{}, badClaim("exp is too far from iat")
	}
	return life{issued, expires}, nil
}

// confirmedKey reads cnf.jwk (RFC 7800).
func (v *Verifier) confirmedKey(c jose.Claims) (signer, error) {
	cnf, err := c.Object("cnf")
	if err != nil {
		return signer{}, badClaim("cnf is missing")
	}
	jwk, ok := cnf.Raw("jwk")
	if !ok {
		return signer{}, badClaim("cnf has no jwk")
	}
	key, err := jose.ParseJWK(jwk)
	if err != nil {
		return signer{}, badKey(err)
	}
	if err := checkAlgorithm(key, v.profile.Compat.CnfWithoutAlg, v.profile.Compat.AcceptEdDSA); err != nil {
		return signer{}, err
	}
	return signedBy(key)
}

// maxLife is the longest life of tokens of each type (AAuth, section "Tokens").
var maxLife = map[TokenType]time.Duration{
	AgentToken: maxAgentLife, PersonToken: maxPersonLife, ResourceToken: maxResourceLife, AuthToken: maxPersonLife,
}

// readClaims reads what tokens of all types have, and then those of t's.
func (v *Verifier) readClaims(t *token, c jose.Claims, now time.Time) error {
	lived, err := v.checkLife(c, now, maxLife[t.typ])
	if err != nil {
		return err
	}
	t.issued, t.expires = lived.issued, lived.expires
	if t.issuer, err = c.String("iss"); err != nil || checkServerID(t.issuer, v.profile.Network.Development) != nil {
		return badClaim("iss: want the identifier of a server")
	}
	dwk, err := c.String("dwk")
	if t.role = Role(dwk); err != nil || !slices.Contains(rolesOf[t.typ], t.role) {
		return badClaim("dwk is not that of the token's type")
	}
	for _, f := range []struct {
		name string
		to   *string
		need bool
	}{
		{"jti", &t.jti, true}, {"sub", &t.subject, true}, {"ps", &t.ps, false}, {"parent_agent", &t.parent, false},
		{"scope", &t.scope, false}, {"mission_s256", &t.mission, false}, {"tenant", &t.tenant, false},
	} {
		if *f.to, err = text(c.Members, f.name); err != nil || f.need && *f.to == "" {
			return badClaim(f.name + ": want a string")
		}
	}
	if t.ps != "" && checkServerID(t.ps, v.profile.Network.Development) != nil {
		return badClaim("ps: want the identifier of a server")
	}
	if t.key, err = v.confirmedKey(c); err != nil {
		return err
	}
	switch t.typ {
	case AgentToken:
		return v.readAgentClaims(t)
	case PersonToken:
		return v.readPersonClaims(t, c)
	}
	return v.readAuthClaims(t, c)
}

// text returns a claim that is a string, and "" for one that is absent.
func text(m strictjson.Members, name string) (string, error) {
	if !m.Has(name) {
		return "", nil
	}
	s, err := m.String(name)
	if err == nil && (s == "" || len(s) > maxClaim) {
		err = strictjson.ErrAbsent
	}
	return s, err
}

func (v *Verifier) readAgentClaims(t *token) error {
	for name, id := range map[string]string{"sub": t.subject, "parent_agent": t.parent} {
		if name == "parent_agent" && id == "" {
			continue
		}
		parsed, err := parseAgentID(id, v.profile.Network.Development)
		if err != nil {
			return badClaim(name + ": want the identifier of an agent")
		}
		if parsed.Domain != domainOf(t.issuer) && (!v.profile.Compat.AnyAgentDomain || v.ownDomain(parsed.Domain)) {
			return badClaim(name + ": its domain is not that of iss")
		}
	}
	return nil
}

// ownDomain reports whether a provider of this server names agents in domain, as
// nobody else may.
func (v *Verifier) ownDomain(domain string) bool {
	return slices.ContainsFunc(v.providers, func(p *Provider) bool { return p.domain == domain })
}

func (v *Verifier) readPersonClaims(t *token, c jose.Claims) error {
	if c.Has("scope") || c.Has("account") {
		return badClaim("scope and account are not for person tokens")
	}
	t.ps = t.issuer
	return readAudience(t, c)
}

func (v *Verifier) readAuthClaims(t *token, c jose.Claims) error {
	switch {
	case t.ps == "":
		return badClaim("ps is missing")
	case t.role == RolePersonServer && t.ps != t.issuer:
		return badClaim("ps is not iss")
	}
	return readAudience(t, c)
}

func readAudience(t *token, c jose.Claims) (err error) {
	if t.aud, err = c.Audience(); err != nil {
		return badClaim("aud: want one")
	}
	return nil
}
