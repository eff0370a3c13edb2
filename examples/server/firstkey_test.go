package main_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

var (
	curlLine  = regexp.MustCompile(`(?m)^\s*(curl .*)$`)
	tokenText = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)
)

// printedCommand is the curl command that the server has shown the operator.
func (p *process) printedCommand() string {
	p.in.t.Helper()
	select {
	case <-p.stdout.ready:
	case <-p.exited:
		p.in.t.Fatalf("the server ended without a command; log:\n%s", p.stderr)
	case <-time.After(startLimit):
		p.in.t.Fatalf("no curl command on standard output: %q", p.stdout)
	}
	command := p.stdout.found[1]
	p.in.hide(tokenText.FindString(command))
	return command
}

// wantNoCommand ends the server and looks at all that it has printed.
func (p *process) wantNoCommand() {
	p.in.t.Helper()
	p.kill()
	if p.stdout.String() != "" {
		p.in.t.Errorf("standard output: got %q, want nothing", p.stdout)
	}
}

// shell runs a curl command as an operator pastes it. What a test needs beyond
// that, the status, comes from curl's own configuration file.
func (in *installation) shell(command string) answer {
	in.t.Helper()
	needTool(in.t, "curl")
	if err := os.WriteFile(filepath.Join(in.dir, ".curlrc"), []byte("silent\nshow-error\nwrite-out = \"\\n%{http_code}\"\n"), 0o600); err != nil {
		in.t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + in.dir, "CURL_HOME=" + in.dir, "no_proxy=*"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		in.t.Fatalf("%s: %v: %s", command, err, out)
	}
	end := strings.LastIndexByte(string(out), '\n')
	status, err := strconv.Atoi(string(out)[end+1:])
	if err != nil {
		in.t.Fatalf("curl printed %q", out)
	}
	return answer{status: status, body: string(out)[:end]}
}

// TestFirstKey is the main job: an empty database, no secret, and the command
// that the server prints.
func TestFirstKey(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.noEnv = true
	p := in.start()
	in.wantMode(in.db, 0o600)
	in.wantMode(in.db+".secret", 0o600)
	in.readSecret()

	command := p.printedCommand()
	first := in.shell(command)
	var members map[string]string
	if err := json.Unmarshal([]byte(first.body), &members); first.status != 200 || err != nil || len(members) != 1 || members["api_key"] == "" {
		t.Fatalf("the printed command: got %d and not one key", first.status)
	}
	key := members["api_key"]
	in.hide(key, key[len("kw_admin_")+12:])

	if again := in.shell(command); again.status != 403 || again.key() != "" {
		t.Errorf("the same command again: got %d, want 403 without a key", again.status)
	}
	junk := tokenText.ReplaceAllString(command, "junk")
	if a := in.shell(junk); a.status != 401 || a.key() != "" {
		t.Errorf("junk: got %d, want 401 without a key", a.status)
	}
	p.checkRoutes(key)

	in.deleteKey(key)
	if p.accepts(key) {
		t.Error("another process has deleted the key, and it still works")
	}
	p.wantClosed("after the key was deleted")
	p.kill()
	p = in.start()
	p.wantClosed("after the key was deleted and the server restarted")
	p.wantNoCommand()
}

// readSecret makes tokens with the secret that the server keeps in its file.
func (in *installation) readSecret() {
	in.t.Helper()
	b, err := os.ReadFile(in.db + ".secret")
	if err != nil {
		in.t.Fatal(err)
	}
	in.secret = strings.TrimSpace(string(b))
	in.hide(in.secret)
}

func (in *installation) wantMode(path string, want os.FileMode) {
	in.t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		in.t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		in.t.Errorf("mode of %s: got %04o, want %04o", filepath.Base(path), got, want)
	}
}

func (p *process) wantClosed(when string) {
	p.in.t.Helper()
	if a := p.redeem(p.in.token()); a.status != 403 || a.key() != "" {
		p.in.t.Errorf("%s: a good token got %d, want 403 without a key", when, a.status)
	}
}

func (in *installation) deleteKey(key string) {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	if err := host.Keys.Delete(in.t.Context(), keywright.Principal{Credential: "test"}, in.keyID(key)); err != nil {
		in.t.Fatal(err)
	}
}

// checkRoutes compares whole bodies, so that no member comes or goes unseen.
func (p *process) checkRoutes(key string) {
	p.in.t.Helper()
	me := map[string]any{
		"method": "bootstrap", "issuer": p.url, "subject": bootstrap.DefaultSubject, "scopes": []any{"admin"},
		"credential": p.in.keyID(key), "expires": nil, "attrs": map[string]any{},
	}
	user := map[string]any{"guid": p.in.keyID(key), "username": bootstrap.DefaultSubject, "user_role": "administrator"}
	badKey := map[string]any{"code": 30.0, "error": "No valid credential", "payload": nil}
	bad := key[:len(key)-1] + string('0'+(key[len(key)-1]+1)%10)
	tests := []struct {
		path, authorization string
		status              int
		contentType         string
		body                map[string]any
	}{
		{"/whoami", "Bearer " + key, 200, "application/json", me},
		{"/whoami", "Key " + key, 200, "application/json", me},
		{"/whoami", "bEARER " + key, 200, "application/json", me},
		{"/whoami", "Bearer " + bad, 401, "application/problem+json", map[string]any{
			"type": "about:blank", "title": "Unauthorized", "status": 401.0, "detail": "No valid credential", "code": "invalid_token"}},
		{"/whoami", "", 401, "application/problem+json", map[string]any{
			"type": "about:blank", "title": "Unauthorized", "status": 401.0, "detail": "No valid credential", "code": "invalid_token"}},
		{"/__api__/v1/user", "Key " + key, 200, "application/json", user},
		{"/__api__/v1/user", "Key " + bad, 401, "application/json", badKey},
		{"/__api__/v1/user", "", 401, "application/json", badKey},
		{"/__api__/v1/user", "Connect-Bootstrap " + p.in.token(), 401, "application/json", badKey},
		{"/__api__/server_settings", "Key " + key, 200, "application/json", map[string]any{"version": "2026.06.0", "hostname": "127.0.0.1"}},
		{"/__api__/server_settings", "", 200, "application/json", map[string]any{"version": "2026.06.0", "hostname": "127.0.0.1"}},
		{"/healthz", "", 200, "application/json", map[string]any{"status": "ok"}},
	}
	for _, tt := range tests {
		a := p.get(tt.path, tt.authorization)
		var got map[string]any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			p.in.t.Errorf("%s: not a JSON object: %q", tt.path, a.body)
			continue
		}
		scheme, _, _ := strings.Cut(tt.authorization, " ")
		if ct := a.header.Get("Content-Type"); a.status != tt.status || ct != tt.contentType {
			p.in.t.Errorf("%s with %q: got %d %s, want %d %s", tt.path, scheme, a.status, ct, tt.status, tt.contentType)
		}
		if diff := cmp.Diff(tt.body, got); diff != "" {
			p.in.t.Errorf("%s with %q (-want +got):\n%s", tt.path, scheme, diff)
		}
	}
}
