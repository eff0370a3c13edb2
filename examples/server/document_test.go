package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// block returns the first block of a language in docs/exchange.md.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/exchange.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/exchange.md has no block of %s", language)
	}
	return string(found[1])
}

// TestDocumentedJob runs the job of docs/exchange.md against a server that
// trusts the publisher of docs/exchange.md, as GitHub's runner would, and once
// more from another environment.
func TestDocumentedJob(t *testing.T) {
	t.Parallel()
	needTool(t, "curl")
	needTool(t, "jq")
	needTool(t, "bash")
	issuer := exchangetest.NewIssuer(t)
	in := newInstallation(t)
	var p exchange.Publisher
	if err := json.Unmarshal([]byte(block(t, "json")), &p); err != nil {
		t.Fatal(err)
	}
	p.Issuer = issuer.URL()
	in.trust(p)
	server := in.start()
	_, script, found := strings.Cut(block(t, "yaml"), "run: |\n")
	if !found {
		t.Fatal("the job runs nothing")
	}
	for environment, want := range map[string]string{"prod": `"subject":"deployer"`, "staging": "invalid_grant: no trusted publisher"} {
		out, err := in.job(t, script, server, issuer, environment)
		if (err == nil) != (environment == "prod") || !strings.Contains(out, want) {
			t.Errorf("%s: %v: got %s, want %s", environment, err, out, want)
		}
		if key := regexp.MustCompile(`::add-mask::(\S+)`).FindStringSubmatch(out); key != nil {
			if in.hide(key[1]); server.accepts(key[1]) {
				t.Error("the key works after the job")
			}
		} else if environment == "prod" {
			t.Errorf("the key is not masked: %s", out)
		}
	}
}

// job runs the script as GitHub's runner does with "shell: bash", beside the
// service that hands out identity tokens.
func (in *installation) job(t *testing.T, script string, server *process, issuer *exchangetest.Issuer, environment string) (string, error) {
	t.Helper()
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer request-token" || r.URL.Query().Get("v") != "1" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		token := issuer.GitHub(map[string]any{
			"aud": r.URL.Query().Get("audience"), "environment": environment, "ref": "refs/tags/v1", "ref_type": "tag",
			"repository": "octo-org/app", "repository_id": "456789", "repository_owner_id": "123456",
			"workflow_ref":     "octo-org/app/.github/workflows/release.yml@refs/tags/v1",
			"job_workflow_ref": "octo-org/app/.github/workflows/release.yml@refs/tags/v1",
		})
		in.hide(token)
		fmt.Fprintf(w, `{"value":%q}`, token)
	}))
	defer tokens.Close()
	file := filepath.Join(in.dir, "job.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", file)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + in.dir, "no_proxy=*", "SERVER=" + server.url,
		"ACTIONS_ID_TOKEN_REQUEST_URL=" + tokens.URL + "/?v=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=request-token",
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
