package interop_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// startLimit is for a machine that does much else at the same time.
const startLimit = 60 * time.Second

// listening is the line with which the server says where.
var listening = regexp.MustCompile(`\blistening\b.* addr=(\S+)$`)

// missing skips the test on a machine that lacks something, unless everything
// that can be checked must be.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("KEYWRIGHT_REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s, and KEYWRIGHT_REQUIRE_TOOLS is 1", what)
	}
	t.Skip(what)
}

// build compiles a program of the examples.
func build(t *testing.T, folder string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program.exe")
	if out, err := exec.Command("go", "build", "-o", program, folder).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", folder, err, bytes.TrimSpace(out))
	}
	return program
}

// startServer runs the example server on an empty database and returns its URL.
func startServer(t *testing.T, configuration string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.json")
	if err := os.WriteFile(config, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(build(t, "../server"), "-addr", "127.0.0.1:0", "-db", filepath.Join(dir, "keywright.db"), "-config", config)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	cmd.SysProcAttr = dieWithParent()
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer // of readLog until it has closed addr, of cleanup after ended
	addr, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		readLog(log, &text, addr)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended
		<-ended
		cmd.Wait() // its outcome is that of Kill
		if t.Failed() {
			t.Logf("the server's log:\n%s", text.String())
		}
	})
	select {
	case a, ok := <-addr:
		if !ok {
			t.Fatal("the server ended at once")
		}
		return "http://" + a
	case <-time.After(startLimit):
		t.Fatalf("the server does not listen after %v", startLimit)
	}
	return ""
}

// readLog copies a server's log and sends the address in it to addr.
func readLog(log io.Reader, text *bytes.Buffer, addr chan<- string) {
	defer close(addr)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			select {
			case addr <- found[1]:
			default: // it has been told
			}
		}
	}
}

// nodeDir is where the Node programs are installed, for all tests.
var nodeDir string

func TestMain(m *testing.M) {
	var err error
	if nodeDir, err = os.MkdirTemp("", "keywright-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(nodeDir) // at worst it stays among the system's temporary files
	os.Exit(code)
}

// installNode returns the folder of the Node programs, with what they depend on as
// the lock file has it. Nothing is to be written there.
func installNode(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			missing(t, "the program "+name+" is not installed")
		}
	}
	if err := installed(); err != nil {
		missing(t, err.Error())
	}
	return nodeDir
}

var installed = sync.OnceValue(func() error {
	files, err := filepath.Glob("node/*.*") // programs, and what npm is to install
	if err != nil {
		return err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(nodeDir, filepath.Base(file)), b, 0o600); err != nil {
			return err
		}
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	npm.Dir = nodeDir
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return nil
})

// runAgent runs the Node agent in dir and decodes the lines it prints.
func runAgent[Line any](t *testing.T, dir string, args ...string) []Line {
	t.Helper()
	node := exec.Command("node", append([]string{"agent.mjs"}, args...)...)
	node.Dir = dir
	node.SysProcAttr = dieWithParent()
	var stderr strings.Builder
	node.Stderr = &stderr
	out, err := node.Output()
	if err != nil {
		t.Errorf("node agent.mjs %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	var lines []Line
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var line Line
		if err := dec.Decode(&line); err != nil {
			t.Fatalf("output of node: %v\n%s", err, out)
		}
		lines = append(lines, line)
	}
	return lines
}
