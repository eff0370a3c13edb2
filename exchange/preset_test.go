package exchange_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/exchange"
)

// A job is a row of a table: what its token says unlike the provider's common
// one, and which claims keep it from matching; none: it obtains a key.
type job struct {
	name   string
	change map[string]any
	miss   string
}

// judge presents the tokens of jobs to the only publisher of w. What Explain
// says and what the endpoint does must be the same.
func (w *world) judge(sign func(map[string]any) string, jobs []job) {
	w.t.Helper()
	for _, j := range jobs {
		token := sign(j.change)
		report, err := w.ExplainToken(w.t.Context(), token)
		if err != nil || len(report.Publishers) != 1 {
			w.t.Errorf("%s: explain: got %+v, %v", j.name, report, err)
			continue
		}
		var missed []string
		for _, d := range report.Publishers[0].Differences {
			missed = append(missed, d.Claim)
		}
		slices.Sort(missed)
		if got := strings.Join(slices.Compact(missed), " "); got != j.miss {
			w.t.Errorf("%s: missed by %q, want %q", j.name, got, j.miss)
		}
		if j.miss == "" {
			if report.Outcome != "issue" {
				w.t.Errorf("%s: explained as %q, want issue", j.name, report.Outcome)
			}
			w.wantKey(token)
			continue
		}
		if report.Outcome != "refuse" {
			w.t.Errorf("%s: explained as %q, want refuse", j.name, report.Outcome)
		}
		w.wantRefused(j.name, token, "")
	}
}

// plus puts more changes to a change.
func plus(change map[string]any, more map[string]any) map[string]any {
	all := maps.Clone(change)
	maps.Copy(all, more)
	return all
}

var null = json.RawMessage("null")

const (
	mainRef   = "refs/heads/main"
	workflows = "octo-org/octo-repo/.github/workflows/"
)

// running is what tokens of a workflow say of it.
func running(path, ref string) map[string]any {
	return map[string]any{"ref": ref, "workflow_ref": path + "@" + ref, "job_workflow_ref": path + "@" + ref}
}

// release is a GitHub publisher that names all there is to name.
func release(p *exchange.Publisher) {
	p.Claims["workflow_file"], p.Claims["ref"], p.Claims["environment"] = exchange.Values{"release.yml"}, exchange.Values{mainRef}, exchange.Values{"prod"}
}

