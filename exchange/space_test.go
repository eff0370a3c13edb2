package exchange

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/strictjson"
)

// A dice chooses among few values, so that things meet.
type dice struct{ *rand.Rand }

func (d dice) one(of ...string) string { return of[d.IntN(len(of))] }
func (d dice) chance(n int) bool       { return d.IntN(n) == 0 }

// some returns one to three of the values, perhaps one of them twice.
func (d dice) some(of ...string) Values {
	v := make(Values, 1+d.IntN(3))
	for i := range v {
		v[i] = d.one(of...)
	}
	return v
}

// A space is all values that claims have, and patterns of them; "" is absence.
type space struct {
	provider Provider
	fixed    map[string]string   // in all tokens
	values   map[string][]string // by claim
	patterns map[string][]string
	anchors  []string // claims that every publisher binds
	account  string   // the claim that some take the subject from
}

var genericSpace = space{
	provider: Generic,
	values:   map[string][]string{"a": {"", "x1", "x2", "y1", "z1"}, "b": {"", "x1", "y1", "y2"}, "sub": {"", "s1", "s2"}},
	patterns: map[string][]string{"a": {"x*", "*1", "z*"}, "b": {"y*", "*2"}},
	account:  "sub",
}

var githubSpace = space{
	provider: GitHub,
	fixed:    map[string]string{"event_name": "push", "repository": "o/r"},
	values: map[string][]string{
		"repository_owner_id": {"1", "2"}, "repository_id": {"7", "8"}, "environment": {"", "prod", "Prod", "dev"}, "ref": {"", "refs/heads/main", "refs/tags/v1"},
	},
	patterns: map[string][]string{"environment": {"PR*", "d*"}, "ref": {"refs/heads/*", "refs/tags/v*"}},
	anchors:  []string{"repository_owner_id"},
	account:  "ref",
}

func (s space) publisher(d dice, id string) Publisher {
	p := Publisher{ID: id, Provider: s.provider, Issuer: "https://ci.example", Claims: map[string]Values{}, Patterns: map[string]Values{}, Scopes: []string{d.one("r", "w")}, Subject: d.one("x", "y")}
	for claim, values := range s.values {
		switch globs := s.patterns[claim]; {
		case slices.Contains(s.anchors, claim), d.chance(3):
			p.Claims[claim] = d.some(slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })...)
		case globs != nil && d.chance(3):
			p.Patterns[claim] = d.some(globs...)
		}
	}
	if len(p.Claims)+len(p.Patterns) == 0 {
		p.Claims["a"] = Values{"x1"}
	}
	if d.chance(4) {
		p.Subject, p.SubjectClaim = "", s.account
	}
	p.Disabled, p.ReportOnly = d.chance(10), d.chance(10)
	return p
}

// tokens returns every token of the space.
func (s space) tokens(t *testing.T) []claimSet {
	t.Helper()
	all := []map[string]string{{}}
	for claim, values := range s.values {
		var more []map[string]string
		for _, m := range all {
			for _, v := range values {
				next := map[string]string{claim: v}
				for k, v := range m {
					next[k] = v
				}
				more = append(more, next)
			}
		}
		all = more
	}
	sets := make([]claimSet, len(all))
	for i, m := range all {
		for claim, v := range s.fixed {
			m[claim] = v
		}
		for claim, v := range m {
			if v == "" && i%2 == 0 { // the others have it empty, which is the same
				delete(m, claim)
			}
		}
		sets[i] = claimSetOf(t, s.provider, m)
	}
	return sets
}

func claimSetOf(t testing.TB, provider Provider, claims any) claimSet {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	members, err := strictjson.Object(text)
	if err != nil {
		t.Fatal(err)
	}
	return claimSet{members, presets[provider]}
}

func validRule(t testing.TB, p Publisher) *rule {
	t.Helper()
	if err := p.Validate(time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return newRule(p)
}

// shown is a token for people.
func shown(c claimSet) string {
	var b strings.Builder
	for name := range c.Names() {
		raw, _ := c.Raw(name)
		fmt.Fprintf(&b, "%s=%s ", name, raw)
	}
	return b.String()
}

var compiled = map[string]*regexp.Regexp{} // by pattern; none of these tests is parallel

// wanted says without the code under test whether p wants a token.
func wanted(p Publisher, c claimSet) bool {
	for _, conditions := range []map[string]Values{p.Claims, p.Patterns} {
		for claim, values := range conditions {
			got, _ := c.Members.String(claim)
			if !slices.ContainsFunc(values, func(v string) bool {
				if claim == "environment" {
					v, got = strings.ToLower(v), strings.ToLower(got)
				}
				re := compiled[v]
				if re == nil {
					re = globRegexp(v) // of a value without a star it is the value
					compiled[v] = re
				}
				return got != "" && re.MatchString(got)
			}) {
				return false
			}
		}
	}
	return true
}

// acts returns who a job that p wants acts as; "" if it has no say.
func acts(p Publisher, c claimSet) string {
	if p.Disabled || p.ReportOnly || !wanted(p, c) {
		return ""
	}
	if p.SubjectClaim == "" {
		return "fixed " + p.Subject
	}
	if s, _ := c.Members.String(p.SubjectClaim); s != "" {
		return "federated " + s
	}
	return ""
}

const isAmbiguous = "(ambiguous)"

// verdict says, by what the documentation promises, which publisher counts.
func verdict(publishers []Publisher, c claimSet) string {
	var principal, best, grant string
	rank := -1
	for _, p := range publishers { // in the order of their ids
		who := acts(p, c)
		if who == "" {
			continue
		}
		if principal != "" && who != principal {
			return isAmbiguous
		}
		principal = who
		specific := 0
		if len(p.Patterns["environment"]) > 0 {
			specific = 1
		}
		if len(p.Claims["environment"]) > 0 {
			specific = 2
		}
		switch {
		case specific > rank:
			rank, best, grant = specific, p.ID, p.Scopes[0]
		case specific == rank && p.Scopes[0] != grant:
			best = isAmbiguous // unless there is one more specific
		}
	}
	return best
}

func (s space) some(t *testing.T, d dice, n int) ([]Publisher, []*rule) {
	publishers, rules := make([]Publisher, n), make([]*rule, n)
	for i := range n {
		publishers[i] = s.publisher(d, fmt.Sprintf("p%04d", i))
		rules[i] = validRule(t, publishers[i])
	}
	return publishers, rules
}

func indexOf(rules []*rule) *index {
	x := &index{provider: rules[0].Provider, preset: rules[0].preset}
	for _, r := range rules {
		x.add(r)
	}
	return x
}
