package exchange

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/internal/oidc"
	"github.com/keywright/keywright/store"
)

// An identity is a job whose token has been verified.
type identity struct {
	token    oidc.Token
	preset   *preset
	facts    map[string]string // for the audit
	reported bool              // report-only publishers have been told of
}

func (id *identity) claims() claimSet { return claimSet{id.token.Claims.Members, id.preset} }

// marker is the record that the token was used. It is named by the issuer and
// the token's own id or, where the provider has none, by what was signed: not by
// its text, which for some algorithms can be signed in more than one way.
func (id *identity) marker() store.Record {
	name := store.ID("jti", id.token.Issuer, id.token.ID)
	if id.token.ID == "" {
		name = store.ID("digest", id.token.Issuer, hex.EncodeToString(id.token.Digest[:]))
	}
	return store.Record{Kind: KindToken, ID: name, Expires: id.token.Times.Expires.Add(oidc.Skew + time.Minute), Data: []byte("{}")}
}

// verify finds out whose job sent the token. Of an issuer that no publisher
// names, or that has been disabled, nothing is fetched.
func (h *Handler) verify(ctx context.Context, compact string) (*identity, error) {
	candidate, err := oidc.Read(compact)
	digest := candidate.Digest()
	id := &identity{facts: map[string]string{"token": hex.EncodeToString(digest[:])}}
	if err != nil {
		return id, h.refusal(err, id.facts)
	}
	id.facts["issuer"] = plain(candidate.Issuer)
	s, err := h.registry.load(ctx)
	if err != nil {
		return id, err
	}
	x := s.indexes[candidate.Issuer]
	if err := s.usable(candidate.Issuer); err != nil {
		return id, h.refusal(err, id.facts)
	}
	trust, err := h.issuers.Trust(candidate.Issuer)
	if err != nil {
		return id, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	id.preset = x.preset
	id.token, err = trust.Verify(ctx, candidate, h.audience, h.host.Hooks.Now(), !x.preset.noTokenID)
	if err != nil {
		return id, h.refusal(err, id.facts)
	}
	c := id.claims()
	for fact, claim := range map[string]string{"sub": "sub", "run": id.preset.run} {
		if v := c.values(claim); len(v) > 0 {
			id.facts[fact] = plain(v[0])
		}
	}
	return id, nil
}

// usable reports why tokens of issuer are refused before they are looked at.
func (s *snapshot) usable(issuer string) error {
	switch {
	case s.indexes[issuer] == nil:
		return &oidc.Error{Reason: oidc.Issuer, Err: errors.New("no publisher trusts it")}
	case s.issuers[issuer].Disabled:
		return &oidc.Error{Reason: oidc.Issuer, Err: errors.New("it has been disabled")}
	}
	return nil
}

// The texts that clients read. rsconnect-python tells three cases apart by
// words: "ambiguous", "verif", and neither. So the first two texts have their
// word, and no other text of an invalid_grant has any of the two.
const (
	textAmbiguous  = "ambiguous: publishers with different principals match the identity token"
	textUnverified = "could not verify the identity token: its signature, time or issuer"
	textNoMatch    = "no trusted publisher matches the identity token"
	textUsed       = "the identity token has been used: each one obtains one key"
	textNoID       = "the identity token has no usable jti"
)

// refusal is the answer to a token that was not accepted.
func (h *Handler) refusal(err error, facts map[string]string) error {
	e, ok := errors.AsType[*oidc.Error](err)
	if !ok {
		return &keywright.Error{Code: keywright.CodeUnavailable, Err: err, Attrs: facts} // the caller has hung up
	}
	answer := &keywright.Error{Code: keywright.CodeInvalidGrant, Detail: textUnverified, Err: err, Attrs: withFact(facts, "class", string(e.Reason))}
	switch e.Reason {
	case oidc.Unavailable:
		answer.Code, answer.Detail = keywright.CodeUnavailable, "the issuer's keys cannot be had at the moment"
		answer.Header = limit.RetryAfter(e.RetryAfter)
	case oidc.Audience:
		answer.Detail = h.textAudience()
	case oidc.TokenID:
		answer.Detail = textNoID
	}
	return answer
}

// textAudience names the audience, unless that has one of the two words in it or
// would travel changed: what RFC 6749 keeps out of a description is left out of
// it, and what remains could be one of the words.
func (h *Handler) textAudience() string {
	named := "the identity token is not for this server: its audience must be " + h.audience + " alone"
	low, odd := strings.ToLower(named), func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
	if strings.Contains(low, "verif") || strings.Contains(low, "ambiguous") || strings.ContainsFunc(named, odd) {
		return "the identity token is not for this server: see identity_token_audience in its metadata"
	}
	return named
}

func withFact(facts map[string]string, name, value string) map[string]string {
	all := maps.Clone(facts)
	all[name] = value
	return all
}

// refusedBy are the facts of a refusal that the matching publisher is the reason for.
func (id *identity) refusedBy(r *rule, class string) map[string]string {
	facts := withFact(id.facts, attrPublisher, r.ID)
	facts["class"] = class
	return facts
}

// plain is a claim's value for logs: it was chosen by a stranger.
func plain(s string) string { return clip(visible(s)) }

// visible drops what ends lines or cannot be seen.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
}

// used is the answer to a token that has obtained its key.
func (id *identity) used() error {
	return &keywright.Error{Code: keywright.CodeInvalidGrant, Detail: textUsed, Err: errUsed, Attrs: withFact(id.facts, "class", "used")}
}

var errUsed = errors.New("the token, or another with its jti, was used before")

// noMatch is the one answer for every way not to match: who asks must not learn
// which of their claims was right. The audit learns all of it.
func (id *identity) noMatch(class string, near []*rule) error {
	cause := make([]string, 0, 3)
	for _, r := range near[:min(len(near), 3)] {
		cause = append(cause, "publisher "+r.ID+": "+describe(r.differences(id.claims())))
	}
	if len(near) > 3 {
		cause = append(cause, fmt.Sprintf("and %d more", len(near)-3))
	}
	if len(cause) == 0 {
		cause = append(cause, "no publisher for this tenant")
	}
	return &keywright.Error{Code: keywright.CodeInvalidGrant, Detail: textNoMatch, Err: errors.New(strings.Join(cause, "; ")), Attrs: withFact(id.facts, "class", class)}
}

func describe(differences []Difference) string {
	parts := make([]string, len(differences))
	for i, d := range differences {
		parts[i] = fmt.Sprintf("%s: want %s, got %s", d.Claim, strings.Join(d.Want, " or "), plain(d.Got))
	}
	if len(parts) == 0 {
		return "does not name a subject, is disabled or no longer pending"
	}
	return strings.Join(parts, ", ")
}
