package agentauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
	"github.com/keywright/keywright/store"
)

const (
	maxClaim        = 1024 // bytes of a claim that is kept
	maxAgentLife    = 24 * time.Hour
	maxPersonLife   = time.Hour
	maxResourceLife = 5 * time.Minute
)

// A token is one of AAuth whose signature was verified. It is never changed.
type token struct {
	typ     TokenType
	issuer  string
	role    Role   // of the issuer
	kid     string // of the issuer's key, which is
	by      jose.Key
	subject string
	jti     string
	ps      string // the person server; "": none
	parent  string // of an agent token: the agent whose sub-agent this is; "": none
	scope   string // of an auth token
	aud     string // of person and auth tokens
	mission string // mission_s256
	tenant  string
	issued  time.Time
	expires time.Time
	key     signer    // cnf
	revoked store.Key // of the record that there is when the token was withdrawn
	owner   string    // thumbprint of the agent's durable key when the token was verified, where this server is the issuer
	claims  json.RawMessage
}

// rolesOf are those in which an issuer may issue a token of a type.
var rolesOf = map[TokenType][]Role{
	AgentToken:    {RoleAgentProvider},
	PersonToken:   {RolePersonServer},
	ResourceToken: {RoleResource},
	AuthToken:     {RolePersonServer, RoleAccessServer},
}

// byToken is scheme jwt (HTTP Signature Keys, section "jwt").
func (v *Verifier) byToken(ctx context.Context, m *httpsig.Message, p policy, now time.Time) (signer, error) {
	text, ok := m.Param("jwt")
	if !ok {
		return signer{}, refuse(keywright.CodeInvalidSignature, "jwt is missing", nil)
	}
	t, err := v.known(ctx, text, now)
	if t == nil && err == nil {
		t, err = v.readToken(ctx, text, p, now)
	}
	if err != nil {
		return signer{}, err
	}
	// A token that is known may have been shown to another route.
	if err := p.takes(t); err != nil {
		return signer{}, err
	}
	s := t.key
	s.token = t
	return s, nil
}

// readToken verifies a token that is not known yet. Whatever can be refused
// without fetching the issuer's keys is so.
func (v *Verifier) readToken(ctx context.Context, text string, p policy, now time.Time) (*token, error) {
	parsed, err := jose.Parse(text)
	switch {
	case errors.Is(err, strictjson.ErrAbsent): // alg, which is all that must be there
		return nil, refuse(keywright.CodeUnsupportedAlgorithm, "", err)
	case err != nil:
		return nil, badToken(err)
	}
	t := &token{typ: TokenType(parsed.Type()), kid: parsed.KeyID()}
	if !slices.Contains(p.tokens, t.typ) {
		return nil, otherType()
	}
	if err := checkTokenAlgorithm(parsed, v.profile.Compat); err != nil {
		return nil, err
	}
	if t.kid == "" {
		return nil, badClaim("kid is missing")
	}
	claims, err := parsed.UnverifiedClaims()
	if err != nil {
		return nil, badToken(err)
	}
	t.claims = slices.Clone(claims.JSON()) // not all of the text behind it
	if err := v.readClaims(t, claims, now); err != nil {
		return nil, err
	}
	t.revoked = revokedKey(t.issuer, t.jti)
	if err := p.takes(t); err != nil {
		return nil, err
	}
	keys, err := v.keysOf(t.issuer, t.role)
	if err != nil {
		return nil, err
	}
	if err := v.verifyToken(ctx, t, parsed, keys); err != nil {
		return nil, err
	}
	if err := v.findOwner(ctx, t); err != nil {
		return nil, err
	}
	v.tokens.put(text, t, now)
	return t, nil
}

// agentID is the agent that an agent token is of, or of whose sub-agent.
func (t *token) agentID() string { return cmp.Or(t.parent, t.subject) }

// findOwner finds the record behind an agent token of this server. An identifier
// never changes hands, so once is enough, and a key that it has left says so.
func (v *Verifier) findOwner(ctx context.Context, t *token) error {
	p := v.local(t.issuer)
	if p == nil || t.typ != AgentToken {
		return nil
	}
	id := t.agentID()
	_, o, err := p.agentByID(ctx, id)
	switch {
	case err != nil:
		return err
	case o == nil:
		return denied(errors.New("agentauth: nobody has ever been " + id))
	}
	t.owner = o.Thumbprint
	return nil
}

// verifyToken finds the issuer's key that has signed the token. Where those at
// hand have not, it looks for newer ones.
func (v *Verifier) verifyToken(ctx context.Context, t *token, parsed *jose.Token, keys issuerKeys) error {
	candidates, err := keys.Keys(ctx, t.kid)
	if err != nil {
		return unknownKey(err)
	}
	err = v.trySigners(t, parsed, candidates)
	if errors.Is(err, jose.ErrSignature) {
		if newer := keys.Newer(ctx, t.kid, candidates); len(newer) > 0 {
			err = v.trySigners(t, parsed, newer)
		}
	}
	if err == nil {
		keys.Proven()
	}
	return err
}

func (v *Verifier) trySigners(t *token, parsed *jose.Token, candidates []jose.Key) error {
	err := badToken(jose.ErrSignature)
	for _, k := range candidates {
		if bad := checkAlgorithm(k, false, v.profile.Compat.AcceptEdDSA); bad != nil {
			err = bad
			continue
		}
		if _, bad := parsed.Verify(k); bad != nil {
			err = badToken(jose.ErrSignature)
			continue
		}
		t.by = k
		return nil
	}
	return err
}

// unknownKey tells why an issuer's key is not there.
func unknownKey(err error) error {
	if trouble, ok := errors.AsType[*keywright.Error](err); ok { // of the store
		return trouble
	}
	switch {
	case errors.Is(err, egress.ErrIssuerMissing):
		return refuse(keywright.CodeIssuerMissing, "", err)
	case errors.Is(err, egress.ErrIssuerMismatch):
		return refuse(keywright.CodeIssuerMismatch, "", err)
	}
	return refuse(keywright.CodeUnknownKey, "", err)
}

// checkTokenAlgorithm wants a header's alg to be of one meaning.
func checkTokenAlgorithm(t *jose.Token, compat Compat) error {
	switch name := t.Algorithm(); {
	case name == nameEd25519, name == nameES256, name == "EdDSA" && compat.AcceptEdDSA:
		return nil
	}
	return refuse(keywright.CodeUnsupportedAlgorithm, "alg of the token: want "+nameEd25519+" or "+nameES256, nil)
}
