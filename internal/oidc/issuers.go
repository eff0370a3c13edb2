package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// MaxIssuers bounds how many issuers one host trusts: each costs memory for
// its keys, and outgoing requests.
const MaxIssuers = 1000

// DefaultMaxLifetime is the longest life of an identity token: a job of HCP
// Terraform may run for a day.
const DefaultMaxLifetime = 24 * time.Hour

// Settings are what an operator may say about an issuer.
type Settings struct {
	Algorithms  []string      // RS256, ES256, EdDSA; none: RS256
	JWKS        []byte        // the issuer's keys, for hosts that cannot reach it; nil: fetched
	JWKSURL     string        // where to fetch them; empty: the issuer's discovery document tells
	MaxLifetime time.Duration // of a token; 0: DefaultMaxLifetime
}

// Issuers makes a Trust for each configured issuer and keeps its keys. It is
// safe for concurrent use.
type Issuers struct {
	client   *egress.Client
	now      func() time.Time
	settings map[string]Settings // by issuer; only read
	rejected func(issuer string, err error)

	mu    sync.Mutex
	trust map[string]Trust // guarded by mu
}

// NewIssuers checks the settings. It does no I/O. rejected is told of published
// keys that cannot be used.
func NewIssuers(client *egress.Client, now func() time.Time, settings map[string]Settings, rejected func(issuer string, err error)) (*Issuers, error) {
	s := &Issuers{client: client, now: now, settings: settings, rejected: rejected, trust: make(map[string]Trust)}
	for issuer := range settings {
		if err := s.Check(issuer); err != nil {
			return nil, err
		}
		if _, err := s.build(issuer); err != nil {
			return nil, fmt.Errorf("issuer %s: %w", issuer, err)
		}
	}
	return s, nil
}

// Check reports why issuer cannot be one: it must be the URL that tokens carry,
// and one that may be fetched from.
func (s *Issuers) Check(issuer string) error {
	if err := checkIssuer(issuer); err != nil {
		return fmt.Errorf("issuer %q: %w", clip(issuer), err)
	}
	if s.settings[issuer].JWKS != nil {
		return nil // never fetched from
	}
	if err := s.client.CheckURL(issuer); err != nil {
		return fmt.Errorf("issuer %q: %w", clip(issuer), err)
	}
	return nil
}

func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Opaque != "":
		return errors.New("want https://host[:port][/path]")
	case len(issuer) > 255:
		return errors.New("longer than 255 bytes")
	case u.User != nil, strings.ContainsAny(issuer, "?#"):
		return errors.New("has user information, a query or a fragment")
	case u.Host != strings.ToLower(u.Host), !strings.HasPrefix(issuer, u.Scheme):
		return errors.New("scheme and host must be in lower case, as in tokens")
	case strings.Contains(u.Path, "//"), slices.Contains(strings.Split(u.Path, "/"), ".."), strings.Contains(issuer, "%"):
		return errors.New("the path has empty segments, dots or escapes")
	case strings.ContainsFunc(issuer, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("has characters other than printable ASCII")
	}
	return nil
}

// Trust returns what is known of issuer, which the caller knows to be configured.
func (s *Issuers) Trust(issuer string) (Trust, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.trust[issuer]; ok {
		return t, nil
	}
	if len(s.trust) >= MaxIssuers {
		return Trust{}, fmt.Errorf("more than %d issuers", MaxIssuers)
	}
	t, err := s.build(issuer)
	if err == nil {
		s.trust[issuer] = t
	}
	return t, err
}

// Keep forgets the keys of all issuers but those that are still wanted.
func (s *Issuers) Keep(wanted func(issuer string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for issuer := range s.trust {
		if !wanted(issuer) {
			delete(s.trust, issuer)
		}
	}
}

func (s *Issuers) build(issuer string) (Trust, error) {
	c := s.settings[issuer]
	t := Trust{Issuer: issuer, MaxLifetime: c.MaxLifetime}
	if t.MaxLifetime == 0 {
		t.MaxLifetime = DefaultMaxLifetime
	}
	if t.MaxLifetime < 0 {
		return Trust{}, errors.New("a negative MaxLifetime")
	}
	var err error
	if t.Algorithms, err = algorithms(c.Algorithms); err != nil {
		return Trust{}, err
	}
	if c.JWKS != nil {
		t.Keys, err = egress.StaticKeySet(c.JWKS)
		return t, err
	}
	if c.JWKSURL != "" {
		if err := s.client.CheckURL(c.JWKSURL); err != nil {
			return Trust{}, err
		}
	}
	t.Keys = egress.NewKeySet(s.now, func(ctx context.Context) (egress.Document, error) { return s.fetch(ctx, issuer, c.JWKSURL) })
	t.Keys.Rejected = func(err error) { s.rejected(issuer, err) }
	return t, nil
}

// fetch leaves out for how long the issuer lets its keys be used: it is the same
// hour for all, whatever their web servers add.
func (s *Issuers) fetch(ctx context.Context, issuer, jwksURL string) (egress.Document, error) {
	if jwksURL == "" {
		var err error
		if jwksURL, err = s.client.Discover(ctx, issuer); err != nil {
			return egress.Document{}, err
		}
	}
	doc, err := s.client.JWKS(ctx, jwksURL)
	return egress.Document{Text: doc.Text}, err
}

// algorithms spells out the names that headers use.
func algorithms(configured []string) ([]string, error) {
	if len(configured) == 0 {
		return []string{"RS256"}, nil
	}
	var names []string
	for _, name := range configured {
		switch name {
		case "RS256", "ES256":
			names = append(names, name)
		case "EdDSA", "Ed25519": // RFC 8037 and RFC 9864 name the same
			names = append(names, "EdDSA", "Ed25519")
		default:
			return nil, fmt.Errorf("algorithm %q: want RS256, ES256 or EdDSA", clip(name))
		}
	}
	return names, nil
}

func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
