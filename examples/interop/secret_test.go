package interop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// startWithSecret runs the example server, which admits nobody without an
// enrolment secret, and returns its URL and a secret for one agent.
func startWithSecret(t *testing.T) (server, secret string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "admin", "key")
	server = startServer(t, fmt.Sprintf(`{"bootstrap": {"key_file": %q}, "agents": {"admission": "secrets", "development": true}}`, file))
	admin, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, server+"/api/aauth/agents/secrets", strings.NewReader(`{"uses": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(admin)))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Secret string }
	if err := json.Unmarshal(body, &made); err != nil || resp.StatusCode != http.StatusCreated || made.Secret == "" {
		t.Fatalf("make a secret: got %s %s", resp.Status, body)
	}
	return server, made.Secret
}

func TestAgentOnNodeWithSecret(t *testing.T) {
	dir := installNode(t)
	server, secret := startWithSecret(t)
	state := t.TempDir()
	for _, run := range []struct {
		name string
		args []string
		want []string // of each step, the status, and the code of Signature-Error
	}{
		{"no secret", []string{server, "enrol"}, []string{"403 "}},
		{"another secret", []string{"--secret", secret + "x", server, "enrol"}, []string{"403 "}},
		{"the secret", []string{"--state", state, "--secret", secret, server, "uncovered-secret", "enrol", "enrol-again", "refresh", "whoami"}, []string{"401 invalid_input", "200 ", "200 ", "200 ", "200 "}},
		{"the secret used up", []string{"--secret", secret, server, "enrol"}, []string{"403 "}},
		{"who is in", []string{"--state", state, server, "enrol", "whoami"}, []string{"200 ", "200 "}},
	} {
		answers := runAgent[answer](t, dir, run.args...)
		if len(answers) != len(run.want) {
			t.Fatalf("%s: %d steps, want %d", run.name, len(answers), len(run.want))
		}
		for i, a := range answers {
			if got := fmt.Sprintf("%d %s", a.Status, a.SignatureError.Error); got != run.want[i] {
				t.Errorf("%s: %s: got %s %s, want %s", run.name, a.Step, got, a.Body, run.want[i])
			}
		}
	}
}
