package apptoken

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/internal/oidc"
	"github.com/keywright/keywright/store"
)

// A ServiceAccount is a service principal of an OpenID Connect provider that
// acts as a super user. It sends an identity token as "Authorization: Bearer".
// Where there are service accounts, a JWT of any other issuer is refused, so
// let Config.Callers take none.
//
// The token must be a JWT whose header names a key and has no typ but JWT: the
// access tokens of RFC 9068 are not identity tokens. One token makes one
// application token; lists and other reads may be asked for with it as often as
// it lives. A jti is not required: without one, what was signed is the marker.
type ServiceAccount struct {
	Issuer  string            // the claim iss, byte for byte
	Subject string            // the claim sub, byte for byte
	Name    string            // the super user's, for the audit
	Claims  map[string]string // further claims that must be there: strings, byte for byte
}

// A Network says how the keys of issuers are come by: over https, from public
// addresses, whatever a name resolves to at that moment.
type Network struct {
	Issuers       []Issuer       // more about those that the defaults do not fit
	AllowNetworks []netip.Prefix // private networks that may be reached as well
	RootCAs       *x509.CertPool // nil: the system's

	// InsecureLoopback allows plain http to this machine, for development.
	InsecureLoopback bool
}

// An Issuer is how tokens of one issuer are verified.
type Issuer struct {
	URL         string        // the claim iss
	Algorithms  []string      // RS256, ES256 or EdDSA; none: RS256 alone
	JWKS        []byte        // its keys, a JWK Set, for hosts that cannot reach it: nothing is fetched then
	JWKSURL     string        // where its keys are; empty: its discovery document tells
	MaxLifetime time.Duration // of a token; 0: 24 hours
}

// serviceAccounts verifies identity tokens by the rules of package exchange.
type serviceAccounts struct {
	audience string
	issuers  *oidc.Issuers
	byIssuer map[string]map[string]ServiceAccount // and by subject
}

const maxClaimValue = 512 // bytes in a configured claim or audience

// notChecked are the claims that verification decides about, or Subject does.
var notChecked = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

func newServiceAccounts(host keywright.Host, c ZeroTouch) (*serviceAccounts, error) {
	s := &serviceAccounts{audience: c.Audience, byIssuer: make(map[string]map[string]ServiceAccount)}
	if s.audience == "" {
		s.audience = strings.TrimSuffix(host.URL.String(), "/")
	}
	if !isClaimValue(s.audience) {
		return nil, fmt.Errorf("apptoken: Config.ZeroTouch.Audience: want up to %d bytes without control characters", maxClaimValue)
	}
	client, err := egress.New(egress.Config{AllowNetworks: c.Network.AllowNetworks, InsecureLoopback: c.Network.InsecureLoopback, RootCAs: c.Network.RootCAs})
	if err != nil {
		return nil, fmt.Errorf("apptoken: Config.ZeroTouch.Network: %w", err)
	}
	settings := make(map[string]oidc.Settings, len(c.Network.Issuers))
	for _, i := range c.Network.Issuers {
		if _, twice := settings[i.URL]; twice {
			return nil, fmt.Errorf("apptoken: Config.ZeroTouch.Network.Issuers: %q twice", asFact(i.URL))
		}
		settings[i.URL] = oidc.Settings{Algorithms: i.Algorithms, JWKS: i.JWKS, JWKSURL: i.JWKSURL, MaxLifetime: i.MaxLifetime}
	}
	rejected := func(issuer string, err error) {
		host.Hooks.Logger.Info("apptoken: a published key is not used", "issuer", issuer, "reason", err)
	}
	if s.issuers, err = oidc.NewIssuers(client, host.Hooks.Now, settings, rejected); err != nil {
		return nil, fmt.Errorf("apptoken: Config.ZeroTouch.Network.Issuers: %w", err)
	}
	for i, a := range c.ServiceAccounts {
		if err := s.add(a); err != nil {
			return nil, fmt.Errorf("apptoken: Config.ZeroTouch.ServiceAccounts[%d]: %w", i, err)
		}
	}
	for issuer := range settings {
		if s.byIssuer[issuer] == nil {
			return nil, fmt.Errorf("apptoken: Config.ZeroTouch.Network.Issuers: no service account is of %q", asFact(issuer))
		}
	}
	return s, nil
}

func (s *serviceAccounts) add(a ServiceAccount) error {
	if err := s.issuers.Check(a.Issuer); err != nil {
		return err
	}
	if err := checkUserName(a.Name); err != nil {
		return fmt.Errorf("its Name: %w", err)
	}
	if !isClaimValue(a.Subject) {
		return fmt.Errorf("its Subject: want 1 to %d bytes without control characters", maxClaimValue)
	}
	for name, value := range a.Claims {
		if slices.Contains(notChecked, name) || !isClaimValue(name) || !isClaimValue(value) {
			return fmt.Errorf("its Claims: %q: want 1 to %d bytes without control characters, of none of %s", asFact(name), maxClaimValue, strings.Join(notChecked, ", "))
		}
	}
	if s.byIssuer[a.Issuer] == nil {
		s.byIssuer[a.Issuer] = make(map[string]ServiceAccount)
	}
	if _, twice := s.byIssuer[a.Issuer][a.Subject]; twice {
		return errors.New("the same Issuer and Subject twice")
	}
	a.Claims = maps.Clone(a.Claims)
	s.byIssuer[a.Issuer][a.Subject] = a
	return nil
}

