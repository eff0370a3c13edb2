package exchange

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// The Attrs of a Principal that come from here and not from a claim.
const (
	attrPublisher = "publisher" // the id
	attrTargets   = "targets"   // with spaces between; absent: the key is not limited to any
	attrToken     = "token"     // SHA-256 of what the issuer has signed, in hexadecimal
)

// A decision is what the publishers of one issuer make of a token.
type decision struct {
	rule      *rule   // the one by which a key is issued; nil: none
	ambiguous []*rule // instead of one
	reporting []*rule // matched, and would have had a say
	near      []*rule // of the same tenant, not matched
}

// decide compares a token with all publishers that it could match.
func (x *index) decide(c claimSet, now time.Time) decision {
	var d decision
	var matching []*rule
	x.candidates(c, func(r *rule) {
		switch {
		case r.dormant(c, now) != "", !r.matches(c):
			d.near = append(d.near, r)
		case r.ReportOnly:
			d.reporting = append(d.reporting, r)
		default:
			matching = append(matching, r)
		}
	})
	d.rule, d.ambiguous = choose(c, matching)
	return d
}

// choose returns the one publisher that counts. Those of different principals
// are ambiguous; of one principal's, the most specific environment wins; where
// that leaves several, they must hand out the same key.
func choose(c claimSet, matching []*rule) (*rule, []*rule) {
	if len(matching) == 0 {
		return nil, nil
	}
	first := matching[0]
	for _, r := range matching[1:] {
		if r.subject(c) != first.subject(c) || (r.SubjectClaim == "") != (first.SubjectClaim == "") {
			return nil, matching
		}
	}
	most := slices.MaxFunc(matching, func(a, b *rule) int { return cmp.Compare(a.specificity(), b.specificity()) }).specificity()
	top := slices.DeleteFunc(slices.Clone(matching), func(r *rule) bool { return r.specificity() < most })
	slices.SortFunc(top, func(a, b *rule) int {
		if a.PendingUntil.IsZero() != b.PendingUntil.IsZero() {
			return cmp.Compare(a.PendingUntil.Unix(), b.PendingUntil.Unix()) // one that knows its ids first
		}
		return byID(a, b)
	})
	for _, r := range top[1:] {
		if !r.sameGrant(top[0]) {
			return nil, top
		}
	}
	return top[0], nil
}

// trade matches the identity and issues the key, once.
func (h *Handler) trade(ctx context.Context, id *identity, req tokenRequest) (tokenResponse, error) {
	s, err := h.registry.load(ctx)
	if err != nil {
		return tokenResponse{}, err
	}
	if err := s.usable(id.token.Issuer); err != nil {
		return tokenResponse{}, h.refusal(err, id.facts)
	}
	now := h.host.Hooks.Now()
	d := s.indexes[id.token.Issuer].decide(id.claims(), now)
	h.report(ctx, id, d.reporting)
	switch {
	case d.ambiguous != nil:
		return tokenResponse{}, &keywright.Error{
			Code: keywright.CodeInvalidGrant, Detail: textAmbiguous,
			Err: errors.New("publishers " + ids(d.ambiguous)), Attrs: withFact(id.facts, "class", "ambiguous"),
		}
	case d.rule == nil:
		return tokenResponse{}, id.noMatch("no match", d.near)
	}
	g, err := h.grant(d.rule, id, req, now)
	if err != nil {
		return tokenResponse{}, err
	}
	if err := h.confirm(ctx, id, d.rule, g.spec); err != nil {
		return tokenResponse{}, err
	}
	return h.issue(ctx, s, d.rule, id, g)
}

