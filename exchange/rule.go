package exchange

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A condition is one claim of a publisher.
type condition struct {
	claim  string
	exact  []string // in lower case where fold is set
	globs  []string
	folded bool
}

func (c *condition) meets(values []string) bool {
	for _, v := range values {
		if c.folded {
			v = lower(v)
		}
		if slices.Contains(c.exact, v) || slices.ContainsFunc(c.globs, func(g string) bool { return matchGlob(g, v) }) {
			return true
		}
	}
	return false
}

// lower is for names without case, which are ASCII.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// A rule is a publisher made ready to be compared with tokens.
type rule struct {
	Publisher
	preset     *preset
	issuer     string
	conditions []condition
	lifted     map[string]bool // refusals and equalities that the publisher lifts, by claim

	static   bool   // of the configuration, not of the store
	version  int64  // of its record; 0: it has none yet
	instance string // of its record

	suspended bool // the record of a configured one says so to its keys
}

// newRule expects a valid publisher.
func newRule(p Publisher) *rule {
	p = p.clone()
	r := &rule{Publisher: p, preset: presets[p.Provider], issuer: p.issuer(), lifted: make(map[string]bool)}
	add := func(claim string, exact, globs Values) {
		c := condition{claim: claim, exact: exact, globs: globs, folded: slices.Contains(r.preset.folded, claim)}
		if c.folded {
			c.exact, c.globs = mapValues(c.exact), mapValues(c.globs)
		}
		r.conditions = append(r.conditions, c)
	}
	for _, claim := range slices.Sorted(maps.Keys(p.Claims)) {
		add(claim, p.Claims[claim], nil)
		implied := r.preset.implies[claim]
		for _, other := range slices.Sorted(maps.Keys(implied)) {
			add(other, Values{implied[other]}, nil)
		}
	}
	if p.SubjectClaim != "" && len(p.Claims[p.SubjectClaim]) == 0 {
		for other, value := range r.preset.implies[p.SubjectClaim] {
			add(other, Values{value}, nil)
		}
	}
	for _, claim := range slices.Sorted(maps.Keys(p.Patterns)) {
		add(claim, nil, p.Patterns[claim])
	}
	for _, f := range r.preset.refused {
		r.lifted[f.claim] = p.names(f.unless)
	}
	for claim := range r.preset.equal {
		r.lifted[claim] = p.names(claim)
	}
	return r
}

func mapValues(values []string) []string {
	mapped := make([]string, len(values))
	for i, v := range values {
		mapped[i] = lower(v)
	}
	return mapped
}

// condition returns the one on claim, or nil.
func (r *rule) condition(claim string) *condition {
	for i := range r.conditions {
		if r.conditions[i].claim == claim {
			return &r.conditions[i]
		}
	}
	return nil
}

// A Difference is one way in which a token is not what a publisher wants.
type Difference struct {
	Claim string   `json:"claim"`
	Want  []string `json:"want"`
	Got   string   `json:"got"`
}

// matches reports whether the claims meet every condition.
func (r *rule) matches(c claimSet) bool {
	met := true
	r.compare(c, func(string, []string) bool {
		met = false
		return false
	})
	return met
}

// differences tells all that keeps the claims from matching.
func (r *rule) differences(c claimSet) []Difference {
	var all []Difference
	r.compare(c, func(claim string, want []string) bool {
		all = append(all, Difference{Claim: claim, Want: want, Got: c.got(claim)})
		return true
	})
	return all
}

// compare is the one place that decides. It tells differ of each difference
// until that returns false.
func (r *rule) compare(c claimSet, differ func(claim string, want []string) bool) {
	for i := range r.conditions {
		cond := &r.conditions[i]
		if !cond.meets(c.values(cond.claim)) && !differ(cond.claim, slices.Concat(cond.exact, cond.globs)) {
			return
		}
	}
	for _, claim := range r.preset.always {
		if _, ok := c.string(claim); !ok && !differ(claim, []string{"(present, a string)"}) {
			return
		}
	}
	for _, f := range r.preset.refused {
		if !r.lifted[f.claim] && f.hits(c) && !differ(f.claim, []string{"(none of " + strings.Join(f.globs, ", ") + ", unless the publisher names " + f.unless + ")"}) {
			return
		}
	}
	for claim, other := range r.preset.equal {
		if !r.lifted[claim] && !c.agree(claim, other) && !differ(claim, []string{"(the same as " + other + ": " + c.got(other) + ", unless the publisher names " + claim + ")"}) {
			return
		}
	}
}

// hits also where the claim is there and of another type than the provider gives
// it: whatever that means, it is not that all is well.
func (f refusal) hits(c claimSet) bool {
	values := c.values(f.claim)
	if raw, ok := c.Raw(f.claim); ok && len(values) == 0 {
		return string(raw) != `""`
	}
	for _, v := range values {
		for _, g := range f.globs {
			if g == v || matchGlob(g, v) {
				return true
			}
		}
	}
	return false
}

// specificity orders the publishers of one principal: one that names the
// environment is more specific than one that describes it, and that than one
// that does not care.
func (r *rule) specificity() int {
	switch claim := r.preset.environment; {
	case claim == "":
		return 0
	case len(r.Claims[claim]) > 0:
		return 2
	case len(r.Patterns[claim]) > 0:
		return 1
	}
	return 0
}

// sameGrant reports whether two publishers hand out the same key.
func (r *rule) sameGrant(o *rule) bool {
	return r.lifetime() == o.lifetime() && sameSet(r.Scopes, o.Scopes) && sameSet(r.Targets, o.Targets)
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// subject is who the job with these claims acts as; "" if they do not tell.
func (r *rule) subject(c claimSet) string {
	if r.SubjectClaim == "" {
		return r.Subject
	}
	s, _ := c.string(r.SubjectClaim)
	return s
}

// dormant tells why r obtains nothing for these claims, even if they match; ""
// if it does.
func (r *rule) dormant(c claimSet, now time.Time) string {
	switch {
	case r.Disabled:
		return "disabled"
	case r.subject(c) == "":
		return "the token has no " + r.SubjectClaim + " to take the subject from"
	case r.PendingUntil.IsZero():
		return ""
	case r.lapsed(now):
		return "it was pending until " + r.PendingUntil.UTC().Format(time.RFC3339)
	}
	for _, id := range r.preset.learns(r.Publisher) {
		if _, ok := c.string(id); !ok {
			return "the token has no " + id + " to learn"
		}
	}
	return ""
}
