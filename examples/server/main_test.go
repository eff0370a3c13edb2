// Package main_test starts the example as processes of its own, as an operator
// does, and judges it from outside: by its answers, its files, its logs and,
// through a second handle on the same file, by what its database holds.
package main_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
)

// binary is the example, built by TestMain before any test runs.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "keywright-server-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "server")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := []string{"build", "-o", binary}
	if raceEnabled() {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, bytes.TrimSpace(out))
		return 1
	}
	return m.Run()
}

// raceEnabled reports whether this test was built with -race; then the
// processes under test are too.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// long asks for the full size of tests that are small otherwise.
func long() bool { return os.Getenv("KEYWRIGHT_LONG") == "1" }

// rounds is how often a test repeats itself.
func rounds(always, full int) int {
	if long() {
		return full
	}
	return always
}

// needTool skips the test on a machine without the program, unless everything
// that can be checked must be.
func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		missing(t, "the program "+name+" is not installed")
	}
	return path
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("KEYWRIGHT_REQUIRE_TOOLS") == "1" {
		t.Fatalf("%s, and KEYWRIGHT_REQUIRE_TOOLS is 1", what)
	}
	t.Skip(what)
}
