//go:build linux

package keystore_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
)

// strace returns how to start a child whose system calls are tampered with, or
// skips the test where that cannot be.
func strace(t *testing.T, args ...string) []string {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("KEYWRIGHT_REQUIRE_TOOLS") == "1" {
		missing = t.Fatalf
	}
	path, err := exec.LookPath("strace")
	if err != nil {
		missing("the program strace is not installed")
	}
	if out, err := exec.Command(path, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		missing("strace may not trace here: %s", out)
	}
	return append([]string{path, "-f"}, args...)
}

// A victim is a directory with one key in which another is made.
type victim struct {
	mode mode
	path string
	dir  *keystore.Dir
	old  keystore.Key
}

func newVictim(t *testing.T, m mode) victim {
	t.Helper()
	v := victim{mode: m, path: newPath(t)}
	v.dir = m.dir(t, v.path)
	v.old = generate(t, v.dir, keystore.Ed25519, "old")
	return v
}

func (v victim) child(do string) child {
	return child{Do: do, Path: v.path, Handle: "new", Mode: v.mode, Umask: 0}
}

// An outcome is what a crash has left.
type outcome struct{ key, temp bool }

// judge checks that there is nothing but the old key, whole new ones and
// files that nobody can load or read, and that the store works on.
func (v victim) judge(t *testing.T) outcome {
	t.Helper()
	wantKey(t, v.dir, v.old)
	var found outcome
	for _, name := range readNames(t, v.path) {
		if info := must(os.Lstat(filepath.Join(v.path, name))); !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		handle, isKey := strings.CutSuffix(name, ".jwk.json")
		switch {
		case handle == "old" && isKey:
		case isKey:
			found.key = true
			k, err := v.dir.Load(t.Context(), handle)
			if err != nil {
				t.Fatalf("Load(%q): %v", handle, err)
			}
			wantSigns(t, k)
		case strings.HasPrefix(name, ".new-"):
			found.temp = true
			wantNone(t, v.dir, name, keystore.ErrInvalidHandle)
		default:
			t.Errorf("left behind: %s", name)
		}
	}
	for h, err := range v.dir.List(t.Context()) {
		if err != nil || strings.HasPrefix(h, ".") {
			t.Errorf("List yielded %q, %v", h, err)
		}
	}
	return found
}

// goesOn checks that the key can be made, if it has not been, and that what was
// left behind goes in time.
func (v victim) goesOn(t *testing.T, o outcome) {
	t.Helper()
	_, err := v.dir.Generate(t.Context(), keystore.KeyOptions{Handle: "new"})
	if o.key && !errors.Is(err, keystore.ErrKeyExists) || !o.key && err != nil {
		t.Errorf("Generate after a crash that left %+v: %v", o, err)
	}
	later := v.mode.config(v.path)
	later.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	generate(t, open(t, later), keystore.Ed25519, "z")
	wantFiles(t, v.path, "new.jwk.json", "old.jwk.json", "z.jwk.json")
}

// calls are those that change something when a key is made, and some around them.
var calls = []string{"openat", "fchmod", "write", "fsync", "linkat", "unlinkat", "getdents64", "close", "newfstatat", "mkdirat"}

func TestKST08_KilledAtEachSystemCallOfGenerate(t *testing.T) {
	for _, m := range []mode{plaintext, withPassphrase} {
		t.Run(string(m), func(t *testing.T) { killAtEachSystemCall(t, m) })
	}
}

func killAtEachSystemCall(t *testing.T, m mode) {
	all := make(map[outcome]int)
	kills := 0
	for _, call := range calls {
		for n := 1; ; n++ {
			v := newVictim(t, m)
			front := strace(t, "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n))
			out, err := v.child("generate").command(t, front...).CombinedOutput()
			o := v.judge(t)
			if err == nil {
				if !o.key || o.temp {
					t.Errorf("Generate succeeded and left %+v", o)
				}
				break
			}
			if len(out) > 0 && !strings.HasPrefix(string(out), "new\n") {
				t.Fatalf("%s %d: %v: %s", call, n, err, out)
			}
			kills++
			all[o]++
			v.goesOn(t, o)
		}
	}
	t.Logf("%d kills left %v", kills, all)
	for _, o := range []outcome{{false, false}, {false, true}, {true, true}, {true, false}} {
		if all[o] == 0 {
			t.Errorf("no kill left %+v, so nothing is proven of that", o)
		}
	}
}

// The directory is made too.
func TestKST08_KilledAtEachSystemCallOfTheFirstGenerate(t *testing.T) {
	for _, call := range []string{"mkdirat", "openat", "fsync"} {
		for n := 1; ; n++ {
			path := filepath.Join(t.TempDir(), "a", "keys")
			front := strace(t, "-o", "/dev/null", "-e", fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, n))
			err := child{Do: "generate", Path: path, Handle: "new", Mode: withPassphrase, Umask: 0}.command(t, front...).Run()
			for _, name := range []string{filepath.Dir(path), path} {
				if info, err := os.Lstat(name); err == nil && info.Mode() != fs.ModeDir|0o700 {
					t.Errorf("%s %d: %s has mode %v", call, n, filepath.Base(name), info.Mode())
				}
			}
			d := withPassphrase.dir(t, path)
			if _, err := d.Generate(t.Context(), keystore.KeyOptions{Handle: "new"}); err != nil && !errors.Is(err, keystore.ErrKeyExists) {
				t.Errorf("%s %d: %v", call, n, err)
			}
			if k, err := d.Load(t.Context(), "new"); err != nil {
				t.Errorf("%s %d: %v", call, n, err)
			} else {
				wantSigns(t, k)
			}
			if err == nil {
				break
			}
		}
	}
}

