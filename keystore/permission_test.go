//go:build unix

package keystore_test

import (
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
)

// aKeyFile is newKeyFile where the algorithm does not matter.
func aKeyFile(t *testing.T) keyFile { return newKeyFile(t, withPassphrase, keystore.Ed25519) }

// wantInsecure checks that Load refuses the key and names the place.
func wantInsecure(t *testing.T, f keyFile, place string) {
	t.Helper()
	wantNone(t, f.dir, "handle", keystore.ErrInsecurePermissions)
	if _, err := f.dir.Load(t.Context(), "handle"); err != nil && !strings.Contains(err.Error(), place+": insecure permissions: ") {
		t.Errorf("the error does not name %s: %v", place, err)
	}
}

func chmod(t *testing.T, name string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestKST05_AFileThatOthersMayTouchIsInsecure(t *testing.T) {
	eachMode(t, filesThatOthersMayTouch)
}

func filesThatOthersMayTouch(t *testing.T, m mode) {
	f := newKeyFile(t, m, keystore.Ed25519)
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o660, 0o666, 0o604, 0o602, 0o620, 0o610, 0o601, 0o777, 0o040, 0o004} {
		chmod(t, f.name, mode)
		wantInsecure(t, f, f.name)
		wantSigns(t, f.key) // which is in memory
	}
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o700} {
		chmod(t, f.name, mode)
		wantKey(t, f.dir, f.key)
	}
}

func TestKST05_ADirectoryThatOthersMayTouchIsInsecure(t *testing.T) {
	f := aKeyFile(t)
	path := filepath.Dir(f.name)
	for _, mode := range []fs.FileMode{0o777, 0o755, 0o750, 0o770, 0o711, 0o701, 0o702, 0o710, 0o777 | fs.ModeSticky} {
		chmod(t, path, mode)
		wantInsecure(t, f, path)
		if _, err := f.dir.Generate(t.Context(), keystore.KeyOptions{}); !errors.Is(err, keystore.ErrInsecurePermissions) {
			t.Errorf("Generate in %v: %v, want ErrInsecurePermissions", mode, err)
		}
		if err := f.dir.Delete(t.Context(), "handle"); !errors.Is(err, keystore.ErrInsecurePermissions) {
			t.Errorf("Delete in %v: %v, want ErrInsecurePermissions", mode, err)
		}
		steps := 0
		for h, err := range f.dir.List(t.Context()) {
			steps++
			if h != "" || !errors.Is(err, keystore.ErrInsecurePermissions) {
				t.Errorf("List in %v yielded %q, %v", mode, h, err)
			}
		}
		if steps != 1 {
			t.Errorf("List in %v took %d steps, want 1", mode, steps)
		}
	}
	chmod(t, path, 0o700)
	wantFiles(t, path, "handle.jwk.json")
	wantKey(t, f.dir, f.key)
}

func TestKST05_AnotherOwnerIsInsecure(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	f := aKeyFile(t)
	for _, name := range []string{f.name, filepath.Dir(f.name)} {
		if err := os.Chown(name, 65534, -1); err != nil {
			t.Fatal(err)
		}
		wantInsecure(t, f, name)
		if err := os.Chown(name, 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	wantKey(t, f.dir, f.key)
}

func TestWhatIsNoRegularFileIsInsecure(t *testing.T) {
	for name, replace := range map[string]func(name, elsewhere string) error{
		"a link to a good file outside": func(name, elsewhere string) error { return os.Symlink(elsewhere, name) },
		"a link to a good file inside": func(name, elsewhere string) error {
			if err := os.Rename(elsewhere, filepath.Join(filepath.Dir(name), "x")); err != nil {
				return err
			}
			return os.Symlink("x", name)
		},
		"a link to nothing":  func(name, _ string) error { return os.Symlink("nothing", name) },
		"a link to itself":   func(name, _ string) error { return os.Symlink(filepath.Base(name), name) },
		"a pipe":             func(name, _ string) error { return syscall.Mkfifo(name, 0o600) },
		"an empty directory": func(name, _ string) error { return os.Mkdir(name, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			f := aKeyFile(t)
			elsewhere := filepath.Join(t.TempDir(), "handle.jwk.json")
			if err := os.Rename(f.name, elsewhere); err != nil {
				t.Fatal(err)
			}
			if err := replace(f.name, elsewhere); err != nil {
				t.Fatal(err)
			}
			wantInsecure(t, f, f.name)
			if err := f.dir.Delete(t.Context(), "handle"); !errors.Is(err, keystore.ErrInsecurePermissions) {
				t.Errorf("Delete: %v, want ErrInsecurePermissions", err)
			}
			if _, err := f.dir.Generate(t.Context(), keystore.KeyOptions{Handle: "handle"}); !errors.Is(err, keystore.ErrKeyExists) {
				t.Errorf("Generate: %v, want ErrKeyExists", err)
			}
			if _, err := os.Lstat(f.name); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatIsNoDirectoryIsInsecure(t *testing.T) {
	f := aKeyFile(t)
	path, elsewhere := filepath.Dir(f.name), filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(path, elsewhere); err != nil {
		t.Fatal(err)
	}
	for name, replace := range map[string]func() error{
		"a link to a good directory": func() error { return os.Symlink(elsewhere, path) },
		"a link to nothing":          func() error { return os.Symlink("nothing", path) },
		"a file":                     func() error { return os.WriteFile(path, nil, 0o600) },
	} {
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			wantInsecure(t, f, path)
			if _, err := f.dir.Generate(t.Context(), keystore.KeyOptions{}); !errors.Is(err, keystore.ErrInsecurePermissions) {
				t.Errorf("Generate: %v, want ErrInsecurePermissions", err)
			}
		})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	wantFiles(t, elsewhere, "handle.jwk.json")
}

// Directories above may be anybody's and linked, as /var/run and home directories are.
func TestDirectoriesAboveAreLeftAsTheyAre(t *testing.T) {
	base := t.TempDir()
	chmod(t, base, 0o755)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(base, link); err != nil {
		t.Fatal(err)
	}
	d := newDir(t, filepath.Join(link, "a", "keys"))
	k := generate(t, d, keystore.Ed25519, "")
	wantKey(t, newDir(t, filepath.Join(base, "a", "keys")), k)
	for name, want := range map[string]fs.FileMode{base: 0o755, filepath.Join(base, "a"): 0o700, filepath.Join(base, "a", "keys"): 0o700} {
		if info := must(os.Lstat(name)); info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

// Between the look at the directory and its opening a link may take its place.
func TestALinkThatComesAndGoesIsNeverFollowed(t *testing.T) {
	f, other := aKeyFile(t), aKeyFile(t)
	path := filepath.Dir(f.name)
	link := path + ".link"
	if err := os.Symlink(filepath.Dir(other.name), link); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			err := errors.Join(os.Rename(path, path+".away"), os.Rename(link, path), os.Rename(path, link), os.Rename(path+".away", path))
			if err != nil {
				stopped <- err
				return
			}
			time.Sleep(10 * time.Microsecond)
		}
	}()
	found, loads := 0, 0
	for start := time.Now(); loads < 25000 && time.Since(start) < 2*time.Second; loads++ {
		k, err := f.dir.Load(t.Context(), "handle")
		switch {
		case err == nil && k.Public().(ed25519.PublicKey).Equal(f.key.Public()):
			found++
		case err == nil:
			t.Fatal("Load followed a link to another key")
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d loads found the key", found, loads)
}