func TestGitHub(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(release)})
	w.judge(w.issuer.GitHub, []job{
		{"the job that is meant", nil, ""},
		{"names in another case", map[string]any{"repository": "Octo-Org/OCTO-repo", "workflow_ref": "Octo-Org/OCTO-repo/.github/workflows/release.yml@" + mainRef, "job_workflow_ref": "Octo-Org/OCTO-repo/.github/workflows/release.yml@" + mainRef, "environment": "PROD"}, ""},
		{"the old form of sub", map[string]any{"sub": "repo:octo-org/octo-repo:ref:refs/heads/main"}, ""},
		{"the immutable form of sub", map[string]any{"sub": "repo:octo-org@65/octo-repo@74:ref:refs/heads/main"}, ""},
		{"a sub of the owner's making", map[string]any{"sub": "whatever:they:like"}, ""},
		{"no workflow claims of the job", map[string]any{"job_workflow_ref": nil}, "job_workflow_ref"},

		{"EXC-20: an owner registered anew", map[string]any{"repository_owner_id": "66"}, "repository_owner_id"},
		{"EXC-20: a repository registered anew", map[string]any{"repository_id": "75"}, "repository_id"},
		{"EXC-20: both", map[string]any{"repository_id": "75", "repository_owner_id": "66"}, "repository_id repository_owner_id"},
		{"another repository", map[string]any{"repository": "octo-org/other"}, "repository workflow_file"},
		{"the repository's name as a prefix", map[string]any{"repository": "octo-org/octo-repo-evil"}, "repository workflow_file"},
		{"another owner's name", map[string]any{"repository": "octo-org-evil/octo-repo"}, "repository workflow_file"},
		{"no ids", map[string]any{"repository_id": nil, "repository_owner_id": nil}, "repository_id repository_owner_id"},
		{"ids that are numbers", map[string]any{"repository_id": 74, "repository_owner_id": 65}, "repository_id repository_owner_id"},
		{"an id with a zero before", map[string]any{"repository_id": "074"}, "repository_id"},
		{"an id with a space", map[string]any{"repository_id": "74 "}, "repository_id"},
		{"an id in a list", map[string]any{"repository_id": []string{"74"}}, "repository_id"},
		{"an id in an object", map[string]any{"repository_id": map[string]string{"74": "74"}}, "repository_id"},
		{"an id that is null", map[string]any{"repository_id": null}, "repository_id"},
		{"an id that is empty", map[string]any{"repository_id": ""}, "repository_id"},
		{"E12: a claim named in another case", map[string]any{"repository_id": nil, "Repository_Id": "74"}, "repository_id"},
		{"E12: a claim named in another case beside the true one", map[string]any{"repository_id": "75", "Repository_Id": "74"}, "repository_id"},

		{"another branch", running(workflows+"release.yml", "refs/heads/other"), "ref"},
		{"EXC-25: the branch as a prefix", running(workflows+"release.yml", "refs/heads/main-evil"), "ref"},
		{"a branch below", running(workflows+"release.yml", "refs/heads/main/x"), "ref"},
		{"a tag of the branch's name", running(workflows+"release.yml", "refs/tags/main"), "ref"},
		{"a branch in another case", running(workflows+"release.yml", "refs/heads/Main"), "ref"},
		{"a branch with a colon", running(workflows+"release.yml", "refs/heads/main:x"), "ref"},
		{"a branch with an escape", running(workflows+"release.yml", "refs/heads/main%3Ax"), "ref"},
		{"an empty branch", map[string]any{"ref": ""}, "ref workflow_file"},
		{"no branch", map[string]any{"ref": nil}, "ref workflow_file"},
		{"a branch that is null", map[string]any{"ref": null}, "ref workflow_file"},

		{"no environment", map[string]any{"environment": nil}, "environment"},
		{"an empty environment", map[string]any{"environment": ""}, "environment"},
		{"another environment", map[string]any{"environment": "prod-eu"}, "environment"},
		{"E10: an environment like a sub", map[string]any{"environment": "x:ref:refs/heads/main", "sub": "repo:octo-org/octo-repo:environment:x:ref:refs/heads/main"}, "environment"},
		{"E10: the same, escaped", map[string]any{"environment": "prod%3Aref", "sub": "repo:octo-org/octo-repo:environment:prod%3Aref"}, "environment"},
		{"an environment with a Kelvin sign", map[string]any{"environment": "prod\u212a"}, "environment"},

		{"no event", map[string]any{"event_name": nil}, "event_name"},
		{"an event that is no string", map[string]any{"event_name": 5}, "event_name"},
		{"E2: a fork's pull request", map[string]any{"event_name": "pull_request"}, "event_name"},
		{"E2: its target", map[string]any{"event_name": "pull_request_target"}, "event_name"},
		{"E2: a workflow behind it", map[string]any{"event_name": "workflow_run"}, "event_name"},
		{"E2: a comment", map[string]any{"event_name": "issue_comment"}, "event_name"},
		{"EXC-27: told by sub alone", map[string]any{"sub": "repo:octo-org/octo-repo:pull_request"}, "sub"},
		{"EXC-27: told by the immutable sub alone", map[string]any{"sub": "repo:octo-org@65/octo-repo@74:pull_request"}, "sub"},
		{"EXC-27: told by ref alone", running(workflows+"release.yml", "refs/pull/1/merge"), "ref"},
		{"EXC-27: all of it", plus(running(workflows+"release.yml", "refs/pull/1/merge"), map[string]any{"event_name": "pull_request", "sub": "repo:octo-org/octo-repo:pull_request"}), "event_name ref sub"},
	})
}

