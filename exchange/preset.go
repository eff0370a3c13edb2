package exchange

import (
	"slices"
	"strings"
)

// A Provider names a row of the table of presets.
type Provider string

// The providers. What each one's tokens say is documented by the provider;
// docs/exchange.md tells what is made of it here.
const (
	GitHub    Provider = "github"    // GitHub Actions, also of GitHub Enterprise
	GitLab    Provider = "gitlab"    // GitLab CI/CD, gitlab.com or self-managed
	Buildkite Provider = "buildkite" // Buildkite
	CircleCI  Provider = "circleci"  // CircleCI; the issuer is that of the organization
	Google    Provider = "google"    // service accounts of Google Cloud
	Terraform Provider = "terraform" // HCP Terraform and Terraform Enterprise
	Generic   Provider = "generic"   // any other OpenID Connect issuer
)

// A preset is what is known of one provider's tokens. It is data: what tells
// providers apart stands here and nowhere else.
type preset struct {
	issuer string   // of all tenants; empty: the publisher names one
	owned  []string // globs: no other provider's publisher may have such an issuer
	common []string // globs: the aud that tokens have when the job asks for none
	form   string   // how an issuer's path begins, where each tenant has one of its own

	// anchors are lists of claims that say who a tenant is, among strangers who
	// share the issuer. A publisher binds all of one list, by exact values. All
	// other claims are never enough alone: anybody's job can have them.
	anchors [][]string

	pins    map[string]string            // a claim that can be registered anew → the id that it must come with
	needs   map[string]string            // a claim that says too little → the claim that it must come with
	implies map[string]map[string]string // a claim → what a token must say beside it
	always  []string                     // claims that every token of the provider has
	banned  map[string]string            // claims that are no conditions → why

	refused []refusal         // what matches no publisher that does not ask for it
	equal   map[string]string // two claims that must agree, unless the publisher names the first

	folded    []string        // claims whose values have no case
	patterned []string        // claims that may have patterns; nil: all
	kinds     map[string]kind // claims that are no strings
	derived   map[string]func(claimSet) (string, bool)

	noTokenID   bool     // the provider's tokens have no jti
	index       []string // claims to find publishers by, the most telling first
	environment string   // the claim that names a deployment environment
	run         string   // the claim that names the run
	attrs       []string // claims that become Attrs of the Principal
}

// A refusal is what a token says when somebody else's code may be running.
type refusal struct {
	claim  string
	globs  []string
	unless string // named by the publisher, lifts the refusal
}

var presets = map[Provider]*preset{
	GitHub:    &github,
	GitLab:    &gitlab,
	Buildkite: &buildkite,
	CircleCI:  &circleci,
	Google:    &google,
	Terraform: &terraform,
	Generic:   &generic,
}

var github = preset{
	issuer: "https://token.actions.githubusercontent.com",
	owned: []string{
		"https://token.actions.githubusercontent.com", "https://token.actions.githubusercontent.com/*",
		"https://token.actions.*.ghe.com", "https://*/_services/token", "https://*:*/_services/token",
	},
	common:  []string{"https://github.com/*"},
	anchors: [][]string{{"repository_owner_id"}},
	pins:    map[string]string{"repository": "repository_id"},
	always:  []string{"repository", "repository_id", "repository_owner_id", "event_name"},
	banned: map[string]string{
		"sub":              "its form is the owner's to change, and differs between old and new repositories: name the discrete claims",
		"repository_owner": "it can be registered anew: bind repository_owner_id",
	},
	refused: []refusal{
		{"event_name", []string{"pull_request", "pull_request_target", "workflow_run", "issue_comment"}, "event_name"},
		{"ref", []string{"refs/pull/*/merge", "refs/pull/*/head"}, "event_name"},
		{"sub", []string{"repo:*/*:pull_request"}, "event_name"},
	},
	equal:       map[string]string{"job_workflow_ref": "workflow_ref"},
	folded:      []string{"repository", "environment"},
	patterned:   []string{"ref", "environment", "workflow_ref", "job_workflow_ref"},
	derived:     map[string]func(claimSet) (string, bool){"workflow_file": workflowFile},
	index:       []string{"repository_id", "repository_owner_id"},
	environment: "environment",
	run:         "run_id",
	attrs:       []string{"repository", "repository_id", "repository_owner_id", "ref", "sha", "environment", "event_name", "workflow_ref", "job_workflow_ref", "actor", "run_id", "run_attempt"},
}

var gitlab = preset{
	issuer:  "https://gitlab.com",
	owned:   []string{"https://gitlab.com"},
	anchors: [][]string{{"project_id"}, {"namespace_id"}},
	pins:    map[string]string{"project_path": "project_id", "namespace_path": "namespace_id"},
	needs:   map[string]string{"ref": "ref_type"}, // a branch and a tag may share a name
	always:  []string{"namespace_id", "project_id"},
	banned: map[string]string{
		"sub": "it is made of names that can be registered anew: name the discrete claims",
	},
	patterned:   []string{"ref", "ref_path", "environment", "ci_config_ref_uri"},
	kinds:       map[string]kind{"runner_id": number, "groups_direct": list},
	index:       []string{"project_id", "namespace_id"},
	environment: "environment",
	run:         "pipeline_id",
	attrs:       []string{"project_path", "project_id", "namespace_id", "ref", "ref_type", "sha", "environment", "pipeline_source", "pipeline_id", "job_id", "user_login"},
}