func isClaimValue(s string) bool { return s != "" && len(s) <= maxClaimValue && isPlainText(s) }

// isJWT reports whether a bearer is meant to be a token of an issuer, good or
// bad: three parts, of which the first is an object.
func isJWT(text string) bool {
	head, _, _ := strings.Cut(text, ".")
	object, err := base64.RawURLEncoding.DecodeString(head)
	return err == nil && strings.Count(text, ".") == 2 && bytes.HasPrefix(bytes.TrimLeft(object, " \t\r\n"), []byte("{"))
}

// bearer authenticates by identity token. Of an issuer that no service account
// names nothing is fetched.
func (z *zeroTouch) bearer(ctx context.Context, r *http.Request, text string) (keywright.Principal, error) {
	if err := z.guard(ctx, r, methodOIDC); err != nil {
		return keywright.Principal{}, err
	}
	facts := map[string]string{attrAuthMethod: methodOIDC}
	candidate, trust, err := z.accounts.read(text, facts)
	if err != nil {
		return keywright.Principal{}, z.rejected(ctx, err, facts)
	}
	switch closed, err := z.closed(ctx); {
	case err != nil:
		return keywright.Principal{}, inTrouble(err, facts)
	case closed:
		return keywright.Principal{}, z.refuse(keywright.RemoteAddr(ctx), "", errClosed, facts)
	}
	token, err := trust.Verify(ctx, candidate, z.accounts.audience, z.host.Hooks.Now(), false)
	if err != nil {
		return keywright.Principal{}, z.rejected(ctx, err, facts)
	}
	account, err := z.accounts.find(token, facts)
	if err != nil {
		return keywright.Principal{}, z.rejected(ctx, err, facts)
	}
	p := superUser(methodOIDC, token.Issuer, account.Name)
	p.Expires, p.Claims = token.Times.Expires, bytes.Clone(token.Claims.JSON())
	p.Attrs[attrToken], p.Attrs[attrSub], p.Attrs[attrIdentity] = facts[attrToken], account.Subject, markerID(token)
	return p, nil
}

// read finds out by whose rules a token is to be verified. Like find, it adds
// to facts what it learns.
func (s *serviceAccounts) read(text string, facts map[string]string) (oidc.Candidate, oidc.Trust, error) {
	candidate, err := oidc.Read(text)
	digest := candidate.Digest()
	facts[attrToken] = hex.EncodeToString(digest[:])
	if err != nil {
		return oidc.Candidate{}, oidc.Trust{}, err
	}
	facts["issuer"] = asFact(candidate.Issuer)
	if s.byIssuer[candidate.Issuer] == nil {
		return oidc.Candidate{}, oidc.Trust{}, &oidc.Error{Reason: oidc.Issuer, Err: errors.New("no service account is of it")}
	}
	trust, err := s.issuers.Trust(candidate.Issuer)
	return candidate, trust, err
}

// find returns the service account whose token it is.
func (s *serviceAccounts) find(token oidc.Token, facts map[string]string) (ServiceAccount, error) {
	const class = "no match"
	sub, _ := token.Claims.String("sub") // what is no string reads as empty, which no service account has
	facts[attrSub] = asFact(sub)
	account, ok := s.byIssuer[token.Issuer][sub]
	if !ok {
		return ServiceAccount{}, &oidc.Error{Reason: class, Err: errors.New("no service account has this sub")}
	}
	for _, name := range slices.Sorted(maps.Keys(account.Claims)) {
		if got, _ := token.Claims.String(name); got != account.Claims[name] {
			return ServiceAccount{}, &oidc.Error{Reason: class, Err: fmt.Errorf("claim %s is not that of service account %s", name, account.Name)}
		}
	}
	return account, nil
}

// rejected is the answer to an identity token that was not accepted.
func (z *zeroTouch) rejected(ctx context.Context, err error, facts map[string]string) error {
	e, ok := errors.AsType[*oidc.Error](err)
	if !ok {
		return inTrouble(err, facts) // perhaps the caller has hung up
	}
	facts["class"] = string(e.Reason)
	if e.Reason != oidc.Unavailable {
		return z.refuse(keywright.RemoteAddr(ctx), "", err, facts)
	}
	return &keywright.Error{
		Code: keywright.CodeUnavailable, Detail: "the issuer's keys cannot be had at the moment",
		Header: limit.RetryAfter(e.RetryAfter), Err: err, Attrs: facts,
	}
}

// markerID names the record that the token was used: by the issuer and the
// token's own id or, where it has none, by what was signed. Its text would not
// do, which for some algorithms can be signed in more than one way.
func markerID(t oidc.Token) string {
	if t.ID == "" {
		return store.ID("digest", t.Issuer, hex.EncodeToString(t.Digest[:]))
	}
	return store.ID("jti", t.Issuer, t.ID)
}
