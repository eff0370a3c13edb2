package exchange

import (
	"maps"
	"slices"
	"strings"
)

// An index finds the publishers of one issuer that could match a token without
// looking at all of them: by the most telling claim that each binds exactly.
type index struct {
	provider Provider
	preset   *preset // of the issuer's tokens
	tables   []*table
	rest     []*rule // those with patterns alone
	count    int
}

// A table holds the rules that are found by one claim.
type table struct {
	claim string
	rules map[string][]*rule // by value
}

// maxPatternOnly bounds the publishers that are compared with every token.
const maxPatternOnly = 100

// add puts r where its tokens will look.
func (x *index) add(r *rule) {
	x.count++
	claim := x.roomiest(r)
	if claim == "" {
		x.rest = append(x.rest, r)
		return
	}
	i := slices.IndexFunc(x.tables, func(t *table) bool { return t.claim == claim })
	if i < 0 {
		i = len(x.tables)
		x.tables = append(x.tables, &table{claim: claim, rules: make(map[string][]*rule)})
	}
	exact := r.condition(claim).exact
	for n, v := range exact {
		if !slices.Contains(exact[:n], v) { // else it would match twice
			x.tables[i].rules[v] = append(x.tables[i].rules[v], r)
		}
	}
}

// roomiest is the claim by which r is found beside the fewest others, the
// first of several; "" when it has patterns alone.
func (x *index) roomiest(r *rule) string {
	best, fewest := "", 0
	for _, claim := range r.indexClaims() {
		if n := x.crowd(r, claim); best == "" || n < fewest {
			best, fewest = claim, n
		}
	}
	return best
}

// crowd is how many rules stand where r would be found by claim.
func (x *index) crowd(r *rule, claim string) (most int) {
	for _, t := range x.tables {
		if t.claim == claim {
			for _, v := range r.condition(claim).exact {
				most = max(most, len(t.rules[v]))
			}
		}
	}
	return most
}

// indexClaims are the claims that r can be found by, the most telling first.
func (r *rule) indexClaims() []string {
	var claims []string
	for _, claim := range slices.Concat(r.preset.index, slices.Sorted(maps.Keys(r.Claims))) {
		c := r.condition(claim)
		if c != nil && len(c.exact) > 0 && !c.folded && r.preset.kinds[claim] == text && r.preset.derived[claim] == nil {
			claims = append(claims, claim)
		}
	}
	return claims
}

// candidates yields the rules that a token with claims c could match.
func (x *index) candidates(c claimSet, yield func(*rule)) {
	for _, t := range x.tables {
		if v, ok := c.string(t.claim); ok {
			for _, r := range t.rules[v] {
				yield(r)
			}
		}
	}
	for _, r := range x.rest {
		yield(r)
	}
}

// overlapping returns the ids of the other rules that one token could match
// together with r, and that would make it ambiguous.
func (x *index) overlapping(r *rule) []string {
	var ids []string
	look := func(o *rule) {
		if o.ID != r.ID && !slices.Contains(ids, o.ID) && r.collides(o) {
			ids = append(ids, o.ID)
		}
	}
	for _, t := range x.tables {
		c := r.condition(t.claim)
		if c == nil || len(c.exact) == 0 {
			for _, list := range t.rules {
				for _, o := range list {
					look(o)
				}
			}
			continue
		}
		for _, v := range c.exact {
			for _, o := range t.rules[v] {
				look(o)
			}
		}
	}
	for _, o := range x.rest {
		look(o)
	}
	slices.Sort(ids)
	return ids
}

// collides reports whether some token could match both rules and get different
// keys by them. Where that depends on how two patterns meet, it says yes.
func (r *rule) collides(o *rule) bool {
	if r.ReportOnly || o.ReportOnly || r.Disabled || o.Disabled || r.issuer != o.issuer {
		return false
	}
	if r.Subject == o.Subject && r.SubjectClaim == o.SubjectClaim && (r.specificity() != o.specificity() || r.sameGrant(o)) {
		return false
	}
	for i := range r.conditions {
		mine := &r.conditions[i]
		if theirs := o.condition(mine.claim); theirs != nil && r.preset.kinds[mine.claim] != list && !mine.meet(theirs) {
			return false
		}
	}
	return true
}

// meet reports whether one value could meet both conditions.
func (c *condition) meet(o *condition) bool {
	if len(c.globs) > 0 && len(o.globs) > 0 {
		return true
	}
	return c.meets(o.exact) || o.meets(c.exact)
}

func byID(a, b *rule) int { return strings.Compare(a.ID, b.ID) }

func sortByID(rules []*rule) { slices.SortFunc(rules, byID) }
