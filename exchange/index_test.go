package exchange

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/strictjson"
)

// The tests of this file compare what is fast with what is obvious, over random
// publishers and tokens that are the same in every run.

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
	values:   map[string][]string{"a": {"", "x1", "x2", "y1"}, "b": {"", "x1", "y1", "y2"}, "sub": {"", "s1", "s2"}},
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

// wanted says without the code under test whether p wants a token.
func wanted(p Publisher, c claimSet) bool {
	for _, conditions := range []map[string]Values{p.Claims, p.Patterns} {
		for claim, values := range conditions {
			got, _ := c.Members.String(claim)
			if !slices.ContainsFunc(values, func(v string) bool {
				if claim == "environment" {
					v, got = strings.ToLower(v), strings.ToLower(got)
				}
				return got != "" && globRegexp(v).MatchString(got) // of a value without a star it is the value
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
	for _, p := range publishers {
		if who := acts(p, c); who != "" && who != principal {
			return isAmbiguous
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

// Of any few publishers that one counts that should.
func TestDecisionsAreAsPromised(t *testing.T) {
	now := time.Unix(0, 0)
	for _, s := range []space{genericSpace, githubSpace} {
		d := dice{rand.New(rand.NewPCG(1, 2))}
		tokens := s.tokens(t)
		seen := map[string]int{}
		for range 300 {
			publishers, rules := s.some(t, d, 1+d.IntN(5))
			x := indexOf(rules)
			for range 40 {
				c := tokens[d.IntN(len(tokens))]
				got, want := x.decide(c, now), verdict(publishers, c)
				id := ""
				switch {
				case got.ambiguous != nil:
					id = isAmbiguous
				case got.rule != nil:
					id = got.rule.ID
				}
				if id != want {
					t.Fatalf("%s: %s by %+v: got %q, want %q", s.provider, c.JSON(), publishers, id, want)
				}
				seen[map[bool]string{true: id, false: "one"}[id == "" || id == isAmbiguous]]++
				for _, r := range got.reporting {
					if !r.ReportOnly || !wanted(r.Publisher, c) {
						t.Fatalf("%s: %s: reports %s", s.provider, c.JSON(), r.ID)
					}
				}
			}
		}
		if seen[""] < 500 || seen["one"] < 500 || seen[isAmbiguous] < 500 {
			t.Errorf("%s: lopsided: %v", s.provider, seen)
		}
	}
}

// Of 10,000 publishers those are found that a look at each of them finds, and a
// token is compared with few others.
func TestIndexFindsWhatAScanFinds(t *testing.T) {
	for _, s := range []space{genericSpace, githubSpace} {
		d := dice{rand.New(rand.NewPCG(3, 4))}
		wide := s
		wide.values = map[string][]string{}
		for claim, values := range s.values {
			wide.values[claim] = slices.Clone(values)
		}
		ids := "sub"
		if s.provider == GitHub {
			ids = "repository_id"
		}
		for i := range 3000 {
			wide.values[ids] = append(wide.values[ids], fmt.Sprint("id", i))
		}
		n := 10_000
		if s.provider == Generic {
			n = 2000 // most have patterns alone or common values, which no index helps
		}
		publishers, rules := wide.some(t, d, n)
		if s.provider == GitHub {
			for i := range rules { // as real ones: each for a few repositories
				publishers[i].Claims["repository_id"] = d.some(wide.values["repository_id"]...)
				rules[i] = validRule(t, publishers[i])
			}
		}
		x := indexOf(rules)
		found, looked := 0, 0
		for range 300 {
			claims := map[string]string{}
			for claim, v := range s.fixed {
				claims[claim] = v
			}
			for claim, values := range wide.values {
				claims[claim] = d.one(values...)
			}
			c := claimSetOf(t, s.provider, claims)
			var want, got []string
			for _, r := range rules {
				if r.matches(c) {
					want = append(want, r.ID)
				}
			}
			x.candidates(c, func(r *rule) {
				looked++
				if r.matches(c) {
					got = append(got, r.ID)
				}
			})
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %s: the index finds %v, a scan %v", s.provider, c.JSON(), got, want)
			}
			found += len(want)
		}
		if found < 100 {
			t.Errorf("%s: only %d matches: the test is too easy", s.provider, found)
		}
		if s.provider == GitHub && looked > 300*50 {
			t.Errorf("each token was compared with %d of %d publishers", looked/300, n)
		}
	}
}

// Overlaps are reported where some token is ambiguous, and nowhere else, unless
// two patterns of one claim leave it open.
func TestOverlapsAreThoseOfSomeToken(t *testing.T) {
	for _, s := range []space{genericSpace, githubSpace} {
		d := dice{rand.New(rand.NewPCG(5, 6))}
		tokens := s.tokens(t)
		publishers, rules := s.some(t, d, 150)
		ambiguous, open := 0, 0
		x := indexOf(rules)
		for i, r := range rules {
			var want []string
			for j, o := range rules {
				if i == j {
					continue
				}
				pair := []Publisher{publishers[min(i, j)], publishers[max(i, j)]}
				clash := slices.ContainsFunc(tokens, func(c claimSet) bool { return verdict(pair, c) == isAmbiguous })
				if clash {
					ambiguous++
				}
				switch collides := r.collides(o); {
				case collides:
					want = append(want, o.ID)
					if !clash && !bothDescribe(r, o) {
						t.Errorf("%+v and %+v: no token is ambiguous", r.Publisher, o.Publisher)
					}
					if !clash {
						open++
					}
				case clash:
					t.Errorf("%+v and %+v: an overlap is not reported", r.Publisher, o.Publisher)
				}
			}
			if got := x.overlapping(r); !slices.Equal(got, want) {
				t.Errorf("%+v: overlaps with %v, want %v", r.Publisher, got, want)
			}
		}
		if ambiguous < 1000 || open > ambiguous/2 {
			t.Errorf("%s: lopsided: %d ambiguous, %d open", s.provider, ambiguous, open)
		}
	}
}

// bothDescribe reports whether two rules have patterns of one claim.
func bothDescribe(r, o *rule) bool {
	for claim := range r.Patterns {
		if len(o.Patterns[claim]) > 0 {
			return true
		}
	}
	return false
}

func TestOverlapsOfOddConditions(t *testing.T) {
	lab := func(id, subject string, claim string, values ...string) Publisher {
		return Publisher{ID: id, Provider: GitLab, Subject: subject, Scopes: []string{"s"}, Claims: map[string]Values{"project_id": {"20"}, claim: values}}
	}
	other := lab("o", "y", "groups_direct", "b")
	other.Issuer = "https://gitlab.corp"
	for _, tt := range []struct {
		name string
		a, b Publisher
		want bool
	}{
		{"a list can hold both", lab("a", "x", "groups_direct", "a"), lab("b", "y", "groups_direct", "b"), true},
		{"a string cannot be both", lab("a", "x", "user_login", "a"), lab("b", "y", "user_login", "b"), false},
		{"a number cannot be both", lab("a", "x", "runner_id", "1"), lab("b", "y", "runner_id", "2"), false},
		{"another issuer", lab("a", "x", "groups_direct", "a"), other, false},
		{"itself", lab("a", "x", "user_login", "a"), lab("a", "y", "user_login", "a"), false},
	} {
		a, b := validRule(t, tt.a), validRule(t, tt.b)
		if got := indexOf([]*rule{a}).overlapping(b); (len(got) == 1) != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if got := indexOf([]*rule{b}).overlapping(a); (len(got) == 1) != tt.want {
			t.Errorf("%s, the other way: got %v, want %v", tt.name, got, tt.want)
		}
	}
}
