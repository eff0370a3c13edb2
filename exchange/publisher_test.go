package exchange_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/exchange"
)

// many returns n different texts of the given length.
func many(n, length int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%0*d", length, i)
	}
	return texts
}

type edit = func(*exchange.Publisher)

func claims(conditions ...string) edit {
	return func(p *exchange.Publisher) {
		for i := 0; i < len(conditions); i += 2 {
			if conditions[i+1] == "" {
				delete(p.Claims, conditions[i])
				continue
			}
			p.Claims[conditions[i]] = exchange.Values{conditions[i+1]}
		}
	}
}

func pattern(claim, value string) edit {
	return func(p *exchange.Publisher) {
		delete(p.Claims, claim)
		p.Patterns = map[string]exchange.Values{claim: {value}}
	}
}

func conditions(n int) edit {
	return func(p *exchange.Publisher) {
		for _, name := range many(n-len(p.Claims), 3) {
			p.Claims[name] = exchange.Values{"x"}
		}
	}
}

func pendingFor(d time.Duration) edit {
	return func(p *exchange.Publisher) { p.PendingUntil = t0.Add(d) }
}

// A fault is what is wrong with a publisher, and what the error begins
// with behind the publisher, in as many lines; nothing: the publisher is valid.
type fault struct {
	name string
	edit edit
	says string
}

