package interop_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A commandLine is the example agent in a folder of its own, with a configuration
// file and a key store.
type commandLine struct {
	t       *testing.T
	program string
	dir     string
}

func newCommandLine(t *testing.T) commandLine {
	t.Helper()
	return commandLine{t, build(t, "../agent"), t.TempDir()}
}

// run calls the agent as somebody at a terminal would.
func (c commandLine) run(args ...string) (out, complaint string, ok bool) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(c.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, &stdout, &stderr
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir}
	ok = cmd.Run() == nil
	return stdout.String(), stderr.String(), ok
}

// must is run for what succeeds.
func (c commandLine) must(args ...string) string {
	c.t.Helper()
	out, complaint, ok := c.run(args...)
	if !ok {
		c.t.Fatalf("agent %s: %s", strings.Join(args, " "), complaint)
	}
	return out
}

// refused is run for what fails, and says why.
func (c commandLine) refused(want string, args ...string) {
	c.t.Helper()
	out, complaint, ok := c.run(args...)
	if ok || !strings.Contains(complaint, want) {
		c.t.Errorf("agent %s: succeeded %v, printed %q, said %q, want a failure with %q", strings.Join(args, " "), ok, out, complaint, want)
	}
}

func (c commandLine) write(name, text string) {
	c.t.Helper()
	must(c.t, os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600))
}

// The agent enrols once, with a secret and into an encrypted key store, and knows its
// key by the handle in its configuration at every later start.
func TestAgentOnTheCommandLine(t *testing.T) {
	server, secret := startWithSecret(t)
	agent := newCommandLine(t)
	agent.write("secret", secret+"\n")
	agent.write("passphrase", "correct horse battery staple\n")
	agent.refused("run enrol", "get", server+"/whoami")
	enrol := []string{"enrol", "-provider", server, "-development", "-passphrase-file", "passphrase"}
	agent.refused("denied", enrol...)
	first := agent.must(append(enrol, "-secret-file", "secret")...)
	config, err := os.ReadFile(filepath.Join(agent.dir, "agent.json"))
	must(t, err)
	handle := regexp.MustCompile(`"key_handle": "([^"]+)"`).FindSubmatch(config)
	if handle == nil || !strings.Contains(first, string(handle[1])) {
		t.Fatalf("enrol printed %q and wrote %s", first, config)
	}

	for range 2 {
		if got := agent.must("get", server+"/whoami"); !strings.Contains(got, `"agent"`) {
			t.Errorf("get printed %s", got)
		}
	}
	if token := agent.must("token"); strings.Count(token, ".") != 2 {
		t.Errorf("token printed %q", token)
	}
	if again := agent.must("enrol"); again != first {
		t.Errorf("enrol again printed %q, first %q", again, first)
	}
	if list := strings.TrimSpace(agent.must("keys", "list")); list != string(handle[1]) {
		t.Errorf("the keys are %q, want %s alone", list, handle[1])
	}
	agent.must("rotate")
	list := strings.TrimSpace(agent.must("keys", "list"))
	if list == string(handle[1]) || strings.Contains(list, "\n") {
		t.Errorf("after rotate the keys are %q, want another one", list)
	}
	if got := agent.must("get", server+"/whoami"); !strings.Contains(got, `"agent"`) {
		t.Errorf("with the other key, get printed %s", got)
	}
	agent.write("passphrase", "another")
	agent.refused("passphrase", "get", server+"/whoami")
	agent.write("passphrase", "correct horse battery staple")
	agent.must("keys", "delete", list)
	agent.refused(`key "`+list+`" not found: run enrol`, "get", server+"/whoami")
	agent.refused("key not found", "keys", "delete", list)
}

// With two keys the enrolled one is seen by the provider alone.
func TestAgentOnTheCommandLineWithTwoKeys(t *testing.T) {
	server := startServer(t, openAdmission)
	agent := newCommandLine(t)
	agent.refused("-insecure-plaintext", "enrol", "-provider", server, "-development")
	agent.must("enrol", "-provider", server, "-development", "-insecure-plaintext", "-two-keys")
	if got := agent.must("get", server+"/whoami"); !strings.Contains(got, `"scheme":"jwt"`) {
		t.Errorf("get printed %s", got)
	}
	agent.refused("404", "get", server+"/nowhere")
	agent.refused("usage", "fly")
}
