package exchange_test

import (
	"testing"

	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

// of is a publisher of a provider with the conditions claim, value, claim, value.
func of(provider exchange.Provider, conditions ...string) exchange.Publisher {
	p := exchange.Publisher{ID: "p", Provider: provider, Subject: "deployer", Scopes: []string{"deploy"}, Claims: map[string]exchange.Values{}}
	for i := 0; i < len(conditions); i += 2 {
		p.Claims[conditions[i]] = append(p.Claims[conditions[i]], conditions[i+1])
	}
	return p
}

func TestGitLab(t *testing.T) {
	p := of(exchange.GitLab, "project_path", "my-group/my-project", "project_id", "20", "namespace_id", "72", "ref_type", "branch", "ref", "main", "environment", "production", "ref_protected", "true")
	w := newWorld(t, []exchange.Publisher{p})
	w.judge(w.issuer.GitLab, []job{
		{"the job that is meant", nil, ""},
		{"another sub", map[string]any{"sub": "x"}, ""},
		{"EXC-20: a project registered anew", map[string]any{"project_id": "21"}, "project_id"},
		{"EXC-20: a group registered anew", map[string]any{"namespace_id": "73"}, "namespace_id"},
		{"a path in another case", map[string]any{"project_path": "My-Group/my-project"}, "project_path"},
		{"a project of a subgroup", map[string]any{"project_path": "my-group/my-project/my-project"}, "project_path"},
		{"ids that are numbers", map[string]any{"project_id": 20, "namespace_id": 72}, "namespace_id project_id"},
		{"no ids", map[string]any{"project_id": nil, "namespace_id": nil}, "namespace_id project_id"},
		{"the fork of a merge request", map[string]any{"project_id": "99", "namespace_id": "98", "project_path": "fork/my-project", "pipeline_source": "merge_request_event", "ref_path": "refs/merge-requests/1/head"}, "namespace_id project_id project_path"},
		{"a tag of the branch's name", map[string]any{"ref_type": "tag"}, "ref_type"},
		{"another branch", map[string]any{"ref": "main-evil"}, "ref"},
		{"E13: an environment in another case", map[string]any{"environment": "Production"}, "environment"},
		{"E13: no environment", map[string]any{"environment": nil}, "environment"},
		{"an environment below", map[string]any{"environment": "production/eu"}, "environment"},
		{"a boolean instead of a string", map[string]any{"ref_protected": true}, "ref_protected"},
		{"a branch that is not protected", map[string]any{"ref_protected": "false"}, "ref_protected"},
	})
	p = of(exchange.GitLab, "namespace_id", "72", "namespace_path", "my-group", "runner_environment", "gitlab-hosted", "runner_id", "1", "groups_direct", "my-group", "groups_direct", "admins")
	p.Patterns = map[string]exchange.Values{"ci_config_ref_uri": {"gitlab.com/my-group/*//.gitlab-ci.yml@refs/heads/main"}, "environment": {"review/*"}, "ref_path": {"refs/heads/*"}}
	w = newWorld(t, []exchange.Publisher{p})
	review := map[string]any{"environment": "review/1"}
	w.judge(w.issuer.GitLab, []job{
		{"the job that is meant", review, ""},
		{"another project of the group", plus(review, map[string]any{"project_id": "21", "project_path": "my-group/x", "ci_config_ref_uri": "gitlab.com/my-group/x//.gitlab-ci.yml@refs/heads/main"}), ""},
		{"no id of the project", plus(review, map[string]any{"project_id": nil}), "project_id"},
		{"EXC-20: the group registered anew", plus(review, map[string]any{"namespace_id": "73"}), "namespace_id"},
		{"the file of a subgroup", plus(review, map[string]any{"ci_config_ref_uri": "gitlab.com/my-group/x/y//.gitlab-ci.yml@refs/heads/main"}), "ci_config_ref_uri"},
		{"the file of another branch", plus(review, map[string]any{"ci_config_ref_uri": "gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main-evil"}), "ci_config_ref_uri"},
		{"E13: an environment in another case", map[string]any{"environment": "Review/1"}, "environment"},
		{"a merge request's path", plus(review, map[string]any{"ref_path": "refs/merge-requests/1/head"}), "ref_path"},
		{"E16: a runner of their own", plus(review, map[string]any{"runner_environment": "self-hosted"}), "runner_environment"},
		{"a runner's id that is a string", plus(review, map[string]any{"runner_id": "1"}), "runner_id"},
		{"a runner's id that is written otherwise", plus(review, map[string]any{"runner_id": 10}), "runner_id"},
		{"no runner's id", plus(review, map[string]any{"runner_id": nil}), "runner_id"},
		{"another group", plus(review, map[string]any{"groups_direct": []string{"other"}}), "groups_direct"},
		{"one of the groups", plus(review, map[string]any{"groups_direct": []string{"other", "admins"}}), ""},
		{"no groups", plus(review, map[string]any{"groups_direct": []string{}}), "groups_direct"},
		{"a group that is a string", plus(review, map[string]any{"groups_direct": "my-group"}), "groups_direct"},
		{"a group beside a number", plus(review, map[string]any{"groups_direct": []any{"my-group", 1}}), "groups_direct"},
		{"a group in an object", plus(review, map[string]any{"groups_direct": map[string]any{"my-group": "my-group"}}), "groups_direct"},
	})
}

func TestBuildkite(t *testing.T) {
	p := of(exchange.Buildkite, "organization_slug", "acme-inc", "pipeline_slug", "super-duper-app", "step_key", "deploy", "build_number", "421", "runner_environment", "buildkite-hosted")
	p.Patterns = map[string]exchange.Values{"build_branch": {"m*n", "release/*"}}
	w := newWorld(t, []exchange.Publisher{p})
	w.judge(w.issuer.Buildkite, []job{
		{"the job that is meant", nil, ""},
		{"a sub of the job's choice", map[string]any{"sub": "0184990a-477b-4fa8-9968-496074483cee"}, ""},
		{"another organization", map[string]any{"organization_slug": "acme-inc-evil"}, "organization_slug"},
		{"no organization", map[string]any{"organization_slug": nil}, "organization_slug"},
		{"another pipeline", map[string]any{"pipeline_slug": "app"}, "pipeline_slug"},
		{"a step without a key", map[string]any{"step_key": null}, "step_key"},
		{"an empty key", map[string]any{"step_key": ""}, "step_key"},
		{"the word null", map[string]any{"step_key": "null"}, "step_key"},
		{"another number", map[string]any{"build_number": 4210}, "build_number"},
		{"a number that is a string", map[string]any{"build_number": "421"}, "build_number"},
		{"a number that is true", map[string]any{"build_number": true}, "build_number"},
		{"another branch", map[string]any{"build_branch": "evil"}, "build_branch"},
		{"a fork's branch", map[string]any{"build_branch": "evil:main"}, "build_branch"},
		{"a branch two below", map[string]any{"build_branch": "release/1/x"}, "build_branch"},
		{"a branch below", map[string]any{"build_branch": "release/1"}, ""},
		{"E16: an agent of their own", map[string]any{"runner_environment": "self-hosted"}, "runner_environment"},
	})
	numbers := func(n ...string) exchange.Publisher {
		p := of(exchange.Buildkite, "organization_slug", "acme-inc")
		p.Claims["build_number"] = n
		return p
	}
	w = newWorld(t, []exchange.Publisher{numbers("-1", "0", "9", `"421"`, "true", "null", "[1]")})
	number := func(n any) map[string]any { return map[string]any{"build_number": n} }
	w.judge(w.issuer.Buildkite, []job{
		{"below nothing", number(-1), ""}, {"nothing", number(0), ""}, {"nine", number(9), ""}, {"a string", number("421"), "build_number"},
		{"true", number(true), "build_number"}, {"null", number(null), "build_number"}, {"a list", number([]int{1}), "build_number"},
	})
	w = newWorld(t, []exchange.Publisher{of(exchange.Buildkite, "organization_id", "o-1", "pipeline_id", "p-1")})
	ids := map[string]any{"organization_id": "o-1", "pipeline_id": "p-1"}
	w.judge(w.issuer.Buildkite, []job{
		{"with ids", ids, ""},
		{"without ids", nil, "organization_id pipeline_id"},
		{"EXC-20: the organization registered anew", plus(ids, map[string]any{"organization_id": "o-2"}), "organization_id"},
		{"another pipeline", plus(ids, map[string]any{"pipeline_id": "p-2"}), "pipeline_id"},
		{"no slug of the organization", plus(ids, map[string]any{"organization_slug": nil}), "organization_slug"},
		{"no slug of the pipeline", plus(ids, map[string]any{"pipeline_slug": 5}), "pipeline_slug"},
		{"a build without a key of the step", plus(ids, map[string]any{"step_key": null}), ""},
	})
}

func TestCircleCI(t *testing.T) {
	const x = "oidc.circleci.com/"
	claims := exchangetest.CircleCIClaims()
	own := []string{x + "project-id", claims[x+"project-id"].(string), x + "vcs-origin", "github.com/octo-org/octo-repo"}
	rebuild := func(p exchange.Publisher) *world {
		c := new(clock)
		issuer := exchangetest.NewIssuerAt(t, "/org/"+exchangetest.CircleCIOrganization)
		issuer.Now, issuer.Audience = c.Now, audience
		return worldOn(t, &store.Memory{Now: c.Now}, c, issuer, "", []exchange.Publisher{p})
	}
	p := of(exchange.CircleCI, append(own, x+"context-ids", "a74579f1-2e7d-451e-b009-5c082ad2729e", x+"context-ids", "another", x+"vcs-ref", mainRef)...)
	w := rebuild(p)
	w.judge(w.issuer.CircleCI, []job{
		{"the job that is meant", nil, ""},
		{"of another user", map[string]any{"sub": "org/x/project/y/user/z"}, ""},
		{"another project", map[string]any{x + "project-id": "2f1c9c64-6f0e-4b53-a1d7-5d3f9e8b7a61"}, x + "project-id"},
		{"no project", map[string]any{x + "project-id": nil}, x + "project-id"},
		{"the project's name without its prefix", map[string]any{x + "project-id": nil, "project-id": own[1]}, x + "project-id"},
		{"a fork", map[string]any{x + "vcs-origin": "github.com/evil/octo-repo"}, x + "vcs-origin"},
		{"no origin", map[string]any{x + "vcs-origin": nil}, x + "vcs-origin"},
		{"an empty origin", map[string]any{x + "vcs-origin": ""}, x + "vcs-origin"},
		{"another branch", map[string]any{x + "vcs-ref": "refs/heads/x"}, x + "vcs-ref"},
		{"more contexts", map[string]any{x + "context-ids": []string{"x", "another"}}, ""},
		{"no contexts", map[string]any{x + "context-ids": []string{}}, x + "context-ids"},
		{"contexts that are absent", map[string]any{x + "context-ids": nil}, x + "context-ids"},
		{"another context", map[string]any{x + "context-ids": []string{"a74579f1"}}, x + "context-ids"},
		{"a context that is a string", map[string]any{x + "context-ids": "another"}, x + "context-ids"},
		{"a rerun with SSH", map[string]any{x + "ssh-rerun": true}, x + "ssh-rerun"},
		{"a rerun with SSH that is a string", map[string]any{x + "ssh-rerun": "true"}, x + "ssh-rerun"},
		{"a rerun with SSH that is a number", map[string]any{x + "ssh-rerun": 1}, x + "ssh-rerun"},
		{"not a word of SSH", map[string]any{x + "ssh-rerun": nil}, ""},
	})
	w = rebuild(of(exchange.CircleCI, append(own, x+"ssh-rerun", "true", x+"ssh-rerun", "false")...))
	w.judge(w.issuer.CircleCI, []job{
		{"a rerun with SSH that is named", map[string]any{x + "ssh-rerun": true}, ""},
		{"no rerun", nil, ""},
		{"a string", map[string]any{x + "ssh-rerun": "true"}, x + "ssh-rerun"},
		{"nothing", map[string]any{x + "ssh-rerun": nil}, x + "ssh-rerun"},
	})
}

func TestGoogle(t *testing.T) {
	claims := exchangetest.GoogleClaims()
	sub, email := claims["sub"].(string), claims["email"].(string)
	w := newWorld(t, []exchange.Publisher{of(exchange.Google, "sub", sub, "email", email)})
	w.judge(w.issuer.Google, []job{
		{"the account that is meant", nil, ""},
		{"EXC-20: the address given to another account", map[string]any{"sub": "1"}, "sub"},
		{"another address of the account", map[string]any{"email": "evil@my-project.iam.gserviceaccount.com"}, "email"},
		{"the address in another case", map[string]any{"email": "Release@my-project.iam.gserviceaccount.com"}, "email"},
		{"a sub that is a number", map[string]any{"sub": 110432109876543210}, "sub"},
		{"an address that is not verified", map[string]any{"email_verified": false}, "email_verified"},
		{"an address that is verified in words", map[string]any{"email_verified": "true"}, "email_verified"},
		{"an address of which nothing is said", map[string]any{"email_verified": nil}, "email_verified"},
		{"an address verified by null", map[string]any{"email_verified": null}, "email_verified"},
		{"an address verified by 1", map[string]any{"email_verified": 1}, "email_verified"},
	})
	w = newWorld(t, []exchange.Publisher{of(exchange.Google, "sub", sub)})
	w.judge(w.issuer.Google, []job{
		{"without an address", map[string]any{"email": nil, "email_verified": nil}, ""},
		{"another account", map[string]any{"sub": "1"}, "sub"},
		{"no account", map[string]any{"sub": nil}, "sub"},
	})
}

func TestTerraform(t *testing.T) {
	claims := exchangetest.TerraformClaims()
	value := func(name string) string { return claims["terraform_"+name].(string) }
	p := of(exchange.Terraform, "terraform_organization_id", value("organization_id"), "terraform_workspace_id", value("workspace_id"), "terraform_workspace_name", value("workspace_name"), "terraform_run_phase", "apply", "terraform_full_workspace", value("full_workspace"))
	w := newWorld(t, []exchange.Publisher{p})
	module := map[string]any{"sub": "organization:my-org:module:m:operation:test_run", "terraform_workspace_id": nil, "terraform_workspace_name": nil, "terraform_full_workspace": nil, "terraform_run_phase": nil}
	w.judge(w.issuer.Terraform, []job{
		{"the run that is meant", nil, ""},
		{"another sub", map[string]any{"sub": "x"}, ""},
		{"a plan", map[string]any{"terraform_run_phase": "plan"}, "terraform_run_phase"},
		{"EXC-20: the organization registered anew", map[string]any{"terraform_organization_id": "org-x"}, "terraform_organization_id"},
		{"EXC-20: the workspace registered anew", map[string]any{"terraform_workspace_id": "ws-x"}, "terraform_workspace_id"},
		{"no id of the organization", map[string]any{"terraform_organization_id": nil}, "terraform_organization_id"},
		{"a workspace in another case", map[string]any{"terraform_workspace_name": "My-Workspace"}, "terraform_workspace_name"},
		{"a module's test", module, "terraform_full_workspace terraform_run_phase terraform_workspace_id terraform_workspace_name"},
	})
	w = newWorld(t, []exchange.Publisher{of(exchange.Terraform, "terraform_organization_id", value("organization_id"), "terraform_project_name", "Default Project", "terraform_project_id", value("project_id"))})
	w.judge(w.issuer.Terraform, []job{
		{"another workspace of the project", map[string]any{"terraform_workspace_id": "ws-x", "terraform_workspace_name": "x"}, ""},
		{"a project registered anew", map[string]any{"terraform_project_id": "prj-x"}, "terraform_project_id"},
		{"a module's test", module, "terraform_workspace_id"},
	})
}

func TestGeneric(t *testing.T) {
	p := of(exchange.Generic, "sub", "job-1", "sub", "job-2", "Level", "high")
	p.Patterns = map[string]exchange.Values{"path": {"team/*/deploy"}}
	w := newWorld(t, []exchange.Publisher{p})
	good := map[string]any{"sub": "job-2", "Level": "high", "path": "team/a/deploy"}
	w.judge(w.issuer.Token, []job{
		{"the job that is meant", good, ""},
		{"the other", plus(good, map[string]any{"sub": "job-1"}), ""},
		{"both", plus(good, map[string]any{"sub": []string{"job-1", "job-2"}}), "sub"},
		{"one more", plus(good, map[string]any{"sub": "job-3"}), "sub"},
		{"no sub", plus(good, map[string]any{"sub": nil}), "sub"},
		{"an empty sub", plus(good, map[string]any{"sub": ""}), "sub"},
		{"a name in another case", plus(good, map[string]any{"Level": nil, "level": "high"}), "Level"},
		{"a value in another case", plus(good, map[string]any{"Level": "HIGH"}), "Level"},
		{"a path below", plus(good, map[string]any{"path": "team/a/b/deploy"}), "path"},
		{"a path with dots", plus(good, map[string]any{"path": "team/../deploy"}), "path"},
		{"a path that is a number", plus(good, map[string]any{"path": 1}), "path"},
		{"pull requests are nothing special", plus(good, map[string]any{"event_name": "pull_request", "ref": "refs/pull/1/merge"}), ""},
	})
}
