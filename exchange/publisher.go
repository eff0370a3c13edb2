package exchange

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Publisher trusts jobs whose identity tokens say certain things, and names
// the principal that they act as.
//
// A token matches when it comes from Issuer and meets every condition of Claims
// and of Patterns. Conditions are about discrete claims, and about the ids that
// outlive a renamed or re-registered name, rather than about sub, whose form
// providers change.
type Publisher struct {
	// ID names the publisher: 1 to 64 characters of a-z, 0-9, "-", "_" and ".".
	ID string

	// Provider says whose tokens these are, and with that what must be bound,
	// what is refused unless it is named, and how claims are compared. Required.
	Provider Provider

	// Issuer is the claim iss, byte for byte. Empty: the provider's own, where
	// it has one for all.
	Issuer string

	// Claims are values that a claim must have, each one of a list. Values are
	// compared byte for byte, except where the provider's own names have no case.
	Claims map[string]Values

	// Patterns are like Claims, with "*" for one or more characters within one
	// segment: it never crosses "/" or ":". Not every claim may have one.
	Patterns map[string]Values

	// Subject is who the job acts as; or SubjectClaim names the claim that
	// tells, for hosts whose accounts are those of the issuer (identity
	// federation). One of them is required.
	Subject      string
	SubjectClaim string

	Scopes   []string      // of the key; required
	Targets  []string      // audiences and resources that the key is for; none: it is not limited to any
	Lifetime time.Duration // of the key, at most an hour; 0: 15 minutes

	// PendingUntil is for a repository that does not exist yet, so that its id
	// is not known: the first token that matches pins the ids, once. Zero: the
	// ids are known. At most 90 days ahead.
	PendingUntil time.Time

	Disabled    bool   // matches nothing, and all its keys are refused
	ReportOnly  bool   // matches are reported as audit events, and obtain nothing
	Description string // for people
}

// A Values is a list of which one is meant. In JSON one value may stand alone.
type Values []string

// Limits on a publisher.
const (
	maxConditions   = 32
	maxValues       = 100
	maxValue        = 512
	maxScopes       = 100
	maxLifetime     = time.Hour
	defaultLifetime = 15 * time.Minute
	maxPending      = 90 * 24 * time.Hour
)

// reserved are claims that the verification of a token decides.
var reserved = []string{"iss", "aud", "exp", "iat", "nbf", "jti"}

// issuer is Issuer or the provider's own.
func (p Publisher) issuer() string {
	if p.Issuer == "" {
		return presets[p.Provider].issuer
	}
	return p.Issuer
}

func (p Publisher) lifetime() time.Duration {
	if p.Lifetime == 0 {
		return defaultLifetime
	}
	return p.Lifetime
}

// names reports whether p has a condition on claim.
func (p Publisher) names(claim string) bool {
	return len(p.Claims[claim]) > 0 || len(p.Patterns[claim]) > 0
}

// lapsed reports whether p has waited for its first token in vain.
func (p Publisher) lapsed(now time.Time) bool {
	return !p.PendingUntil.IsZero() && !now.Before(p.PendingUntil)
}

// clone shares nothing with p.
func (p Publisher) clone() Publisher {
	p.Claims, p.Patterns = cloneConditions(p.Claims), cloneConditions(p.Patterns)
	p.Scopes, p.Targets = slices.Clone(p.Scopes), slices.Clone(p.Targets)
	return p
}

func cloneConditions(m map[string]Values) map[string]Values {
	c := maps.Clone(m)
	for name, values := range c {
		c[name] = slices.Clone(values)
	}
	return c
}