// Files and directories are closed to others from the moment they exist, also
// where the umask takes nothing away.
func TestKST08_NothingIsEverOpenToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "keys")
	log := filepath.Join(t.TempDir(), "log")
	front := strace(t, "-o", log, "-e", "trace=open,openat,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,link,linkat,rename,renameat,renameat2,fsync")
	if out, err := (child{Do: "generate", Path: path, Handle: "new", Mode: withPassphrase, Umask: 0}).command(t, front...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := string(must(os.ReadFile(log)))
	text = text[:strings.LastIndex(text, "fsync(")+len("fsync(")] // behind it is the end of the process, with what measures its coverage
	makes := regexp.MustCompile(`(?m)^\d+ +(mkdir|mkdirat|creat|open|openat|chmod|fchmod|fchmodat)\(.*\) += \d+.*$`)
	mode := regexp.MustCompile(`, (0[0-7]*)(, \w+)?\) += `)
	made := 0
	for _, line := range makes.FindAllString(text, -1) {
		if strings.Contains(line, "open") && !strings.Contains(line, "O_CREAT") {
			continue
		}
		made++
		m := mode.FindStringSubmatch(line)
		if m == nil || m[1] != "0600" && m[1] != "0700" {
			t.Errorf("mode: %s", line)
		}
		if strings.Contains(line, "O_CREAT") && !strings.Contains(line, "O_EXCL") {
			t.Errorf("not exclusive: %s", line)
		}
	}
	if made < 4 { // two directories, a file and its chmod; strace may not know that of directories
		t.Errorf("%d files and directories made in\n%s", made, text)
	}
	// One for each directory's new entry, one for the text, one for its name.
	order := regexp.MustCompile(`(?s)fsync.*fsync.*O_EXCL.*fsync.*linkat.*fsync`)
	if !order.MatchString(text) || strings.Contains(text, "rename") {
		t.Errorf("not permanent in this order:\n%s", text)
	}
}

func TestKST08_KilledAtAnyMoment(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	v := newVictim(t, withPassphrase)
	made := 0
	for i := range rounds {
		cmd := v.child("for ever").command(t)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("the child made no key")
		}
		time.AfterFunc(time.Duration(i)*1700*time.Microsecond, func() { cmd.Process.Kill() })
		promised := []string{lines.Text()}
		for lines.Scan() {
			promised = append(promised, lines.Text())
		}
		cmd.Wait()
		for _, handle := range promised[:len(promised)-1] { // the last line may be cut
			k, err := v.dir.Load(t.Context(), handle)
			if err != nil {
				t.Fatalf("a key that was made is lost: %v", err)
			}
			wantSigns(t, k)
		}
		made += len(promised)
		v.judge(t)
	}
	t.Logf("%d kills while %d keys were made", rounds, made)
}

func TestKST16_ADiskThatFailsLeavesNothing(t *testing.T) {
	for _, tt := range []struct {
		inject, want string
		key          bool // stands in the end
	}{
		{"write:error=ENOSPC:when=1", "no space left", false},
		{"fchmod:error=EIO:when=1", "input/output error", false},
		{"fsync:error=EIO:when=1", "input/output error", false}, // the file's
		{"linkat:error=ENOSPC:when=1", "no space left", false},
		{"linkat:error=EPERM:when=1", "operation not permitted", false}, // no hard links here
		{"fsync:error=EIO:when=2", `key "new" stands, until power fails`, true},
	} {
		v := newVictim(t, withPassphrase)
		front := strace(t, "-o", "/dev/null", "-e", "inject="+tt.inject)
		out, err := v.child("generate").command(t, front...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v: %s; want %q", tt.inject, err, out, tt.want)
		}
		o := v.judge(t)
		if o.temp || o.key != tt.key {
			t.Errorf("%s left %+v", tt.inject, o)
		}
		v.goesOn(t, o)
	}
}
