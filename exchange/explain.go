package exchange

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/oidc"
	"github.com/keywright/keywright/internal/strictjson"
)

// A Report tells what every publisher makes of a token's claims.
type Report struct {
	// Outcome is what the token endpoint would do: "issue", "ambiguous" or "refuse".
	Outcome    string            `json:"outcome"`
	Publisher  string            `json:"publisher,omitempty"` // by which a key would be issued
	Verified   string            `json:"verified,omitempty"`  // of a token: "yes", or why not; empty: only claims were given
	Token      []Difference      `json:"token"`               // what is wrong whatever the publisher
	Publishers []PublisherReport `json:"publishers"`          // the nearest first
	Omitted    int               `json:"omitted,omitempty"`   // publishers that were left out, none of which matches
}

// A PublisherReport is what one publisher wants and a token does not have.
type PublisherReport struct {
	ID          string       `json:"id"`
	Matches     bool         `json:"matches"`
	ReportOnly  bool         `json:"report_only,omitempty"`
	Dormant     string       `json:"dormant,omitempty"` // why it obtains nothing even for what matches
	Differences []Difference `json:"differences"`
}

// Explain tells for every publisher which claim was wanted and which was got,
// as the token endpoint would decide it at this moment. It is for a host's
// tests: claims are those of a real job, such as a debugging step has printed.
// Audience, times and signature are not looked at. An error means that the
// claims are not one JSON object or that a publisher is not valid.
func Explain(claims json.RawMessage, publishers ...Publisher) (Report, error) {
	return explainAt(time.Now(), claims, publishers)
}

func explainAt(now time.Time, claims json.RawMessage, publishers []Publisher) (Report, error) {
	members, err := strictjson.Object(claims)
	if err != nil {
		return Report{}, fmt.Errorf("exchange: claims: %w", err)
	}
	s := newSnapshot(0)
	for _, p := range publishers {
		if err := p.Validate(now); err != nil {
			return Report{}, fmt.Errorf("exchange: %w", err)
		}
		r := newRule(p)
		if s.rules[p.ID] != nil {
			return Report{}, fmt.Errorf("exchange: publisher %q: twice", p.ID)
		}
		if err := s.check(r); err != nil {
			return Report{}, fmt.Errorf("exchange: publisher %q: %w", p.ID, err)
		}
		s.add(r)
	}
	return s.explain(members, now), nil
}

// maxExplained bounds the publishers in a report of the admin API.
const maxExplained = 100

// explain compares the claims with each publisher.
func (s *snapshot) explain(members strictjson.Members, now time.Time) Report {
	report := Report{Outcome: "refuse", Token: []Difference{}, Publishers: []PublisherReport{}}
	iss, _ := members.String("iss")
	for _, r := range s.rules {
		c := claimSet{members, r.preset}
		pr := PublisherReport{ID: r.ID, ReportOnly: r.ReportOnly, Dormant: r.dormant(c, now), Differences: []Difference{}}
		if r.issuer != iss {
			pr.Differences = append(pr.Differences, Difference{Claim: "iss", Want: []string{r.issuer}, Got: c.got("iss")})
		}
		pr.Differences = append(pr.Differences, r.differences(c)...)
		pr.Matches = len(pr.Differences) == 0
		report.Publishers = append(report.Publishers, pr)
	}
	slices.SortFunc(report.Publishers, func(a, b PublisherReport) int {
		return cmp.Or(cmp.Compare(len(a.Differences), len(b.Differences)), cmp.Compare(a.ID, b.ID))
	})
	x := s.indexes[iss]
	switch {
	case x == nil:
		report.Token = append(report.Token, Difference{Claim: "iss", Want: []string{"(an issuer that a publisher names)"}, Got: claimSet{members, &generic}.got("iss")})
		return report
	case s.issuers[iss].Disabled:
		report.Token = append(report.Token, Difference{Claim: "iss", Want: []string{"(an issuer that is not disabled)"}, Got: iss})
		return report
	}
	switch d := x.decide(claimSet{members, x.preset}, now); {
	case d.ambiguous != nil:
		report.Outcome = "ambiguous"
	case d.rule != nil:
		report.Outcome, report.Publisher = "issue", d.rule.ID
	}
	return report
}

// Explain is like the function [Explain] for the publishers of h, and looks at
// audience and jti as well. It issues nothing and marks nothing as used.
func (h *Handler) Explain(ctx context.Context, claims json.RawMessage) (Report, error) {
	members, err := strictjson.Object(claims)
	if err != nil {
		return Report{}, fmt.Errorf("exchange: claims: %w", err)
	}
	s, err := h.registry.load(ctx)
	if err != nil {
		return Report{}, err
	}
	report := s.explain(members, h.host.Hooks.Now())
	iss, _ := members.String("iss")
	needID := s.indexes[iss] != nil && !s.indexes[iss].preset.noTokenID
	report.Token = append(report.Token, h.tokenDifferences(claimSet{members, &generic}, needID)...)
	if len(report.Token) > 0 {
		report.Outcome, report.Publisher = "refuse", ""
	}
	if n := len(report.Publishers) - maxExplained; n > 0 {
		report.Publishers, report.Omitted = report.Publishers[:maxExplained], n
	}
	return report, nil
}

// tokenDifferences tells what would be refused whatever the publisher.
func (h *Handler) tokenDifferences(c claimSet, needID bool) []Difference {
	var all []Difference
	wrong := func(claim, want string) {
		all = append(all, Difference{Claim: claim, Want: []string{want}, Got: c.got(claim)})
	}
	if aud, err := c.Strings("aud"); err != nil || len(aud) != 1 || aud[0] != h.audience {
		wrong("aud", h.audience)
	}
	if id, err := c.String("jti"); needID && (err != nil || id == "" || len(id) > oidc.MaxTokenID) {
		wrong("jti", "(1 to "+strconv.Itoa(oidc.MaxTokenID)+" bytes)")
	}
	return all
}

// ExplainToken is like Explain for a whole token, which it also verifies. One
// that has expired is explained too: Verified says so.
func (h *Handler) ExplainToken(ctx context.Context, compact string) (Report, error) {
	parts := strings.Split(strings.TrimSpace(compact), ".")
	if len(parts) != 3 {
		return Report{}, errors.New("exchange: a token has three parts with dots between")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Report{}, errors.New("exchange: the middle part of the token is not base64url")
	}
	report, err := h.Explain(ctx, claims)
	if err != nil {
		return Report{}, err
	}
	report.Verified = "yes"
	if _, err := h.verify(ctx, strings.TrimSpace(compact)); err != nil {
		report.Verified, report.Outcome, report.Publisher = err.Error(), "refuse", ""
	}
	return report, nil
}
