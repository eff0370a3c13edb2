package exchangetest

import (
	"strings"
	"time"
)

// GitHub signs a token like those of GitHub Actions (GitHubClaims) with the
// claims in change put in their place; a nil value leaves the claim out. A
// claim that repeats part of another, as sub does, does not follow it. Errors
// are as for Token, which holds for the methods below as well.
func (i *Issuer) GitHub(change map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: 5 * time.Minute, nbf: true, early: 5 * time.Minute, jti: true}, GitHubClaims(), change)
}

// GitLab signs a token like those of GitLab CI/CD (GitLabClaims), which live as
// long as the job may take: one hour by default.
func (i *Issuer) GitLab(change map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: time.Hour, nbf: true, early: 5 * time.Second, jti: true}, GitLabClaims(), change)
}

// Buildkite signs a token like those of Buildkite (BuildkiteClaims), without a
// jti. The step_key of a step that has no key is json.RawMessage("null").
func (i *Issuer) Buildkite(change map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: 5 * time.Minute, nbf: true}, BuildkiteClaims(), change)
}

// CircleCI signs a token like those of CircleCI (CircleCIClaims), which live
// for one hour and have neither nbf nor jti. CircleCI has an issuer for each
// organization: NewIssuerAt(t, "/org/"+CircleCIOrganization).
func (i *Issuer) CircleCI(change map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: time.Hour}, CircleCIClaims(), change)
}

// Google signs a token like those of Google's service accounts (GoogleClaims),
// which live for one hour and have neither nbf nor jti.
func (i *Issuer) Google(change map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: time.Hour}, GoogleClaims(), change)
}

// Terraform signs a token like those of HCP Terraform (TerraformClaims).
func (i *Issuer) Terraform(change map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: 5 * time.Minute, nbf: true, early: 5 * time.Second, jti: true}, TerraformClaims(), change)
}

// CircleCIOrganization is the organization in CircleCIClaims.
const CircleCIOrganization = "6b3e1f0a-8d2c-4a57-9e41-0c5d7f2a9b18"

const (
	commit  = "9f3182061f1e2cca4702c368cbc039b7dc9d4485"
	project = "2f1c9c64-6f0e-4b53-a1d7-5d3f9e8b7a60"
)

// GitHubClaims returns the claims of a job in the repository
// octo-org/octo-repo, on the branch main and in the environment prod, as
// github.com has them: all of them strings. Like the functions below, it
// returns a new map at each call, with the real issuer and its default
// audience, and without iat, nbf, exp and jti.
func GitHubClaims() map[string]any {
	const workflow = "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main"
	return map[string]any{
		"iss":                   "https://token.actions.githubusercontent.com",
		"aud":                   "https://github.com/octo-org",
		"sub":                   "repo:octo-org/octo-repo:environment:prod",
		"actor":                 "octocat",
		"actor_id":              "12",
		"base_ref":              "",
		"check_run_id":          "30669124821",
		"environment":           "prod",
		"event_name":            "push",
		"head_ref":              "",
		"job_workflow_ref":      workflow,
		"job_workflow_sha":      commit,
		"ref":                   "refs/heads/main",
		"ref_protected":         "true",
		"ref_type":              "branch",
		"repository":            "octo-org/octo-repo",
		"repository_id":         "74",
		"repository_owner":      "octo-org",
		"repository_owner_id":   "65",
		"repository_visibility": "private",
		"run_attempt":           "2",
		"run_id":                "10939128412",
		"run_number":            "10",
		"runner_environment":    "github-hosted",
		"sha":                   commit,
		"workflow":              "Release",
		"workflow_ref":          workflow,
		"workflow_sha":          commit,
	}
}

// GitLabClaims returns the claims of a job of the project my-group/my-project
// on gitlab.com, on the branch main and in the environment production. Its
// booleans and its ids are strings, except runner_id, which is a number.
func GitLabClaims() map[string]any {
	return map[string]any{
		"iss":                   "https://gitlab.com",
		"aud":                   "https://gitlab.com",
		"sub":                   "project_path:my-group/my-project:ref_type:branch:ref:main",
		"ci_config_ref_uri":     "gitlab.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
		"ci_config_sha":         commit,
		"deployment_tier":       "production",
		"environment":           "production",
		"environment_action":    "start",
		"environment_protected": "true",
		"groups_direct":         []string{"my-group", "my-other-group/my-subgroup"},
		"job_id":                "302",
		"job_namespace_id":      "72",
		"job_namespace_path":    "my-group",
		"job_project_id":        "20",
		"job_project_path":      "my-group/my-project",
		"namespace_id":          "72",
		"namespace_path":        "my-group",
		"pipeline_id":           "574",
		"pipeline_source":       "push",
		"project_id":            "20",
		"project_path":          "my-group/my-project",
		"project_visibility":    "private",
		"ref":                   "main",
		"ref_path":              "refs/heads/main",
		"ref_protected":         "true",
		"ref_type":              "branch",
		"runner_environment":    "gitlab-hosted",
		"runner_id":             1,
		"sha":                   commit,
		"user_access_level":     "developer",
		"user_email":            "sample-user@example.com",
		"user_id":               "1",
		"user_identities":       []map[string]string{{"provider": "github", "extern_uid": "2435223452345"}},
		"user_login":            "sample-user",
	}
}

