package exchange

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The tests of this file compare what is fast with what is obvious, over random
// publishers and tokens that are the same in every run.

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
					t.Fatalf("%s: %s by %+v: got %q, want %q", s.provider, shown(c), publishers, id, want)
				}
				seen[map[bool]string{true: id, false: "one"}[id == "" || id == isAmbiguous]]++
				for _, r := range got.reporting {
					if !r.ReportOnly || !wanted(r.Publisher, c) {
						t.Fatalf("%s: %s: reports %s", s.provider, shown(c), r.ID)
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
				t.Fatalf("%s: %s: the index finds %v, a scan %v", s.provider, shown(c), got, want)
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
		publishers, rules := s.some(t, d, 70)
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
		if ambiguous < 200 || open > ambiguous/2 {
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

// Whatever else a publisher binds, its tokens find it: also where its common
// claims are those of many.
func TestIndexOfOddConditions(t *testing.T) {
	lab := claimSetOf(t, GitLab, map[string]any{"project_id": "20", "namespace_id": "72", "groups_direct": []string{"a"}, "runner_id": 1, "environment": "Prod"})
	const file = "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main"
	hub := claimSetOf(t, GitHub, map[string]any{
		"repository": "Octo-Org/octo-repo", "repository_id": "74", "repository_owner_id": "65", "event_name": "push", "environment": "PROD",
	})
	flow := claimSetOf(t, GitHub, map[string]any{
		"repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner_id": "65", "event_name": "push", "ref": "refs/heads/main", "workflow_ref": file, "job_workflow_ref": file,
	})
	for claim, tt := range map[string]struct {
		token  claimSet
		common map[string]Values
		value  string
	}{
		"groups_direct": {lab, map[string]Values{"project_id": {"20"}}, "a"},
		"runner_id":     {lab, map[string]Values{"project_id": {"20"}}, "1"},
		"environment":   {hub, map[string]Values{"repository_owner_id": {"65"}}, "prod"},
		"repository":    {hub, map[string]Values{"repository_owner_id": {"65"}, "repository_id": {"74"}}, "octo-org/octo-repo"},
		"workflow_file": {flow, map[string]Values{"repository_owner_id": {"65"}}, "release.yml"},
	} {
		provider := GitHub
		if tt.token.preset == &gitlab {
			provider = GitLab
		}
		p := Publisher{Provider: provider, Subject: "s", Scopes: []string{"a"}}
		var rules []*rule
		for i := range 5 {
			p.ID, p.Claims = fmt.Sprint("common-", i), maps.Clone(tt.common)
			rules = append(rules, validRule(t, p))
		}
		p.ID, p.Claims = "odd", maps.Clone(tt.common)
		p.Claims[claim] = Values{tt.value}
		if claim == "repository" {
			p.Claims["repository_id"] = Values{"74"}
		}
		rules = append(rules, validRule(t, p))
		found := false
		indexOf(rules).candidates(tt.token, func(r *rule) { found = found || r.ID == "odd" && r.matches(tt.token) })
		if !found {
			t.Errorf("%s: the publisher is not found", claim)
		}
	}
}

// Publishers that have most of what they bind in common are found by the rest.
func TestIndexOfACrowd(t *testing.T) {
	const n = 500
	rules := make([]*rule, n)
	for i := range rules {
		rules[i] = validRule(t, Publisher{
			ID: fmt.Sprint("p", i), Provider: Generic, Issuer: "https://ci.example", Subject: "s", Scopes: []string{"a"},
			Claims: map[string]Values{"sub": {"all"}, "z": {"all"}, "job": {fmt.Sprint(i), fmt.Sprint("also ", i)}},
		})
	}
	x, looked, found := indexOf(rules), 0, false
	x.candidates(claimSetOf(t, Generic, map[string]string{"sub": "all", "z": "all", "job": "also 123"}), func(r *rule) {
		looked++
		found = found || r.ID == "p123"
	})
	if looked > 5 || !found {
		t.Errorf("found: %v, after a look at %d of %d", found, looked, n)
	}
}

func TestOverlapsOfOddConditions(t *testing.T) {
	lab := func(id, subject string, claim string, values ...string) Publisher {
		return Publisher{ID: id, Provider: GitLab, Subject: subject, Scopes: []string{"s"}, Claims: map[string]Values{"project_id": {"20"}, claim: values}}
	}
	other := lab("o", "y", "groups_direct", "b")
	other.Issuer = "https://gitlab.corp"
	by := func(id, claim string) Publisher {
		p := lab(id, "", "groups_direct", "a")
		p.SubjectClaim = claim
		return p
	}
	for _, tt := range []struct {
		name string
		a, b Publisher
		want bool
	}{
		{"a list can hold both", lab("a", "x", "groups_direct", "a"), lab("b", "y", "groups_direct", "b"), true},
		{"a string cannot be both", lab("a", "x", "user_login", "a"), lab("b", "y", "user_login", "b"), false},
		{"a number cannot be both", lab("a", "x", "runner_id", "1"), lab("b", "y", "runner_id", "2"), false},
		{"another issuer", lab("a", "x", "groups_direct", "a"), other, false},
		{"accounts by one claim", by("a", "user_login"), by("b", "user_login"), false},
		{"accounts by two claims", by("a", "user_login"), by("b", "user_email"), true},
		{"an account and a name", by("a", "user_login"), lab("b", "x", "groups_direct", "a"), true},
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