// Validate reports what is wrong with p, all of it at once: what a host's own
// test of its configuration wants to know. Whether the issuer can be reached,
// and whether p overlaps with others, is not looked at.
func (p Publisher) Validate(now time.Time) error {
	var wrong []error
	no := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !validID(p.ID) {
		no("id: want 1 to 64 characters of a-z, 0-9, \"-\", \"_\" and \".\"")
	}
	switch {
	case (p.Subject == "") == (p.SubjectClaim == ""):
		no("subject: want either a subject or a subject_claim")
	case len(p.Subject) > maxValue || len(p.SubjectClaim) > maxValue || !printable(p.Subject+p.SubjectClaim):
		no("subject: want up to %d bytes without control characters", maxValue)
	}
	if p.Lifetime < 0 || p.Lifetime > maxLifetime || p.Lifetime != 0 && p.Lifetime < time.Second {
		no("lifetime: want 1s to %v, or 0 for %v", maxLifetime, defaultLifetime)
	}
	if len(p.Scopes) == 0 || len(p.Scopes) > maxScopes {
		no("scopes: want 1 to %d: without one the key could do nothing", maxScopes)
	}
	for _, s := range p.Scopes {
		if !isScope(s) {
			no("scopes: %q is not a scope (RFC 6749, section 3.3)", s)
		}
	}
	for _, t := range p.Targets {
		if t == "" || len(t) > maxValue || !printable(t) || strings.Contains(t, " ") {
			no("targets: %q: want up to %d bytes without spaces", t, maxValue)
		}
	}
	if len(p.Targets) > maxScopes {
		no("targets: want up to %d", maxScopes)
	}
	if len(p.Description) > 1000 {
		no("description: longer than 1000 bytes")
	}
	if !p.PendingUntil.IsZero() && p.PendingUntil.After(now.Add(maxPending)) {
		no("pending_until: want up to %d days ahead", maxPending/(24*time.Hour))
	}
	wrong = append(wrong, p.checkConditions()...)
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("publisher %q: %w", clip(p.ID), err)
	}
	return nil
}

func (p Publisher) checkConditions() (wrong []error) {
	no := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	set := presets[p.Provider]
	if set == nil {
		return []error{fmt.Errorf("provider: %q is none of %s", clip(string(p.Provider)), strings.Join(providerNames(), ", "))}
	}
	if len(p.Claims)+len(p.Patterns) > maxConditions {
		no("claims: more than %d conditions", maxConditions)
	}
	for _, claim := range slices.Sorted(maps.Keys(p.Claims)) {
		switch {
		case slices.Contains(reserved, claim):
			no("claims: %s is not a condition: it is checked for every token", claim)
		case len(p.Patterns[claim]) > 0:
			no("claims: %s has a pattern as well: list all values as patterns", claim)
		}
		wrong = append(wrong, checkValues(claim, p.Claims[claim], false)...)
	}
	for _, claim := range slices.Sorted(maps.Keys(p.Patterns)) {
		switch {
		case slices.Contains(reserved, claim):
			no("patterns: %s is not a condition: it is checked for every token", claim)
		case !set.mayHavePattern(claim):
			no("patterns: %s is compared whole: write its values under claims", claim)
		}
		wrong = append(wrong, checkValues(claim, p.Patterns[claim], true)...)
	}
	return append(wrong, set.check(p)...)
}

func checkValues(claim string, values Values, patterns bool) (wrong []error) {
	if claim == "" || len(claim) > maxValue || !printable(claim) {
		return []error{errors.New("claims: a claim without a good name")}
	}
	if len(values) == 0 || len(values) > maxValues {
		wrong = append(wrong, fmt.Errorf("claims: %s: want 1 to %d values", claim, maxValues))
	}
	for _, v := range values {
		switch {
		case v == "":
			wrong = append(wrong, fmt.Errorf("claims: %s: an empty value matches nothing", claim))
		case len(v) > maxValue || !printable(v):
			wrong = append(wrong, fmt.Errorf("claims: %s: want up to %d bytes without control characters", claim, maxValue))
		case patterns:
			if err := checkGlob(v); err != nil {
				wrong = append(wrong, fmt.Errorf("patterns: %s: %w", claim, err))
			}
		case strings.Contains(v, "*"):
			// Somebody who means a pattern would get a publisher that never matches.
			wrong = append(wrong, fmt.Errorf("claims: %s: %q has a \"*\": write it under patterns", claim, v))
		}
	}
	return wrong
}

func validID(id string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return id != "" && len(id) <= 64 && id != "." && id != ".." // which routers take for folders
}

// isScope is scope-token of RFC 6749, section 3.3.
func isScope(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxValue
}

func printable(s string) bool { return visible(s) == s }

// clip keeps a hostile text from filling a log line.
func clip(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
