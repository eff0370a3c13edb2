package exchange

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/internal/strictjson"
)

// FuzzPublisher reads publishers as the admin API and the store do.
func FuzzPublisher(f *testing.F) {
	for _, p := range onePerProvider() {
		text, err := json.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"id":"p","provider":"generic","issuer":"https://a.example","patterns":{"sub":"a/*:b*"},"subject":"s","scopes":["a"],"lifetime":"1m"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Publisher
		if json.Unmarshal(text, &p) != nil || p.Validate(time.Unix(1767225600, 0)) != nil {
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var q Publisher
		if err := json.Unmarshal(again, &q); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		third, err := json.Marshal(q)
		if err != nil || string(again) != string(third) {
			t.Errorf("not stable: %s, then %s, %v", again, third, err)
		}
		newRule(p) // of a valid one it must not panic
	})
}

// FuzzClaims compares claims that anybody may have written with a publisher of
// each provider.
func FuzzClaims(f *testing.F) {
	rules := make(map[Provider]*rule)
	indexes := make(map[Provider]*index)
	for _, p := range onePerProvider() {
		r := newRule(p)
		x := &index{preset: r.preset}
		x.add(r)
		rules[p.Provider], indexes[p.Provider] = r, x
	}
	for _, claims := range []map[string]any{
		exchangetest.GitHubClaims(), exchangetest.GitLabClaims(), exchangetest.BuildkiteClaims(),
		exchangetest.CircleCIClaims(), exchangetest.GoogleClaims(), exchangetest.TerraformClaims(),
	} {
		text, err := json.Marshal(claims)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := strictjson.Object(text)
		if err != nil {
			return
		}
		for provider, r := range rules {
			c := claimSet{members, r.preset}
			differences := r.differences(c)
			if matches := r.matches(c); matches != (len(differences) == 0) {
				t.Errorf("%s: matches %v with differences %v", provider, matches, differences)
			}
			var found []*rule
			indexes[provider].candidates(c, func(r *rule) { found = append(found, r) })
			if len(differences) == 0 && !slices.Contains(found, r) {
				t.Errorf("%s: matches, and the index does not find it", provider)
			}
		}
	})
}

// onePerProvider trusts the jobs of exchangetest.
func onePerProvider() []Publisher {
	one := func(p Provider, issuer string, claims map[string]any, names ...string) Publisher {
		conditions := make(map[string]Values)
		for _, name := range names {
			conditions[name] = Values{claims[name].(string)}
		}
		return Publisher{ID: string(p), Provider: p, Issuer: issuer, Subject: "s", Scopes: []string{"a"}, Claims: conditions}
	}
	return []Publisher{
		one(GitHub, "", exchangetest.GitHubClaims(), "repository", "repository_id", "repository_owner_id", "environment"),
		one(GitLab, "", exchangetest.GitLabClaims(), "project_path", "project_id", "ref", "ref_type"),
		one(Buildkite, "", exchangetest.BuildkiteClaims(), "organization_slug", "pipeline_slug"),
		one(CircleCI, "https://oidc.circleci.com/org/"+exchangetest.CircleCIOrganization, exchangetest.CircleCIClaims(), "oidc.circleci.com/project-id", "oidc.circleci.com/vcs-origin"),
		one(Google, "", exchangetest.GoogleClaims(), "sub", "email"),
		one(Terraform, "", exchangetest.TerraformClaims(), "terraform_organization_id", "terraform_workspace_id"),
		one(Generic, "https://ci.example", exchangetest.GitHubClaims(), "sub"),
	}
}

// Each of them matches the job that it is for, and no other.
func TestOnePerProvider(t *testing.T) {
	got := make(map[string][]Provider)
	for _, p := range onePerProvider() {
		if err := p.Validate(time.Now()); err != nil {
			t.Fatal(err)
		}
		for name, claims := range map[string]map[string]any{
			"github": exchangetest.GitHubClaims(), "gitlab": exchangetest.GitLabClaims(), "buildkite": exchangetest.BuildkiteClaims(),
			"circleci": exchangetest.CircleCIClaims(), "google": exchangetest.GoogleClaims(), "terraform": exchangetest.TerraformClaims(),
		} {
			text, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			members, err := strictjson.Object(text)
			if err != nil {
				t.Fatal(err)
			}
			if r := newRule(p); r.matches(claimSet{members, r.preset}) {
				got[name] = append(got[name], p.Provider)
			}
		}
	}
	want := map[string][]Provider{
		"github": {GitHub, Generic}, "gitlab": {GitLab}, "buildkite": {Buildkite}, "circleci": {CircleCI}, "google": {Google}, "terraform": {Terraform},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("matches (-want +got):\n%s", diff)
	}
}
