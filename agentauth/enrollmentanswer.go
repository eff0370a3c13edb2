package agentauth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
	"github.com/keywright/keywright/keystore"
)

// An Enrollment is an agent that is enrolled. All that must be kept is the handle
// of its key. Printed or encoded, it shows the agent's identifier alone.
type Enrollment struct {
	Provider   string // who has issued the token
	AgentID    string
	AgentToken string    // secret enough to keep out of logs; [Enrolled] gets others
	Issued     time.Time // when AgentToken was, and when it
	Expires    time.Time // does: both by one clock

	Key            keystore.Key
	LocalKeyHandle string // of Key; it never leaves this machine
	AgentTokenKid  string // of the key where the provider publishes it; "": it does not say
	JWKSURL        string // where that is; "": it publishes no keys of agents
}

// String tells nothing of the token.
func (e Enrollment) String() string { return "enrollment of " + e.AgentID }

// Format keeps the token out of whatever prints e.
func (e Enrollment) Format(s fmt.State, _ rune) { io.WriteString(s, e.String()) }

// MarshalText does so in JSON.
func (e Enrollment) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// LogValue does so in logs.
func (e Enrollment) LogValue() slog.Value { return slog.StringValue(e.String()) }

// enrollment reads an answer of success. Of the token it checks what can be checked
// without the keys of the provider. Members that it does not know are passed over.
func (c EnrollConfig) enrollment(r apicall.Reply, key keystore.Key, now time.Time) (Enrollment, error) {
	m, err := r.Members()
	if err != nil {
		return Enrollment{}, within("the answer of success", err)
	}
	e := Enrollment{Key: key, LocalKeyHandle: key.Handle()}
	if e.AgentToken, err = m.String("agent_token"); err != nil || e.AgentToken == "" {
		return Enrollment{}, errors.New("agentauth: an answer of success without a token")
	}
	if err := c.readAgentToken(&e, now); err != nil {
		return Enrollment{}, within("the agent token", err)
	}
	if err := c.readAnswer(&e, m, now); err != nil {
		return Enrollment{}, within("the answer of success", err)
	}
	return e, nil
}

// readAnswer reads what there may be beside the token.
func (c EnrollConfig) readAnswer(e *Enrollment, m strictjson.Members, now time.Time) error {
	id := ""
	for name, to := range map[string]*string{"agent_id": &id, "key_id": &e.AgentTokenKid, "jwks_uri": &e.JWKSURL} {
		var err error
		if *to, err = optionalMember(m, name); err != nil {
			return err
		}
	}
	if id != "" && id != e.AgentID {
		return errors.New("agent_id is not that of the token")
	}
	if e.JWKSURL != "" {
		if err := newRemote(nil, c.Development, nil).checkURL(e.JWKSURL); err != nil {
			return fmt.Errorf("jwks_uri: %w", err)
		}
	}
	// A clock may be wrong. Where the two do not agree, the earlier does no harm.
	if seconds, err := m.Int("expires_in"); err == nil && seconds > 0 {
		life := time.Duration(min(seconds, int64(maxAgentLife/time.Second))) * time.Second
		now = now.Round(0) // a machine that sleeps does not stop the clock of others
		if end := now.Add(life); end.Before(e.Expires) {
			e.Issued, e.Expires = now, end
		}
	}
	return nil
}

// optionalMember returns "" for one that is absent or null. Others must be fit for a
// header.
func optionalMember(m strictjson.Members, name string) (string, error) {
	if raw, ok := m.Raw(name); !ok || string(raw) == "null" {
		return "", nil
	}
	value, err := m.String(name)
	if err != nil || len(value) > maxClaim || strings.ContainsFunc(value, isInvisible) {
		return "", fmt.Errorf("%s: want a string of at most %d characters of ASCII", name, maxClaim)
	}
	return value, nil
}

// readAgentToken wants the token that was asked for. Errors name the claim and do not
// quote it.
func (c EnrollConfig) readAgentToken(e *Enrollment, now time.Time) error {
	parsed, err := jose.Parse(e.AgentToken)
	if err != nil {
		return errors.New("it is no compact JWS")
	}
	if TokenType(parsed.Type()) != AgentToken {
		return errors.New("typ: want " + string(AgentToken))
	}
	claims, err := parsed.UnverifiedClaims()
	if err != nil {
		return errors.New("its claims are no JSON object")
	}
	if err := c.readNames(e, claims.Members); err != nil {
		return err
	}
	if err := confirms(claims.Members, e.Key); err != nil {
		return err
	}
	if jti, err := text(claims.Members, "jti"); err != nil || jti == "" {
		return errors.New("jti: want the identifier of the token")
	}
	return readAgentLife(e, claims, now)
}

// readNames reads who has issued the token, to whom, and for whom that acts.
func (c EnrollConfig) readNames(e *Enrollment, m strictjson.Members) (err error) {
	if e.Provider, err = text(m, "iss"); err != nil || c.checkServer(e.Provider) != nil {
		return errors.New("iss: want the identifier of a server")
	}
	if c.Provider != "" && e.Provider != c.Provider {
		return errors.New("iss: want " + c.Provider)
	}
	if dwk, err := text(m, "dwk"); err != nil || dwk != "" && Role(dwk) != RoleAgentProvider {
		return errors.New("dwk: want " + string(RoleAgentProvider))
	}
	if e.AgentID, err = text(m, "sub"); err != nil {
		return errors.New("sub: want the identifier of an agent")
	}
	id, err := parseAgentID(e.AgentID, c.Development)
	switch {
	case err != nil:
		return errors.New("sub: want the identifier of an agent")
	case c.AgentID != "" && e.AgentID != c.AgentID:
		return errors.New("sub: want " + c.AgentID)
	case strings.Contains(id.Local, "+"), m.Has("parent_agent"):
		return errors.New("sub is a sub-agent")
	}
	if ps, err := text(m, "ps"); err != nil || c.PersonServer != "" && ps != c.PersonServer {
		return errors.New("ps: want " + c.PersonServer)
	}
	return nil
}

// confirms wants cnf.jwk to be key (RFC 7800). Older providers leave out its alg.
func confirms(m strictjson.Members, key keystore.Key) error {
	bad := errors.New("cnf: want jwk, the key that was enrolled")
	cnf, err := m.Object("cnf")
	if err != nil {
		return bad
	}
	jwk, _ := cnf.Raw("jwk")
	bound, err := jose.ParseJWK(jwk)
	if err != nil {
		return bad
	}
	if own, err := jose.PublicKey(key.Public()); err != nil || !own.Same(bound) {
		return bad
	}
	return nil
}

// errAgentTokenEnded is about a token that is sound but for its end.
var errAgentTokenEnded = errors.New("exp is past: is the clock right?")

// readAgentLife reads when the token ends.
func readAgentLife(e *Enrollment, c jose.Claims, now time.Time) error {
	issued, err := c.Date("iat")
	if err != nil {
		return errors.New("iat: want a time")
	}
	expires, err := c.Date("exp")
	switch {
	case err != nil:
		return errors.New("exp: want a time")
	case !expires.After(issued), expires.Sub(issued) > maxAgentLife:
		return errors.New("exp: want a time within 24 hours after iat")
	case !now.Before(expires):
		return errAgentTokenEnded
	}
	e.Issued, e.Expires = issued, expires
	return nil
}
