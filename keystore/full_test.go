//go:build linux

package keystore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keywright/keywright/keystore"
)

func TestKST16_AReadOnlyDirectoryStillServesItsKeys(t *testing.T) {
	base, uid := foreign(t)
	path := filepath.Join(base, "keys")
	child{Do: "generate", Path: path, Handle: "handle", Mode: withKey, UID: uid, Umask: -1}.run(t)
	if err := os.Chmod(path, 0o500); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, child{Do: "generate", Path: path, Handle: "more", Mode: withKey, UID: uid, Umask: -1}, "permission denied")
	child{Do: "load", Path: path, Handle: "handle", Mode: withKey, UID: uid, Umask: -1}.run(t)
	wantFiles(t, path, "handle.jwk.json")
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	child{Do: "generate", Path: path, Handle: "more", Mode: withKey, UID: uid, Umask: -1}.run(t)
}

func TestKST16_AFileThatMayNotGrowLeavesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		path := newPath(t)
		d := m.dir(t, path)
		k := generate(t, d, keystore.Ed25519, "handle")
		for _, limit := range []int{1, 100, 200} { // a file has some 250 bytes, or 500
			wantFailure(t, child{Do: "generate", Path: path, Handle: "more", Mode: m, Umask: -1, Limit: limit}, "file too large")
			wantFiles(t, path, "handle.jwk.json")
		}
		wantKey(t, d, k)
		generate(t, d, keystore.Ed25519, "more")
	})
}

// wantFailure runs a child that must end with this error.
func wantFailure(t *testing.T, c child, want string) {
	t.Helper()
	out, err := c.command(t).CombinedOutput()
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("child %s: %v: %s; want %q", c.Do, err, out, want)
	}
}

func TestKST16_AFullDiskLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	eachMode(t, fullDisk)
}

func fullDisk(t *testing.T, m mode) {
	cmd := child{Do: "fill disk", Path: t.TempDir(), Mode: m, Umask: -1}.command(t)
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS // nobody else sees it, and it goes with the child
	out, err := cmd.CombinedOutput()
	if bytes.Contains(out, []byte(noMount)) || errors.Is(err, syscall.EPERM) {
		t.Skipf("root cannot mount here: %s (%v)", out, err)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const noMount = "cannot mount"

func fillDisk(c child, d *keystore.Dir) error {
	if err := syscall.Mount("tmpfs", c.Path, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		return fmt.Errorf("%s: %w", noMount, err)
	}
	ctx := context.Background()
	generate := func(handle string) error {
		_, err := d.Generate(ctx, keystore.KeyOptions{Handle: handle})
		return err
	}
	// refused says what is wrong when a full or read-only disk is met.
	refused := func(want error) error {
		if err := generate("more"); !errors.Is(err, want) {
			return fmt.Errorf("Generate: %v, want %v", err, want)
		}
		if _, err := d.Load(ctx, "more"); !errors.Is(err, keystore.ErrKeyNotFound) {
			return fmt.Errorf("Load of what was not made: %v", err)
		}
		if _, err := d.Load(ctx, "handle"); err != nil {
			return fmt.Errorf("the old key: %w", err)
		}
		if left, err := filepath.Glob(filepath.Join(c.Path, ".*")); err != nil || len(left) > 0 {
			return fmt.Errorf("left behind: %q (%v)", left, err)
		}
		return nil
	}
	if err := generate("handle"); err != nil {
		return err
	}
	filler := filepath.Join(c.Path, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk does not fill up: %v", err)
	}
	if err := refused(syscall.ENOSPC); err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := syscall.Mount("", c.Path, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	if err := refused(syscall.EROFS); err != nil {
		return err
	}
	if err := d.Delete(ctx, "handle"); !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("Delete: %v, want EROFS", err)
	}
	if err := syscall.Mount("", c.Path, "", syscall.MS_REMOUNT, ""); err != nil {
		return err
	}
	return generate("more")
}