func checkFaults(t *testing.T, base func() exchange.Publisher, faults []fault) {
	t.Helper()
	for _, f := range faults {
		p := base()
		f.edit(&p)
		err := p.Validate(t0)
		if f.says == "" {
			if err != nil {
				t.Errorf("%s: got %v, want no error", f.name, err)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: no error, want %q", f.name, f.says)
			continue
		}
		head, text, _ := strings.Cut(err.Error(), ": ")
		if !strings.HasPrefix(head, `publisher "`) || !strings.HasPrefix(text, f.says) || strings.Count(text, "\n") != strings.Count(f.says, "\n") {
			t.Errorf("%s: got %q, want what begins with %q", f.name, err, f.says)
		}
	}
}

const days = 24 * time.Hour

func TestValidate(t *testing.T) {
	checkFaults(t, func() exchange.Publisher { return github() }, []fault{
		{"nothing wrong", func(p *exchange.Publisher) {}, ""},
		{"no id", func(p *exchange.Publisher) { p.ID = "" }, "id:"},
		{"an id in upper case", func(p *exchange.Publisher) { p.ID = "Deploy" }, "id:"},
		{"an id with a slash", func(p *exchange.Publisher) { p.ID = "a/b" }, "id:"},
		{"an id with a letter that is not ASCII", func(p *exchange.Publisher) { p.ID = "\u00e4" }, "id:"},
		{"an id of the first and the last characters", func(p *exchange.Publisher) { p.ID = "az09-_." }, ""},
		{"an id of a character before", func(p *exchange.Publisher) { p.ID = "`" }, "id:"},
		{"an id of a character behind", func(p *exchange.Publisher) { p.ID = "{" }, "id:"},
		{"an id of a colon", func(p *exchange.Publisher) { p.ID = ":" }, "id:"},
		{"an id that is a folder", func(p *exchange.Publisher) { p.ID = "." }, "id:"},
		{"an id that is a folder above", func(p *exchange.Publisher) { p.ID = ".." }, "id:"},
		{"an id of 64", func(p *exchange.Publisher) { p.ID = strings.Repeat("a", 64) }, ""},
		{"an id of 65", func(p *exchange.Publisher) { p.ID = strings.Repeat("a", 65) }, "id:"},
		{"no subject", func(p *exchange.Publisher) { p.Subject = "" }, "subject:"},
		{"two subjects", func(p *exchange.Publisher) { p.SubjectClaim = "actor" }, "subject:"},
		{"a subject from a claim", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "actor" }, ""},
		{"a subject with a line break", func(p *exchange.Publisher) { p.Subject = "a\nb" }, "subject:"},
		{"a subject that is no UTF-8", func(p *exchange.Publisher) { p.Subject = "a\xff" }, "subject:"},
		{"a subject claim with DEL", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "a\x7f" }, "subject:"},
		{"a subject of 512", func(p *exchange.Publisher) { p.Subject = strings.Repeat("a", 512) }, ""},
		{"a subject of 513", func(p *exchange.Publisher) { p.Subject = strings.Repeat("a", 513) }, "subject:"},
		{"a subject claim of 512", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", strings.Repeat("a", 512) }, ""},
		{"a subject claim of 513", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", strings.Repeat("a", 513) }, "subject:"},
		{"a subject claim that is checked for every token", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "jti" }, "subject_claim: jti names no account"},
		{"a subject claim that is none of the token's", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "workflow_file" }, "subject_claim: workflow_file names no account"},
		{"a subject claim of a form that changes", func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "sub" }, "subject_claim: sub: its form"},
		{"a lifetime below nothing", func(p *exchange.Publisher) { p.Lifetime = -1 }, "lifetime:"},
		{"a lifetime of less than a second", func(p *exchange.Publisher) { p.Lifetime = time.Second - 1 }, "lifetime:"},
		{"a lifetime of a second", func(p *exchange.Publisher) { p.Lifetime = time.Second }, ""},
		{"a lifetime of an hour", func(p *exchange.Publisher) { p.Lifetime = time.Hour }, ""},
		{"a lifetime of more", func(p *exchange.Publisher) { p.Lifetime = time.Hour + 1 }, "lifetime:"},
		{"no scopes", func(p *exchange.Publisher) { p.Scopes = nil }, "scopes:"},
		{"an empty scope", func(p *exchange.Publisher) { p.Scopes = []string{""} }, "scopes:"},
		{"a scope with a space", func(p *exchange.Publisher) { p.Scopes = []string{"a b"} }, "scopes:"},
		{"a scope with a quote", func(p *exchange.Publisher) { p.Scopes = []string{"a", `"`} }, "scopes:"},
		{"a scope with a backslash", func(p *exchange.Publisher) { p.Scopes = []string{`\`} }, "scopes:"},
		{"a scope that is not ASCII", func(p *exchange.Publisher) { p.Scopes = []string{"\u00e4"} }, "scopes:"},
		{"a scope with DEL", func(p *exchange.Publisher) { p.Scopes = []string{"\x7f"} }, "scopes:"},
		{"a scope of the first and the last characters", func(p *exchange.Publisher) { p.Scopes = []string{"!#[]~"} }, ""},
		{"a scope of 512", func(p *exchange.Publisher) { p.Scopes = many(1, 512) }, ""},
		{"a scope of 513", func(p *exchange.Publisher) { p.Scopes = many(1, 513) }, "scopes:"},
		{"100 scopes", func(p *exchange.Publisher) { p.Scopes = many(100, 3) }, ""},
		{"101 scopes", func(p *exchange.Publisher) { p.Scopes = many(101, 3) }, "scopes:"},
		{"an empty target", func(p *exchange.Publisher) { p.Targets = []string{""} }, "targets:"},
		{"a target with a space", func(p *exchange.Publisher) { p.Targets = []string{"a b"} }, "targets:"},
		{"a target with a tab", func(p *exchange.Publisher) { p.Targets = []string{"a\tb"} }, "targets:"},
		{"a target of 512", func(p *exchange.Publisher) { p.Targets = many(1, 512) }, ""},
		{"a target of 513", func(p *exchange.Publisher) { p.Targets = many(1, 513) }, "targets:"},
		{"100 targets", func(p *exchange.Publisher) { p.Targets = many(100, 3) }, ""},
		{"101 targets", func(p *exchange.Publisher) { p.Targets = many(101, 3) }, "targets:"},
		{"a description of 1000", func(p *exchange.Publisher) { p.Description = strings.Repeat("a", 1000) }, ""},
		{"a description of 1001", func(p *exchange.Publisher) { p.Description = strings.Repeat("a", 1001) }, "description:"},
		{"no provider", func(p *exchange.Publisher) { p.Provider = "" }, "provider:"},
		{"an unknown provider", func(p *exchange.Publisher) { p.Provider = "GitHub" }, `provider: "GitHub" is none of buildkite, circleci, generic, github, gitlab, google, terraform`},
	})
}

func TestValidateConditions(t *testing.T) {
	checkFaults(t, func() exchange.Publisher { return github() }, []fault{
		{"32 conditions", conditions(32), ""},
		{"33 conditions", conditions(33), "claims: more than 32"},
		{"33 conditions, one a pattern", func(p *exchange.Publisher) { conditions(32)(p); pattern("ref", "refs/*")(p) }, "claims: more than 32"},
		{"the issuer", claims("iss", "x"), "claims: iss"},
		{"the audience", claims("aud", "x"), "claims: aud"},
		{"the end", claims("exp", "1"), "claims: exp"},
		{"the beginning", claims("iat", "1"), "claims: iat"},
		{"not before", claims("nbf", "1"), "claims: nbf"},
		{"the token's id", claims("jti", "x"), "claims: jti"},
		{"a claim and a pattern", func(p *exchange.Publisher) { pattern("ref", "refs/*")(p); claims("ref", "x")(p) }, "claims: ref has a pattern as well"},
		{"a claim without a name", claims("", "x"), "claims: a claim without a good name"},
		{"a claim's name of 512", claims(strings.Repeat("a", 512), "x"), ""},
		{"a claim's name of 513", claims(strings.Repeat("a", 513), "x"), "claims: a claim without a good name"},
		{"a claim's name with a NUL", claims("a\x00", "x"), "claims: a claim without a good name"},
		{"no value", func(p *exchange.Publisher) { p.Claims["ref"] = nil }, "claims: ref: want 1 to 100 values"},
		{"100 values", func(p *exchange.Publisher) { p.Claims["ref"] = many(100, 3) }, ""},
		{"101 values", func(p *exchange.Publisher) { p.Claims["ref"] = many(101, 3) }, "claims: ref: want 1 to 100 values"},
		{"an empty value", func(p *exchange.Publisher) { p.Claims["ref"] = exchange.Values{"x", ""} }, "claims: ref: an empty value"},
		{"a value of 512", claims("ref", strings.Repeat("a", 512)), ""},
		{"a value of 513", claims("ref", strings.Repeat("a", 513)), "claims: ref: want up to 512 bytes"},
		{"a value with a line break", claims("ref", "a\nb"), "claims: ref: want up to 512 bytes"},
		{"a value with a NUL in a list", func(p *exchange.Publisher) { p.Claims["ref"] = exchange.Values{"x", "\x00"} }, "claims: ref: want up to 512 bytes"},
		{"a star under claims", claims("ref", "refs/heads/*"), `claims: ref: "refs/heads/*" has a "*"`},
		{"a pattern of the audience", pattern("aud", "x*"), "patterns: aud is not a condition"},
		{"a pattern where none may be", pattern("repository", "octo-org/*"), "patterns: repository is compared whole"},
		{"a pattern of a claim that nobody knows", pattern("actor", "octo*"), "patterns: actor is compared whole"},
		{"a pattern of a file", pattern("workflow_file", "*.yml"), "patterns: workflow_file is compared whole"},
		{"a pattern", pattern("ref", "refs/tags/v*"), ""},
		{"a pattern without a value", func(p *exchange.Publisher) { p.Patterns = map[string]exchange.Values{"ref": {}} }, "claims: ref: want 1 to 100 values"},
		{"an empty pattern", pattern("ref", ""), "claims: ref: an empty value"},
		{"a pattern without a star", pattern("ref", "refs/heads/main"), `patterns: ref: "refs/heads/main" has no "*"`},
		{"two stars", pattern("ref", "refs/**"), `patterns: ref: "refs/**": "**" does not exist`},
		{"EXC-23: an alternation", pattern("ref", "refs/*|x"), `patterns: ref: "refs/*|x": "*" is the only special character`},
		{"nothing but stars", pattern("ref", "*/*"), "patterns: ref: a pattern needs a literal part"},
		{"a pattern with a NUL", pattern("ref", "x*\x00"), "claims: ref: want up to 512 bytes"},
	})
}

func TestValidateProviders(t *testing.T) {
	const x = "oidc.circleci.com/"
	for provider, good := range map[exchange.Provider][]string{
		exchange.GitHub:    {"repository_owner_id", "65", "repository", "octo-org/octo-repo", "repository_id", "74"},
		exchange.GitLab:    {"project_id", "20", "namespace_id", "72", "ref", "main", "ref_type", "branch", "namespace_path", "g", "project_path", "g/p"},
		exchange.Buildkite: {"organization_slug", "acme-inc", "pipeline_slug", "app"},
		exchange.CircleCI:  {x + "project-id", "1", x + "vcs-origin", "2"},
		exchange.Google:    {"sub", "1", "email", "a@b"},
		exchange.Terraform: {"terraform_organization_id", "1", "terraform_workspace_id", "2", "terraform_workspace_name", "w", "terraform_project_id", "3", "terraform_project_name", "p", "terraform_full_workspace", "f"},
		exchange.Generic:   {"sub", "1"},
	} {
		issuer := ""
		switch provider {
		case exchange.CircleCI:
			issuer = "https://oidc.circleci.com/org/1"
		case exchange.Generic:
			issuer = "https://ci.example"
		}
		t.Run(string(provider), func(t *testing.T) {
			at := func(url string) edit { return func(p *exchange.Publisher) { p.Issuer = url } }
			faults := []fault{{"nothing wrong", func(*exchange.Publisher) {}, ""}}
			for _, s := range []struct {
				owner exchange.Provider
				url   string
			}{
				{exchange.GitHub, "https://token.actions.githubusercontent.com"}, {exchange.GitHub, "https://token.actions.githubusercontent.com/acme"},
				{exchange.GitHub, "https://token.actions.acme.ghe.com"}, {exchange.GitHub, "https://github.corp/_services/token"}, {exchange.GitHub, "https://github.corp:8443/_services/token"},
				{exchange.GitLab, "https://gitlab.com"}, {exchange.Buildkite, "https://agent.buildkite.com"}, {exchange.CircleCI, "https://oidc.circleci.com/org/1"},
				{exchange.Google, "https://accounts.google.com"}, {exchange.Terraform, "https://app.terraform.io"}, {provider, "https://ci.example/org/1"},
			} {
				f := fault{s.url, at(s.url), ""}
				if s.owner != provider {
					f.says = "issuer: " + s.url + " is that of provider " + string(s.owner)
				}
				if provider != exchange.CircleCI || strings.Contains(s.url, "/org/") { // it would be two faults
					faults = append(faults, f)
				}
			}
			faults = append(faults, providerFaults[provider]...)
			checkFaults(t, func() exchange.Publisher {
				p := of(provider, good...)
				p.Issuer = issuer
				return p
			}, faults)
		})
	}
}

var providerFaults = map[exchange.Provider][]fault{
	exchange.GitHub: {
		{"E15: no owner", claims("repository_owner_id", ""), "claims: bind repository_owner_id:"},
		{"EXC-21: a name without its id", claims("repository_id", ""), "claims: repository can be registered anew"},
		{"an id without its name", claims("repository", ""), ""},
		{"the owner alone", claims("repository", "", "repository_id", ""), ""},
		{"sub", claims("sub", "repo:octo-org/octo-repo:ref:refs/heads/main"), "claims: sub is not a condition"},
		{"the owner's name", claims("repository_owner", "octo-org"), "claims: repository_owner is not a condition"},
		{"pending", func(p *exchange.Publisher) { claims("repository_id", "")(p); pendingFor(90 * days)(p) }, ""},
		{"pending for too long", func(p *exchange.Publisher) { claims("repository_id", "")(p); pendingFor(90*days + 1)(p) }, "pending_until: want up to 90 days"},
		{"pending with the id", pendingFor(days), "pending_until: there is no id to learn"},
		{"pending without a name", func(p *exchange.Publisher) { claims("repository", "", "repository_id", "")(p); pendingFor(days)(p) }, "pending_until: there is no id to learn: name repository"},
		{"pending without an owner", func(p *exchange.Publisher) {
			claims("repository_owner_id", "", "repository_id", "")(p)
			pendingFor(days)(p)
		}, "claims: bind repository_owner_id"},
	},
	exchange.GitLab: {
		{"E15: neither project nor group", claims("project_id", "", "project_path", "", "namespace_id", "", "namespace_path", ""), "claims: bind project_id, or namespace_id:"},
		{"the group alone", claims("project_id", "", "project_path", ""), ""},
		{"the project alone", claims("namespace_id", "", "namespace_path", ""), ""},
		{"EXC-21: a project's path without its id", claims("project_id", ""), "claims: project_path can be registered anew"},
		{"EXC-21: a group's path without its id", claims("namespace_id", ""), "claims: namespace_path can be registered anew"},
		{"a ref of any type", claims("ref_type", ""), "claims: ref says too little without ref_type"},
		{"a pattern of a ref of any type", func(p *exchange.Publisher) { claims("ref_type", "")(p); pattern("ref", "v*")(p) }, "claims: ref says too little without ref_type"},
		{"sub", claims("sub", "x"), "claims: sub is not a condition"},
		{"pending", func(p *exchange.Publisher) { claims("project_id", "")(p); pendingFor(days)(p) }, ""},
		{"pending by the name of the group", func(p *exchange.Publisher) { claims("namespace_id", "")(p); pendingFor(days)(p) }, ""},
		{"a pattern of a path", pattern("project_path", "g/*"), "patterns: project_path is compared whole"},
	},
	exchange.Buildkite: {
		{"E15: no organization", claims("organization_slug", "", "pipeline_slug", "", "pipeline_id", "p"), "claims: bind organization_id, or organization_slug:"},
		{"the organization by its id", claims("organization_slug", "", "pipeline_slug", "", "organization_id", "o"), ""},
		{"a pipeline of any organization of the name", claims("organization_slug", "", "organization_id", "o"), "claims: pipeline_slug says too little without organization_slug"},
		{"sub", claims("sub", "x"), "claims: sub is not a condition"},
		{"pending", pendingFor(days), "pending_until: there is no id to learn: name nothing: this provider has no names"},
	},
	exchange.CircleCI: {
		{"no issuer", func(p *exchange.Publisher) { p.Issuer = "" }, "issuer: required"},
		{"E15: no organization", func(p *exchange.Publisher) { p.Issuer = "https://oidc.circleci.com" }, "issuer: want one for each organization"},
		{"E15: an empty organization", func(p *exchange.Publisher) { p.Issuer = "https://oidc.circleci.com/org/" }, "issuer: want one for each organization"},
		{"an issuer that is no URL", func(p *exchange.Publisher) { p.Issuer = "https://oidc.circleci.com/org/%zz" }, "issuer: \"https://oidc.circleci.com/org/%zz\" is not a URL"},
		{"forks too", claims("oidc.circleci.com/vcs-origin", ""), "claims: bind oidc.circleci.com/project-id and oidc.circleci.com/vcs-origin:"},
		{"no project", claims("oidc.circleci.com/project-id", ""), "claims: bind oidc.circleci.com/project-id and oidc.circleci.com/vcs-origin:"},
		{"an origin by a pattern", pattern("oidc.circleci.com/vcs-origin", "github.com/*"), "patterns: oidc.circleci.com/vcs-origin is compared whole: write its values under claims\nclaims: bind"},
		{"sub", claims("sub", "x"), "claims: sub is not a condition"},
	},
	exchange.Google: {
		{"E15: no account", claims("sub", "", "email", "", "azp", "x"), "claims: bind sub, or email:"},
		{"EXC-21: an address without its id", claims("sub", ""), "claims: email can be registered anew"},
		{"an id without its address", claims("email", ""), ""},
		{"pending", func(p *exchange.Publisher) { claims("sub", "")(p); pendingFor(days)(p) }, ""},
		{"any pattern", pattern("azp", "1*"), "patterns: azp is compared whole"},
	},
	exchange.Terraform: {
		{"E15: no organization", claims("terraform_organization_id", ""), "claims: bind terraform_organization_id:"},
		{"the organization's name", claims("terraform_organization_name", "my-org"), "claims: terraform_organization_name is not a condition"},
		{"EXC-21: a workspace without its id", claims("terraform_workspace_id", "", "terraform_full_workspace", ""), "claims: terraform_workspace_name can be registered anew"},
		{"EXC-21: a full workspace without its id", claims("terraform_workspace_id", "", "terraform_workspace_name", ""), "claims: terraform_full_workspace can be registered anew"},
		{"EXC-21: a project without its id", claims("terraform_project_id", ""), "claims: terraform_project_name can be registered anew"},
		{"sub", claims("sub", "x"), "claims: sub is not a condition"},
		{"pending", func(p *exchange.Publisher) { claims("terraform_workspace_id", "")(p); pendingFor(days)(p) }, ""},
		{"any pattern", pattern("terraform_run_phase", "a*"), "patterns: terraform_run_phase is compared whole"},
		// What it learns must make it a publisher that is valid.
		{"pending with a name that it could not pin", func(p *exchange.Publisher) {
			claims("terraform_workspace_id", "", "terraform_project_id", "")(p)
			p.Claims["terraform_project_name"] = exchange.Values{"a", "b"}
			pendingFor(days)(p)
		}, "claims: terraform_project_name can be registered anew"},
	},
	exchange.Generic: {
		{"no issuer", func(p *exchange.Publisher) { p.Issuer = "" }, "issuer: required"},
		{"E15: no condition", claims("sub", ""), "claims: bind at least one claim:"},
		{"a pattern alone", pattern("sub", "x/*"), ""},
		{"pending", pendingFor(days), "pending_until: there is no id to learn"},
	},
}

func TestValidateTellsAllAtOnce(t *testing.T) {
	p := exchange.Publisher{ID: strings.Repeat("X", 200) + "\n", Provider: exchange.GitHub, Lifetime: days}
	err := p.Validate(t0)
	if err == nil {
		t.Fatal("want an error")
	}
	for _, field := range []string{"id:", "subject:", "lifetime:", "scopes:", "claims:"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q is not in %q", field, err)
		}
	}
	if strings.Contains(err.Error(), strings.Repeat("X", 150)) {
		t.Errorf("the id is not cut: %q", err)
	}
}
