package agentauth

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
)

// SelfIssuerConfig configures a [SelfIssuer]. Host, Agent and Keys are required.
type SelfIssuerConfig struct {
	Host keywright.Host

	// Issuer is the identifier of the service, https://host; "": the origin of
	// the host's URL. It must not be that of a [Provider] too.
	Issuer string

	Agent        string        // the name of the agent, before the "@" of its identifier; without "+"
	Keys         *SigningKeys  // that sign its tokens
	PersonServer string        // of its tokens; "": none
	TokenLife    time.Duration // of its tokens; 0: 1 hour; more than 5 minutes, at most 24 hours
	About        About

	// Development admits an Issuer and a PersonServer on this machine, by http
	// and with ports.
	Development bool
}

// A SelfIssuer is a service that is its own agent provider (AAuth, section
// "Self-Issued Agent Tokens"): it publishes its keys and gives itself agent
// tokens. Nobody enrols with it. It is safe for concurrent use, by any number of
// processes on one store.
type SelfIssuer struct {
	host     keywright.Host
	keys     *SigningKeys
	claims   agentClaims // of its tokens, but for the key
	metadata json.RawMessage

	kept atomic.Pointer[keptToken]
}

var _ Identity = (*SelfIssuer)(nil)

// A keptToken is one that is bound to the key that has signed it.
type keptToken struct {
	issued
	kid string
}

// selfJWKSPath is where a SelfIssuer publishes its keys, below its origin.
const selfJWKSPath = "/.well-known/jwks.json"

// NewSelfIssuer checks c. It does no I/O. Call [SigningKeys.Sync] on its Keys when
// the server starts.
func NewSelfIssuer(c SelfIssuerConfig) (*SelfIssuer, error) {
	switch {
	case c.Host.Store == nil:
		return nil, errors.New("agentauth: SelfIssuerConfig.Host is required")
	case c.Keys == nil:
		return nil, errors.New("agentauth: SelfIssuerConfig.Keys is required")
	case c.Issuer == "" && c.Host.URL != nil:
		c.Issuer = originOf(c.Host.URL.String())
	}
	if err := checkServerID(c.Issuer, c.Development); err != nil {
		return nil, fmt.Errorf("agentauth: SelfIssuerConfig.Issuer: %w", err)
	}
	if err := checkLocal(c.Agent); err != nil {
		return nil, fmt.Errorf("agentauth: SelfIssuerConfig.Agent: %w", err)
	}
	if strings.Contains(c.Agent, "+") {
		return nil, errors.New(`agentauth: SelfIssuerConfig.Agent: a "+" is for sub-agents`)
	}
	if c.PersonServer != "" {
		if err := checkServerID(c.PersonServer, c.Development); err != nil {
			return nil, fmt.Errorf("agentauth: SelfIssuerConfig.PersonServer: %w", err)
		}
	}
	c.TokenLife = cmp.Or(c.TokenLife, defaultTokenLife)
	if err := checkTokenLife(c.TokenLife); err != nil {
		return nil, fmt.Errorf("agentauth: SelfIssuerConfig.TokenLife: %w", err)
	}
	metadata, err := json.Marshal(selfMetadata{Issuer: c.Issuer, JWKSURI: c.Issuer + selfJWKSPath, wireAbout: wireAbout(c.About)})
	if err != nil {
		return nil, err
	}
	return &SelfIssuer{host: c.Host, keys: c.Keys, metadata: metadata, claims: agentClaims{
		issuer: c.Issuer, subject: AgentID{c.Agent, domainOf(c.Issuer)}.String(), ps: c.PersonServer, life: c.TokenLife,
	}}, nil
}

// AgentID returns the identifier of the agent that the service is.
func (s *SelfIssuer) AgentID() string { return s.claims.subject }

// Routes are the two documents of the service. They are found at the root of its
// origin alone.
func (s *SelfIssuer) Routes() []keywright.Route {
	return []keywright.Route{
		{Pattern: MetadataPath, Handler: document(func(context.Context) (json.RawMessage, error) { return s.metadata, nil })},
		{Pattern: selfJWKSPath, Handler: s.keys.Handler()},
	}
}

// Register mounts the documents on mux.
func (s *SelfIssuer) Register(mux *http.ServeMux) { keywright.Register(mux, "", s.Routes()...) }

// Token makes an agent token for who has the private key of key, an
// ed25519.PublicKey or an *ecdsa.PublicKey on P-256, until expires. nil is the
// service's active signing key, which plays both parts then. Each call makes
// another token.
func (s *SelfIssuer) Token(ctx context.Context, key crypto.PublicKey) (text string, expires time.Time, err error) {
	signer, kid, err := s.keys.signer(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	if key == nil {
		key = signer.Public()
	}
	t, err := s.issue(signer, kid, key)
	return t.text, t.expires, err
}

func (s *SelfIssuer) issue(signer crypto.Signer, kid string, key crypto.PublicKey) (issued, error) {
	c := s.claims
	var err error
	if c.key, err = jose.PublicKey(key); err != nil {
		return issued{}, fmt.Errorf("agentauth: key of an agent token: %w", err)
	}
	if name := algorithmOf(c.key); name != nameEd25519 && name != nameES256 {
		return issued{}, errors.New("agentauth: key of an agent token: want Ed25519 or P-256")
	}
	return c.sign(signer, kid, s.host.Hooks.Now())
}

// Sign signs r as the agent that the service is, as [SignRequest] does, with the
// active signing key and a token that is kept until 5 minutes before it expires.
func (s *SelfIssuer) Sign(ctx context.Context, r *http.Request) error {
	c, err := s.Credential(ctx)
	if err != nil {
		return err
	}
	o := c.As
	o.Created = s.host.Hooks.Now()
	return SignRequest(r, c.Key, o)
}

// Credential implements [Identity]: the active signing key, and a token that is kept
// until 5 minutes before it expires.
func (s *SelfIssuer) Credential(ctx context.Context) (Credential, error) {
	signer, kid, err := s.keys.signer(ctx)
	if err != nil {
		return Credential{}, err
	}
	t := s.kept.Load()
	if t == nil || t.kid != kid || !s.host.Hooks.Now().Before(t.expires.Add(-minTokenLife)) {
		t = &keptToken{kid: kid}
		if t.issued, err = s.issue(signer, kid, signer.Public()); err != nil {
			return Credential{}, err
		}
		s.kept.Store(t)
	}
	return Credential{Key: signer, As: SignOptions{Token: t.text}, Expires: t.expires}, nil
}

// Renew implements [Identity]: another token, perhaps of another key.
func (s *SelfIssuer) Renew(ctx context.Context, refused Credential) (Credential, error) {
	if t := s.kept.Load(); t != nil && t.text == refused.As.Token {
		s.kept.CompareAndSwap(t, nil)
	}
	return s.Credential(ctx)
}
