package agentauth_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// TestSecretFile has what may be in the file, and who may read it.
func TestSecretFile(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		mode fs.FileMode
		says string // "": the secret is "secret"
	}{
		"a line":              {"secret\n", 0o600, ""},
		"a line of Windows":   {"secret\r\n", 0o600, ""},
		"white space":         {" \tsecret \n\n", 0o600, ""},
		"for its owner":       {"secret", 0o400, ""},
		"for a group":         {"secret", 0o640, ""},
		"of a container":      {"secret", 0o440, ""},
		"a program":           {"secret", 0o700, ""},
		"nothing":             {"", 0o600, "the file is empty"},
		"white space alone":   {" \n", 0o600, "the file is empty"},
		"64 KiB":              {"secret" + strings.Repeat(" ", 64<<10-6), 0o600, ""},
		"more":                {"secret" + strings.Repeat(" ", 64<<10-5), 0o600, "longer than 65536 bytes"},
		"for all":             {"secret", 0o644, "mode 0644 gives others access"},
		"for all but a group": {"secret", 0o604, "mode 0604 gives others access"},
		"a group that writes": {"secret", 0o660, "mode 0660 gives others access"},
		"others that write":   {"secret", 0o602, "mode 0602 gives others access"},
		"others that run it":  {"secret", 0o701, "mode 0701 gives others access"},
	} {
		file := filepath.Join(t.TempDir(), "secret")
		must(t, os.WriteFile(file, []byte(tt.text), 0o600))
		must(t, os.Chmod(file, tt.mode))
		if strings.HasPrefix(tt.says, "mode") && runtime.GOOS == "windows" {
			continue // where there are no such modes
		}
		got, err := agentauth.SecretFile(file)(t.Context())
		switch {
		case tt.says == "" && (err != nil || got != "secret"):
			t.Errorf("%s: %q, %v", name, got, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), file+": "+tt.says) || got != ""):
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestSecretFilesThatAreNone: what is at the path may be no file, a link to one, or
// a pipe that a shell has made.
func TestSecretFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	if _, err := agentauth.SecretFile(filepath.Join(dir, "none"))(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := agentauth.SecretFile(dir)(t.Context()); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("a directory: %v", err)
	}
	file, link := filepath.Join(dir, "secret"), filepath.Join(dir, "link")
	must(t, os.WriteFile(file, []byte("secret"), 0o600))
	must(t, os.Symlink("secret", link))
	if got, err := agentauth.SecretFile(link)(t.Context()); err != nil || got != "secret" {
		t.Errorf("a link, as Kubernetes has it: %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := agentauth.SecretFile(file)(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
	if runtime.GOOS != "linux" {
		return // which has a name for each open file
	}
	r, w, err := os.Pipe()
	must(t, err)
	w.WriteString("secret\n")
	w.Close()
	defer r.Close()
	if got, err := agentauth.SecretFile(fmt.Sprint("/dev/fd/", r.Fd()))(t.Context()); err != nil || got != "secret" {
		t.Errorf("a pipe: %q, %v", got, err)
	}
	if _, err := agentauth.SecretFile(os.DevNull)(t.Context()); err == nil || !strings.Contains(err.Error(), "the file is empty") {
		t.Errorf("a device that anybody may use: %v", err)
	}
}

// TestSecretEnv: a variable that is empty is none.
func TestSecretEnv(t *testing.T) {
	for value, want := range map[string]string{"secret": "secret", " secret\n": "secret", "": "", "  ": ""} {
		t.Setenv("AN_ENROLMENT_SECRET", value)
		if got, err := agentauth.SecretEnv("AN_ENROLMENT_SECRET")(t.Context()); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", value, got, err)
		}
	}
	if _, err := agentauth.SecretEnv("NO_SUCH_VARIABLE")(t.Context()); err == nil || !strings.Contains(err.Error(), "NO_SUCH_VARIABLE is not set") {
		t.Errorf("%v", err)
	}
}