func ids(rules []*rule) string {
	names := make([]string, len(rules))
	for i, r := range rules {
		names[i] = r.ID
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// report tells of publishers that only report.
func (h *Handler) report(ctx context.Context, id *identity, rules []*rule) {
	if id.reported {
		return // a repeated try
	}
	id.reported = true
	for _, r := range rules {
		h.host.Hooks.Audit(ctx, keywright.Event{
			Time: h.host.Hooks.Now(), Name: "exchange.would_issue", Target: r.ID, Remote: keywright.RemoteAddr(ctx),
			Attrs: withFact(id.facts, attrPublisher, r.ID),
		})
	}
}

// A grant is the key to be, and what the answer says of it.
type grant struct {
	spec     keywright.KeySpec
	resp     tokenResponse
	lifetime time.Duration
}

// grant narrows what the publisher may have to what was asked for.
func (h *Handler) grant(r *rule, id *identity, req tokenRequest, now time.Time) (grant, error) {
	scopes := r.Scopes
	if len(req.scopes) > 0 {
		scopes = slices.DeleteFunc(slices.Clone(r.Scopes), func(s string) bool { return !slices.Contains(req.scopes, s) })
	}
	if len(scopes) == 0 {
		return grant{}, &keywright.Error{Code: keywright.CodeInvalidScope, Attrs: id.refusedBy(r, "scope")}
	}
	targets, all, ok := h.narrow(r.Targets, req.targets)
	if !ok {
		return grant{}, &keywright.Error{Code: keywright.CodeInvalidTarget, Attrs: id.refusedBy(r, "target")}
	}
	attrs := map[string]string{attrPublisher: r.ID, attrToken: id.facts["token"]}
	if len(r.Targets) > 0 {
		attrs[attrTargets] = strings.Join(targets, " ")
	}
	c := id.claims()
	for _, claim := range r.preset.attrs {
		// As it is or not at all: a host may decide by it.
		if v := c.values(claim); len(v) > 0 && len(v[0]) <= maxValue && visible(v[0]) == v[0] {
			attrs[claim] = v[0]
		}
	}
	g := grant{lifetime: r.lifetime(), resp: tokenResponse{
		IssuedTokenType: req.requestedType, TokenType: "Bearer", ExpiresIn: int64(r.lifetime() / time.Second), Scope: strings.Join(scopes, " "),
	}}
	if req.requestedType == typeConnectKey {
		g.resp.TokenType = "Key"
	}
	switch {
	case !all && len(targets) > 0:
		g.resp.Audience = targets
	case !all:
		g.resp.Audience = []string{h.audience} // it was asked for as well
	}
	g.spec = keywright.KeySpec{
		Kind: h.kind, Method: keywright.MethodExchange, Issuer: h.base, Subject: r.subject(c), Scopes: scopes, Attrs: attrs,
		Description: "exchanged by publisher " + r.ID, Expires: now.Add(g.lifetime),
	}
	if r.SubjectClaim != "" {
		g.spec.Issuer = id.token.Issuer
	}
	return g, nil
}

// confirm asks the host whether an account that a claim has named exists.
func (h *Handler) confirm(ctx context.Context, id *identity, r *rule, spec keywright.KeySpec) error {
	if r.SubjectClaim == "" {
		return nil
	}
	if len(spec.Subject) > maxValue || !printable(spec.Subject) {
		return id.noMatch("no account", nil)
	}
	exists, err := h.account(ctx, keywright.Principal{
		Method: spec.Method, Issuer: spec.Issuer, Subject: spec.Subject, Scopes: slices.Clone(spec.Scopes),
		Expires: spec.Expires, Attrs: maps.Clone(spec.Attrs), Claims: bytes.Clone(id.token.Claims.JSON()),
	})
	switch {
	case err != nil:
		return &keywright.Error{Code: keywright.CodeUnavailable, Err: fmt.Errorf("exchange: Config.Account: %w", err), Attrs: id.facts}
	case !exists:
		e := keywright.AsError(id.noMatch("no account", nil))
		e.Err = errors.New("the host has no account for the subject, or does not let it in so")
		return e
	}
	return nil
}

// issue writes the key, the marker of the token's use, the event, and that the
// publisher has not changed since it was read, in one Commit.
func (h *Handler) issue(ctx context.Context, s *snapshot, r *rule, id *identity, g grant) (tokenResponse, error) {
	st, err := s.stand(r, id.claims())
	if err != nil {
		return tokenResponse{}, err
	}
	g.spec.Parents = []keywright.Parent{{Key: r.key(), Instance: st.instance}, {Key: issuerKey(r.issuer)}}
	m, err := h.host.Keys.Mint(g.spec)
	if err != nil {
		return tokenResponse{}, err
	}
	marker := id.marker()
	ops := append([]store.Op{store.Insert(marker), m.Op}, st.ops...)
	facts := withFact(id.facts, attrPublisher, r.ID)
	facts["subject"], facts["scope"] = plain(g.spec.Subject), g.resp.Scope
	for _, claim := range r.preset.attrs {
		if v, ok := g.spec.Attrs[claim]; ok {
			facts["claim."+claim] = plain(v)
		}
	}
	if id.token.ID != "" {
		facts["jti"] = plain(id.token.ID)
	}
	e := keywright.Event{Name: st.event, Actor: "publisher-" + r.ID, Target: m.ID, Attrs: facts}
	if err := h.host.Commit(ctx, e, ops...); err != nil {
		if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Key() == marker.Key() && errors.Is(op.Err, store.ErrExists) {
			return tokenResponse{}, id.used()
		}
		return tokenResponse{}, err
	}
	g.resp.AccessToken = m.Text
	return g.resp, nil
}