// BuildkiteClaims returns the claims of the step deploy of the pipeline
// super-duper-app of acme-inc, on the branch main. The build_number is a
// number, and there is no build_tag on a branch. The ids of organization and
// pipeline are there only when a job asks for them: they are left out.
func BuildkiteClaims() map[string]any {
	return map[string]any{
		"iss":                "https://agent.buildkite.com",
		"aud":                "https://buildkite.com/acme-inc",
		"sub":                "organization:acme-inc:pipeline:super-duper-app:ref:refs/heads/main:commit:" + commit + ":step:deploy",
		"agent_id":           "0184990a-4782-42b5-afc1-16715b10b8ff",
		"build_branch":       "main",
		"build_commit":       commit,
		"build_number":       421,
		"build_source":       "webhook",
		"job_id":             "0184990a-477b-4fa8-9968-496074483cee",
		"organization_slug":  "acme-inc",
		"pipeline_slug":      "super-duper-app",
		"runner_environment": "buildkite-hosted",
		"step_key":           "deploy",
	}
}

// CircleCIClaims returns the claims of a job on the branch main, with one
// context. The names are prefixed; context-ids is a list, ssh-rerun a boolean.
func CircleCIClaims() map[string]any {
	claims := map[string]any{
		"iss": "https://oidc.circleci.com/org/" + CircleCIOrganization,
		"aud": CircleCIOrganization,
		"sub": strings.Join([]string{"org", CircleCIOrganization, "project", project, "user", "c0f4e8a2-51b7-4a8e-8a39-7d6be0f1c253"}, "/"),
	}
	for name, value := range map[string]any{
		"context-ids":            []string{"a74579f1-2e7d-451e-b009-5c082ad2729e"},
		"job-id":                 "d2b8b4d4-0a5f-4e0e-9d57-0f7f3a4f1b11",
		"pipeline-definition-id": "5c1b0f3a-7f5e-4c0d-8b8c-3a1d2e4f5a66",
		"pipeline-id":            "e4f0c2b1-93ad-4f6b-8f0e-6a7b8c9d0e22",
		"project-id":             project,
		"ssh-rerun":              false,
		"vcs-origin":             "github.com/octo-org/octo-repo",
		"vcs-ref":                "refs/heads/main",
		"workflow-id":            "7a9d3c5e-1b2f-4d6a-9c8e-0f1e2d3c4b33",
	} {
		claims["oidc.circleci.com/"+name] = value
	}
	return claims
}

// GoogleClaims returns the claims of a service account. Its email_verified is a
// boolean. It has no default audience: this one is made up.
func GoogleClaims() map[string]any {
	const id = "110432109876543210987"
	return map[string]any{
		"iss":            "https://accounts.google.com",
		"aud":            "https://service.example",
		"sub":            id,
		"azp":            id,
		"email":          "release@my-project.iam.gserviceaccount.com",
		"email_verified": true,
	}
}

// TerraformClaims returns the claims of an apply in the workspace my-workspace
// of my-org. Names may hold blanks. Its audience is the one for AWS.
func TerraformClaims() map[string]any {
	const workspace = "organization:my-org:project:Default Project:workspace:my-workspace"
	return map[string]any{
		"iss":                         "https://app.terraform.io",
		"aud":                         "aws.workload.identity",
		"sub":                         workspace + ":run_phase:apply",
		"terraform_full_workspace":    workspace,
		"terraform_organization_id":   "org-GRNbCjYNpBB6NEBH",
		"terraform_organization_name": "my-org",
		"terraform_project_id":        "prj-vegSA59s1XPwMr2t",
		"terraform_project_name":      "Default Project",
		"terraform_run_id":            "run-X3n1AUXNGWbfECsJ",
		"terraform_run_phase":         "apply",
		"terraform_workspace_id":      "ws-mbsd5E3Ktt5Rg2Xm",
		"terraform_workspace_name":    "my-workspace",
	}
}
