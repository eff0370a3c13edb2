package pkcs11store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
	"github.com/miekg/pkcs11"
)

// childEnv holds the module for a child, which is this test program again, and
// what it is to do.
const childEnv = "PKCS11STORE_CHILD"

func TestMain(m *testing.M) {
	if module, what, ok := strings.Cut(os.Getenv(childEnv), " "); ok {
		if err := beChild(module, what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var err error
	if built, err = os.MkdirTemp("", "pkcs11store"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(built)
	os.Exit(code)
}

func beChild(module, what string) error {
	s, err := pkcs11store.New(pkcs11store.Config{Module: module, Token: "keywright", PIN: pin(goodPIN), LockFile: filepath.Join(os.Getenv("FAULT_DIR"), "lock")})
	if err != nil {
		return err
	}
	defer s.Close()
	switch what {
	case "generate":
		return generated(context.Background(), s, "handle")
	case "generate by thumbprint":
		return generated(context.Background(), s, "")
	case "delete":
		return s.Delete(context.Background(), "handle")
	case "share":
		return share(s)
	}
	return errors.New("unknown")
}

func (k *token) child(what string) *exec.Cmd {
	k.tb.Helper()
	program, err := os.Executable()
	if err != nil {
		k.tb.Fatal(err)
	}
	cmd := exec.CommandContext(k.tb.Context(), program)
	cmd.Env = append(os.Environ(), childEnv+"="+k.module+" "+what, "GORACE=atexit_sleep_ms=0") // it would sleep for a second
	return cmd
}

// A maker or deleter is killed before or after each call that writes. What is
// left is no key or a whole one, and nothing in the way of whoever tries again.
func TestKilledAtAnyStep(t *testing.T) {
	for _, tt := range []struct {
		what   string
		before bool // whether there is a key
		steps  int
	}{{"generate", false, 6}, {"generate by thumbprint", false, 6}, {"delete", true, 4}} {
		for step := 1; step <= tt.steps+1; step++ {
			t.Run(fmt.Sprintf("%s, step %d", tt.what, step), func(t *testing.T) {
				k := newToken(t)
				s := k.store()
				if tt.before {
					generate(t, s, keystore.Ed25519, "handle")
				}
				k.fault("kill", step)
				killed := k.killed(tt.what)
				k.fault("kill", 0)
				if killed != (step <= tt.steps) {
					t.Fatalf("killed: %v", killed)
				}
				k.wantNoHalfKey(t, s, killed)
			})
		}
	}
}

// The token itself may make one half only.
func TestKilledInTheToken(t *testing.T) {
	for _, what := range []string{"generate", "generate by thumbprint"} {
		k := newToken(t)
		k.fault("half", 1)
		if !k.killed(what) {
			t.Fatal("not killed")
		}
		k.fault("half", 0)
		k.wantNoHalfKey(t, k.store(), true)
	}
}

// later is a clock by which what is there is old.
func later() time.Time { return time.Now().Add(2 * time.Minute) }

// killed runs a child and reports whether it was killed.
func (k *token) killed(what string) bool {
	k.tb.Helper()
	out, err := k.child(what).CombinedOutput()
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*exec.ExitError](err)
	if !ok || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		k.tb.Fatalf("%v: %s", err, out)
	}
	return true
}

// wantNoHalfKey checks what is left of a child, and that it is cleared up.
func (k *token) wantNoHalfKey(t *testing.T, s *pkcs11store.Store, killed bool) {
	t.Helper()
	found := handles(t, s)
	for _, h := range found {
		key, err := s.Load(t.Context(), h)
		if err != nil {
			t.Fatalf("half a key: %v", err)
		}
		wantSigns(t, key)
	}
	if killed && !slices.Contains(found, "handle") {
		wantError(t, s, "handle", keystore.ErrKeyNotFound)
	}
	for _, h := range found {
		if err := s.Delete(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	fresh := k.store(func(c *pkcs11store.Config) { c.Now = later })
	for _, h := range []string{"handle", ""} {
		key := generate(t, fresh, keystore.Ed25519, h)
		wantSigns(t, key)
		if err := fresh.Delete(t.Context(), key.Handle()); err != nil {
			t.Fatal(err)
		}
	}
	wantNothing(t, k)
}

// While a claim may still be somebody's, Generate waits for it.
func TestAFreshClaimIsWaitedFor(t *testing.T) {
	k := newToken(t)
	k.fault("kill", 2)
	if !k.killed("generate") {
		t.Fatal("not killed")
	}
	k.fault("kill", 0)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := generated(ctx, k.store(), "handle"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Generate: %v, want DeadlineExceeded", err)
	}
	if got := k.labels(pkcs11.CKO_PRIVATE_KEY); len(got) != 1 {
		t.Errorf("left are %q", got)
	}
	wantSigns(t, generate(t, k.store(), keystore.Ed25519, "another"))
}

// shared is how many keys several processes try to make.
const shared = 8

// share makes keys that others make too, when it is told to begin, and prints
// which it made and the public key of each.
func share(s *pkcs11store.Store) error {
	ctx := context.Background()
	if err := s.Open(ctx); err != nil {
		return err
	}
	if _, err := io.ReadAll(os.Stdin); err != nil {
		return err
	}
	for i := range shared {
		handle := fmt.Sprint("shared.", i)
		outcome := "made"
		k, err := s.Generate(ctx, keystore.KeyOptions{Handle: handle})
		if errors.Is(err, keystore.ErrKeyExists) {
			outcome = "found"
			k, err = s.Load(ctx, handle) // at once: there is no half a key
		}
		if err != nil {
			return fmt.Errorf("%s: %w", handle, err)
		}
		if ok, err := sign(ctx, k); !ok {
			return fmt.Errorf("%s does not sign: %w", handle, err)
		}
		fmt.Printf("%s %s %x\n", outcome, handle, k.Public())
	}
	return nil
}

// children runs several at once and returns what they print.
func (k *token) children(what string, processes int) (printed []string) {
	k.tb.Helper()
	var cmds []*exec.Cmd
	var starts []io.Closer
	outs, errs := make([]bytes.Buffer, processes), make([]bytes.Buffer, processes)
	for i := range processes {
		cmd := k.child(what)
		cmd.Stdout, cmd.Stderr = &outs[i], &errs[i]
		start, err := cmd.StdinPipe()
		if err != nil {
			k.tb.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			k.tb.Fatal(err)
		}
		cmds, starts = append(cmds, cmd), append(starts, start)
	}
	for _, start := range starts {
		start.Close()
	}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			k.tb.Errorf("%v: %s", err, errs[i].String())
		}
		printed = append(printed, outs[i].String())
	}
	return printed
}

func TestSeveralProcessesShareAToken(t *testing.T) {
	k := newToken(t)
	made, keys := make(map[string]int), make(map[string]string)
	for _, out := range k.children("share", 4) {
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if f[0] == "made" {
				made[f[1]]++
			}
			if before, ok := keys[f[1]]; ok && before != f[2] {
				t.Errorf("two processes have two keys %q", f[1])
			}
			keys[f[1]] = f[2]
		}
	}
	s := k.store()
	for i := range shared {
		handle := fmt.Sprint("shared.", i)
		if key, err := s.Load(t.Context(), handle); err != nil || fmt.Sprintf("%x", key.Public()) != keys[handle] || made[handle] != 1 {
			t.Errorf("%s: made by %d processes, Load: %v", handle, made[handle], err)
		}
	}
	for _, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		if got := k.labels(class); len(got) != shared {
			t.Errorf("in the token are %q", got)
		}
	}
}

// Stores of one process are others to each other too.
func TestSeveralStoresShareAToken(t *testing.T) {
	k := newToken(t)
	stores := []*pkcs11store.Store{k.store(), k.store(), k.store()}
	for i := range 5 {
		handle := fmt.Sprint("shared.", i)
		errs := make(chan error)
		for _, s := range stores {
			go func() { errs <- generated(t.Context(), s, handle) }()
		}
		made := 0
		for range stores {
			switch err := <-errs; {
			case err == nil:
				made++
			case !errors.Is(err, keystore.ErrKeyExists):
				t.Errorf("%s: %v", handle, err)
			}
		}
		if made != 1 {
			t.Errorf("%s: made by %d stores", handle, made)
		}
	}
}