// E10, E11 and EXC-25: which workflow it is.
func TestGitHubWorkflows(t *testing.T) {
	jobs := []job{
		{"a branch named like a workflow", running(workflows+"release.yml", "refs/heads/misleading@branch.yml"), ""},
		{"a branch named like another workflow", running(workflows+"evil.yml", "refs/heads/x@release.yml"), "workflow_file"},
		{"a workflow with an @", running(workflows+"nested.yml@evil.yml", mainRef), "workflow_file"},
		{"a workflow with the name behind an @", running(workflows+"evil.yml@release.yml", mainRef), "workflow_file"},
		{"a workflow with the name before an @", running(workflows+"release.yml@evil.yml", mainRef), "workflow_file"},
		{"a file below", running(workflows+"x/release.yml", mainRef), "workflow_file"},
		{"a folder of the name", running(workflows+"release.yml/x.yml", mainRef), "workflow_file"},
		{"EXC-25: a backup", running(workflows+"release.yml.bak", mainRef), "workflow_file"},
		{"another case", running(workflows+"Release.yml", mainRef), "workflow_file"},
		{"no name", running(workflows, mainRef), "workflow_file"},
		{"another folder", running("octo-org/octo-repo/.github/other/release.yml", mainRef), "workflow_file"},
		{"EXC-25: of another repository", running("other/octo-repo/.github/workflows/release.yml", mainRef), "workflow_file"},
		{"of a repository above", running("x/"+workflows+"release.yml", mainRef), "workflow_file"},
		{"no repository to compare with", map[string]any{"repository": nil}, "repository workflow_file"},
		{"no repository, and a workflow of none", plus(running("/.github/workflows/release.yml", mainRef), map[string]any{"repository": nil}), "repository workflow_file"},
		{"a file alone", running("release.yml", mainRef), "workflow_file"},
		{"no workflow", map[string]any{"workflow_ref": nil, "job_workflow_ref": nil}, "workflow_file"},
		{"a claim of the name that is asked for", plus(running(workflows+"evil.yml", mainRef), map[string]any{"workflow_file": "release.yml"}), "workflow_file"},
		{"at another ref than the token's", map[string]any{"workflow_ref": workflows + "release.yml@refs/heads/x", "job_workflow_ref": workflows + "release.yml@refs/heads/x"}, "workflow_file"},
		{"at no ref", map[string]any{"workflow_ref": workflows + "release.yml", "job_workflow_ref": workflows + "release.yml"}, "workflow_file"},
		{"a deployment of a commit", map[string]any{"ref": "", "sha": "9f31", "workflow_ref": workflows + "release.yml@9f31", "job_workflow_ref": workflows + "release.yml@9f31"}, ""},
		{"a deployment of another commit", map[string]any{"ref": "", "sha": "9f32", "workflow_ref": workflows + "release.yml@9f31", "job_workflow_ref": workflows + "release.yml@9f31"}, "workflow_file"},
		{"a commit though there is a branch", map[string]any{"sha": "9f31", "workflow_ref": workflows + "release.yml@9f31", "job_workflow_ref": workflows + "release.yml@9f31"}, "workflow_file"},
		{"neither branch nor commit", map[string]any{"ref": "", "sha": "", "workflow_ref": workflows + "release.yml@", "job_workflow_ref": workflows + "release.yml@"}, "workflow_file"},
		{"E11: a reusable workflow of another repository", map[string]any{"job_workflow_ref": "evil/shared/.github/workflows/release.yml@" + mainRef}, "job_workflow_ref"},
		{"E11: a reusable workflow of the same", map[string]any{"job_workflow_ref": workflows + "build.yml@" + mainRef}, "job_workflow_ref"},
		{"E11: the same workflow of another branch", map[string]any{"job_workflow_ref": workflows + "release.yml@refs/heads/main-evil"}, "job_workflow_ref"},
		{"E11: a reusable workflow beside none", map[string]any{"workflow_ref": nil}, "job_workflow_ref workflow_file"},
		{"E11: one in another case", map[string]any{"job_workflow_ref": workflows + "RELEASE.yml@" + mainRef}, "job_workflow_ref"},
		{"E11: one that is null", map[string]any{"job_workflow_ref": null}, "job_workflow_ref"},
		{"E11: two that are null", map[string]any{"job_workflow_ref": null, "workflow_ref": null}, "job_workflow_ref workflow_file"},
		{"E11: two that are empty", map[string]any{"job_workflow_ref": "", "workflow_ref": ""}, "job_workflow_ref workflow_file"},
	}
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Claims["workflow_file"] = exchange.Values{"release.yml"} })})
	w.judge(w.issuer.GitHub, jobs)

	// Not even a publisher that asks for it is given a file that is none.
	files := []string{"x/release.yml", "nested.yml@evil.yml", "other/octo-repo/.github/workflows/a.yml", workflows + "a.yml"}
	w = newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Claims["workflow_file"] = files })})
	w.judge(w.issuer.GitHub, []job{
		{"a file below", running(workflows+files[0], mainRef), "workflow_file"},
		{"a file with an @", running(workflows+files[1], mainRef), "workflow_file"},
		{"of another repository", running(files[2], mainRef), "workflow_file"},
		{"a path", running(files[3], mainRef), "workflow_file"},
	})

	const shared = "octo-org/shared/.github/workflows/deploy.yml@refs/heads/main"
	w = newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Claims["job_workflow_ref"] = exchange.Values{shared} })})
	w.judge(w.issuer.GitHub, []job{
		{"the reusable workflow that is named", map[string]any{"job_workflow_ref": shared}, ""},
		{"none", nil, "job_workflow_ref"},
		{"that of another repository", map[string]any{"job_workflow_ref": strings.Replace(shared, "octo-org", "evil-org", 1)}, "job_workflow_ref"},
		{"that of another branch", map[string]any{"job_workflow_ref": shared + "-evil"}, "job_workflow_ref"},
	})
	// A claim that the publisher names is compared, whatever the other says.
	w = newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) {
		p.Patterns = map[string]exchange.Values{"workflow_ref": {workflows + "*.yml@refs/tags/v*"}}
	})})
	w.judge(w.issuer.GitHub, []job{
		{"a workflow at a tag", running(workflows+"a.yml", "refs/tags/v1.2"), ""},
		{"a workflow at a branch", nil, "workflow_ref"},
		{"a workflow below", running(workflows+"x/a.yml", "refs/tags/v1"), "workflow_ref"},
		{"a reusable workflow at a branch", plus(running(workflows+"a.yml", "refs/tags/v1"), map[string]any{"job_workflow_ref": shared}), "job_workflow_ref"},
	})
}