var buildkite = preset{
	issuer:    "https://agent.buildkite.com",
	owned:     []string{"https://agent.buildkite.com"},
	common:    []string{"https://buildkite.com/*"},
	anchors:   [][]string{{"organization_id"}, {"organization_slug"}},
	needs:     map[string]string{"pipeline_slug": "organization_slug"}, // which is unique in its organization only
	always:    []string{"organization_slug", "pipeline_slug"},
	banned:    map[string]string{"sub": "the job chooses its form: name the discrete claims"},
	patterned: []string{"build_branch", "build_tag"},
	kinds:     map[string]kind{"build_number": number},
	noTokenID: true,
	index:     []string{"pipeline_id", "pipeline_slug", "organization_id", "organization_slug"},
	run:       "job_id",
	attrs:     []string{"organization_slug", "pipeline_slug", "build_number", "build_branch", "build_tag", "build_commit", "step_key", "job_id"},
}

var circleci = preset{
	owned:     []string{"https://oidc.circleci.com/org/*"},
	form:      "/org/",
	anchors:   [][]string{{"oidc.circleci.com/project-id", "oidc.circleci.com/vcs-origin"}}, // forks build in the project, from an origin of their own
	always:    []string{"oidc.circleci.com/project-id"},
	banned:    map[string]string{"sub": "it names the user who pushed: name the discrete claims"},
	refused:   []refusal{{"oidc.circleci.com/ssh-rerun", []string{"true"}, "oidc.circleci.com/ssh-rerun"}},
	patterned: []string{"oidc.circleci.com/vcs-ref"},
	kinds:     map[string]kind{"oidc.circleci.com/context-ids": list, "oidc.circleci.com/ssh-rerun": boolean},
	noTokenID: true,
	index:     []string{"oidc.circleci.com/project-id"},
	run:       "oidc.circleci.com/workflow-id",
	attrs:     []string{"oidc.circleci.com/project-id", "oidc.circleci.com/vcs-origin", "oidc.circleci.com/vcs-ref", "oidc.circleci.com/pipeline-id", "oidc.circleci.com/workflow-id", "oidc.circleci.com/job-id"},
}

var google = preset{
	issuer:    "https://accounts.google.com",
	owned:     []string{"https://accounts.google.com"},
	anchors:   [][]string{{"sub"}, {"email"}},
	pins:      map[string]string{"email": "sub"},
	implies:   map[string]map[string]string{"email": {"email_verified": "true"}},
	patterned: []string{},
	kinds:     map[string]kind{"email_verified": boolean},
	noTokenID: true,
	index:     []string{"sub", "email"},
	attrs:     []string{"sub", "email", "azp"},
}

var terraform = preset{
	issuer:  "https://app.terraform.io",
	owned:   []string{"https://app.terraform.io"},
	anchors: [][]string{{"terraform_organization_id"}},
	pins: map[string]string{
		"terraform_workspace_name": "terraform_workspace_id", "terraform_project_name": "terraform_project_id",
		"terraform_full_workspace": "terraform_workspace_id",
	},
	always: []string{"terraform_organization_id", "terraform_workspace_id"}, // a module's test run has no workspace
	banned: map[string]string{
		"sub":                         "it is made of names that can be registered anew: name the discrete claims",
		"terraform_organization_name": "it can be registered anew: bind terraform_organization_id",
	},
	patterned: []string{},
	index:     []string{"terraform_workspace_id", "terraform_project_id", "terraform_organization_id"},
	run:       "terraform_run_id",
	attrs:     []string{"terraform_organization_name", "terraform_project_name", "terraform_workspace_name", "terraform_workspace_id", "terraform_run_phase", "terraform_run_id"},
}

var generic = preset{
	index: []string{"sub"},
	attrs: []string{"sub"},
}

func providerNames() []string {
	var names []string
	for p := range presets {
		names = append(names, string(p))
	}
	slices.Sort(names)
	return names
}

// workflowFile is the file name of the workflow that was started: what remains
// of workflow_ref without the repository and the ref that the same token names,
// so that no branch or directory can be taken for a part of a file's name.
// Deployments of a commit have an empty ref, and the commit in its place.
func workflowFile(c claimSet) (string, bool) {
	repository, _ := c.string("repository")
	at, _ := c.string("ref")
	if at == "" {
		at, _ = c.string("sha")
	}
	full, _ := c.string("workflow_ref")
	if repository == "" || at == "" {
		return "", false
	}
	rest, ok := strings.CutPrefix(full, repository+"/.github/workflows/")
	if !ok {
		return "", false
	}
	file, ok := strings.CutSuffix(rest, "@"+at)
	return file, ok && file != "" && !strings.ContainsAny(file, "/@")
}
