//go:build linux

package keystore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/keywright/keywright/keystore"
)

// A child is this test binary as another process, which does one thing with a
// directory of keys.
type child struct {
	Do     string // the name of one of doings
	Path   string // of the directory
	Handle string
	Mode   mode // "": plaintext

	UID   int // 0: as it is started
	Umask int // -1: as it is started
	Limit int // bytes of a file; 0: none
}

const childEnv = "KEYSTORE_TEST_CHILD"

// command returns the child's process, started by the programs in front.
func (c child) command(t *testing.T, front ...string) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	args := append(front, must(os.Executable()))
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "GORACE=atexit_sleep_ms=0") // it would sleep for a second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run lets the child do what must succeed, and returns what it prints.
func (c child) run(t *testing.T) string {
	t.Helper()
	cmd := c.command(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("child %s: %v: %s", c.Do, err, stderr.String())
	}
	return string(out)
}

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // so that strace, which counts for each thread, counts all
	if err := beChild([]byte(text)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func beChild(text []byte) error {
	var c child
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	do, ok := doings[c.Do]
	if !ok {
		return fmt.Errorf("a child cannot do %q", c.Do)
	}
	if c.Umask >= 0 {
		syscall.Umask(c.Umask)
	}
	if c.Limit > 0 {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: uint64(c.Limit), Max: uint64(c.Limit)}); err != nil {
			return err
		}
	}
	if c.UID != 0 {
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(c.UID), syscall.Setuid(c.UID)); err != nil {
			return err
		}
	}
	d, err := keystore.NewDir(c.Mode.config(c.Path))
	if err != nil {
		return err
	}
	return do(c, d.DeriveCheaply())
}

// doings are what a child can do.
var doings = map[string]func(child, *keystore.Dir) error{
	"generate": func(c child, d *keystore.Dir) error {
		k, err := d.Generate(context.Background(), keystore.KeyOptions{Handle: c.Handle})
		if err == nil {
			fmt.Println(k.Handle())
		}
		return err
	},
	"load": func(c child, d *keystore.Dir) error {
		_, err := d.Load(context.Background(), c.Handle)
		return err
	},
	"for ever":  generateForEver,
	"share":     share,
	"fill disk": fillDisk,
}

// generateForEver prints each handle after its key is made.
func generateForEver(_ child, d *keystore.Dir) error {
	for {
		k, err := d.Generate(context.Background(), keystore.KeyOptions{})
		if err != nil {
			return err
		}
		fmt.Println(k.Handle())
	}
}

// shared is how many keys several processes try to make.
const shared = 25

// share makes keys that other processes make too, when it is told to begin, and
// prints which it made and the public key of each.
func share(_ child, d *keystore.Dir) error {
	if _, err := io.ReadAll(os.Stdin); err != nil {
		return err
	}
	ctx := context.Background()
	for i := range shared {
		handle := fmt.Sprint("shared.", i)
		outcome := "made"
		k, err := d.Generate(ctx, keystore.KeyOptions{Handle: handle})
		if errors.Is(err, keystore.ErrKeyExists) {
			outcome = "found"
			k, err = d.Load(ctx, handle) // at once: there is no half a key
		}
		if err != nil {
			return fmt.Errorf("%s: %w", handle, err)
		}
		own, err := d.Generate(ctx, keystore.KeyOptions{})
		if err != nil {
			return err
		}
		if err := d.Delete(ctx, own.Handle()); err != nil {
			return err
		}
		fmt.Printf("%s %s %x\n", outcome, handle, k.Public())
	}
	return nil
}

func TestSeveralProcessesShareADir(t *testing.T) {
	eachMode(t, processesShareADir)
}

func processesShareADir(t *testing.T, m mode) {
	const processes = 5
	path := filepath.Join(t.TempDir(), "new", "keys") // made by one of them
	var cmds []*exec.Cmd
	var starts []io.Closer
	outs, errs := make([]bytes.Buffer, processes), make([]bytes.Buffer, processes)
	for i := range processes {
		cmd := child{Do: "share", Path: path, Mode: m, Umask: -1}.command(t)
		cmd.Stdout, cmd.Stderr = &outs[i], &errs[i]
		start, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds, starts = append(cmds, cmd), append(starts, start)
	}
	for _, start := range starts {
		start.Close()
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, errs[i].String())
		}
	}
	made, public, makers := make(map[string]int), make(map[string]string), make(map[int]bool)
	for i := range outs {
		for line := range strings.Lines(outs[i].String()) {
			f := strings.Fields(line)
			if f[0] == "made" {
				made[f[1]]++
				makers[i] = true
			}
			if before, ok := public[f[1]]; ok && before != f[2] {
				t.Errorf("two processes have two keys %q", f[1])
			}
			public[f[1]] = f[2]
		}
	}
	d := m.dir(t, path)
	var want []string
	for i := range shared {
		handle := fmt.Sprint("shared.", i)
		want = append(want, handle+".jwk.json")
		k, err := d.Load(t.Context(), handle)
		if err != nil || fmt.Sprintf("%x", k.Public()) != public[handle] || made[handle] != 1 {
			t.Errorf("%s: made by %d processes, Load: %v", handle, made[handle], err)
		}
	}
	if names := readNames(t, path); len(names) != len(want) {
		t.Errorf("in the directory are %q", names)
	}
	t.Logf("%d of %d processes made a key", len(makers), processes)
}

func readNames(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// foreign returns a directory for a child that is not root, and its user.
func foreign(t *testing.T) (base string, uid int) {
	t.Helper()
	base, err := os.MkdirTemp("", "keystore") // t.TempDir lies in one that only we can open
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	if os.Getuid() != 0 {
		return base, 0
	}
	uid = 65534
	if err := os.Chown(base, uid, uid); err != nil {
		t.Fatal(err)
	}
	return base, uid
}

func TestKST04_TheUmaskDoesNotMatter(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o177, 0o277, 0o777} {
		base, uid := foreign(t)
		a := filepath.Join(base, "a")
		path := filepath.Join(a, "keys")
		c := child{Do: "generate", Path: path, Handle: "handle", Mode: withPassphrase, UID: uid, Umask: umask}
		c.run(t)
		for name, want := range map[string]fs.FileMode{
			a:                                      fs.ModeDir | 0o700,
			path:                                   fs.ModeDir | 0o700,
			filepath.Join(path, "handle.jwk.json"): 0o600,
		} {
			if got := must(os.Lstat(name)).Mode(); got != want {
				t.Errorf("umask %04o: mode of %s is %v, want %v", umask, filepath.Base(name), got, want)
			}
		}
		c.Do = "load"
		c.run(t)
	}
}