func TestGitHubPatterns(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) {
		p.Patterns = map[string]exchange.Values{"ref": {"refs/heads/release-*", "refs/tags/v*"}, "environment": {"Prod-*", "AZ-*"}}
	})})
	at := func(ref, environment string) map[string]any {
		return plus(running(workflows+"release.yml", ref), map[string]any{"environment": environment})
	}
	w.judge(w.issuer.GitHub, []job{
		{"one of the patterns", at("refs/heads/release-1.x", "prod-eu"), ""},
		{"the other, the environment in another case", at("refs/tags/v1", "PROD-EU"), ""},
		{"an environment of the first and the last letter", at("refs/tags/v1", "az-1"), ""},
		{"a ref in another case", at("refs/tags/V1", "prod-eu"), "ref"},
		{"EXC-23: a slash more", at("refs/tags/v1/x", "prod-eu"), "ref"},
		{"EXC-23: a colon", at("refs/tags/v1:environment:prod", "prod-eu"), "ref"},
		{"EXC-23: an escaped colon", at("refs/tags/v1%3Ax", "prod-eu"), "ref"},
		{"EXC-23: an environment with a colon", at("refs/tags/v1", "prod-x:ref:refs/heads/main"), "environment"},
		{"nothing for the star", at("refs/tags/v", "prod-eu"), "ref"},
		{"text before", at("x/refs/tags/v1", "prod-eu"), "ref"},
		{"no environment", plus(at("refs/tags/v1", ""), map[string]any{"environment": nil}), "environment"},
	})
	whole := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) {
		delete(p.Claims, "repository")
		delete(p.Claims, "repository_id")
		p.Claims["runner_environment"] = exchange.Values{"github-hosted"}
	})})
	whole.judge(whole.issuer.GitHub, []job{
		{"another repository of the owner", plus(running("octo-org/x/.github/workflows/a.yml", mainRef), map[string]any{"repository": "octo-org/x", "repository_id": "9"}), ""},
		{"EXC-20: the owner registered anew", map[string]any{"repository_owner_id": "66"}, "repository_owner_id"},
		{"no repository", map[string]any{"repository": nil}, "repository"},
		{"no id of the repository", map[string]any{"repository_id": nil}, "repository_id"},
		{"an id of the repository that is a number", map[string]any{"repository_id": 74}, "repository_id"},
		{"E16: a runner of their own", map[string]any{"runner_environment": "self-hosted"}, "runner_environment"},
		{"E16: a runner of no kind", map[string]any{"runner_environment": nil}, "runner_environment"},
		{"EXC-27: a head of a pull request", running(workflows+"release.yml", "refs/pull/12/head"), "ref"},
		{"EXC-27: its merge", running(workflows+"release.yml", "refs/pull/12/merge"), "ref"},
		{"EXC-27: a ref of another type", map[string]any{"ref": []string{mainRef}}, "ref"},
		{"no ref, as for deployments of a commit", map[string]any{"ref": ""}, ""},
		{"EXC-27: a sub of another type", map[string]any{"sub": []string{"repo:octo-org/octo-repo:pull_request"}}, "sub"},
		{"a branch that only looks like one", running(workflows+"release.yml", "refs/heads/pull/12/merge"), ""},
		{"EXC-27: a pull request", map[string]any{"event_name": "pull_request_target"}, "event_name"},
		{"an event nobody has heard of", map[string]any{"event_name": "pull_request_x"}, ""},
		{"E11: a reusable workflow beside none", map[string]any{"workflow_ref": nil}, "job_workflow_ref"},
		{"E11: none beside a workflow", map[string]any{"job_workflow_ref": nil}, "job_workflow_ref"},
		{"E11: a reusable workflow", map[string]any{"job_workflow_ref": "evil/x/.github/workflows/a.yml@" + mainRef}, "job_workflow_ref"},
		{"neither workflow: old servers", map[string]any{"job_workflow_ref": nil, "workflow_ref": nil}, ""},
	})
}

// EXC-27: a publisher may ask for pull requests, and gets what it names.
func TestGitHubEvents(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Claims["event_name"] = exchange.Values{"pull_request", "push"} })})
	pull := plus(running(workflows+"release.yml", "refs/pull/1/merge"), map[string]any{"event_name": "pull_request", "sub": "repo:octo-org/octo-repo:pull_request"})
	w.judge(w.issuer.GitHub, []job{
		{"a pull request", pull, ""},
		{"a push", nil, ""},
		{"the target of one", plus(pull, map[string]any{"event_name": "pull_request_target"}), "event_name"},
		{"another event", map[string]any{"event_name": "workflow_dispatch"}, "event_name"},
		{"an event in another case", map[string]any{"event_name": "Push"}, "event_name"},
	})
}
