package keystore_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
)

func TestADirThatNewDirDidNotMakeDoesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	var d keystore.Dir
	if _, err := d.Load(t.Context(), "handle"); err == nil {
		t.Error("Load returned a key")
	}
	if _, err := d.Generate(t.Context(), keystore.KeyOptions{}); err == nil {
		t.Error("Generate made a key")
	}
	if err := d.Delete(t.Context(), "handle"); err == nil {
		t.Error("Delete deleted a key")
	}
	wantFiles(t, ".")
}

func TestARelativePathStaysWhereItWas(t *testing.T) {
	first := t.TempDir()
	t.Chdir(first)
	d := newDir(t, "keys")
	t.Chdir(t.TempDir())
	k := generate(t, d, keystore.Ed25519, "handle")
	wantKey(t, newDir(t, filepath.Join(first, "keys")), k)
}

func TestOnlyGenerateMakesTheDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "keys")
	d := newDir(t, path)
	wantNone(t, d, "handle", keystore.ErrKeyNotFound)
	if err := d.Delete(t.Context(), "handle"); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("Delete: %v, want ErrKeyNotFound", err)
	}
	for h, err := range d.List(t.Context()) {
		t.Errorf("List yielded %q, %v", h, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Import(t.Context(), d, "handle"); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("Import: %v, want ErrKeyNotFound", err)
	}
	for _, tt := range []struct {
		ctx context.Context
		o   keystore.KeyOptions
	}{
		{cancelled, keystore.KeyOptions{}},
		{t.Context(), keystore.KeyOptions{Handle: "../x"}},
		{t.Context(), keystore.KeyOptions{Algorithm: 7}},
	} {
		if _, err := d.Generate(tt.ctx, tt.o); err == nil {
			t.Errorf("Generate of %v made a key", tt.o)
		}
	}
	if _, err := os.Lstat(filepath.Dir(filepath.Dir(path))); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the directory was made (%v)", err)
	}
	generate(t, d, keystore.Ed25519, "handle")
	wantFiles(t, path, "handle.jwk.json")
}

func TestAKeyOutlivesItsDir(t *testing.T) {
	eachMode(t, keyOutlivesItsDir)
}

func keyOutlivesItsDir(t *testing.T, m mode) {
	path := newPath(t)
	first := m.dir(t, path)
	a, b := generate(t, first, keystore.Ed25519, ""), generate(t, first, keystore.ES256, "b")
	second := m.dir(t, path)
	wantKey(t, second, a)
	wantKey(t, second, b)
	if _, err := second.Generate(t.Context(), keystore.KeyOptions{Handle: "b"}); !errors.Is(err, keystore.ErrKeyExists) {
		t.Errorf("Generate in another Dir: %v, want ErrKeyExists", err)
	}
	if err := second.Delete(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	wantNone(t, first, "b", keystore.ErrKeyNotFound)
	wantKey(t, first, a)
}

func TestKST01_HostileHandlesTouchNothingOutside(t *testing.T) {
	base := t.TempDir()
	path := filepath.Join(base, "a", "keys")
	d := newDir(t, path)
	k := generate(t, d, keystore.Ed25519, "handle")
	// Keys that would load and files that would go if a handle led there.
	good := must(os.ReadFile(filepath.Join(path, "handle.jwk.json")))
	for _, name := range []string{"a/outside.jwk.json", "outside.jwk.json", "a/keys/.hidden.jwk.json", "a/keys/sub/inside.jwk.json"} {
		name = filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		overwrite(t, name, good)
	}
	before := tree(t, base)
	for _, h := range []string{
		"../outside", "../../outside", "x/../../outside", "../../../../../../../../etc/passwd", "/etc/passwd", filepath.Join(base, "outside"),
		"sub/inside", "./handle", ".hidden", ".", "..", "", `..\outside`, "C:outside", "outside\x00", "handle\x00", "handle/", "con", strings.Repeat("a", 300),
	} {
		wantNone(t, d, h, keystore.ErrInvalidHandle)
		if err := d.Delete(t.Context(), h); !errors.Is(err, keystore.ErrInvalidHandle) {
			t.Errorf("Delete(%.40q): %v, want ErrInvalidHandle", h, err)
		}
		if h == "" {
			continue // means the thumbprint
		}
		if _, err := d.Generate(t.Context(), keystore.KeyOptions{Handle: h}); !errors.Is(err, keystore.ErrInvalidHandle) {
			t.Errorf("Generate(%.40q): %v, want ErrInvalidHandle", h, err)
		}
	}
	if after := tree(t, base); !slices.Equal(before, after) {
		t.Errorf("files were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	for h, err := range d.List(t.Context()) {
		if err != nil || h != "handle" {
			t.Errorf("List yielded %q, %v", h, err)
		}
	}
	wantKey(t, d, k)
}

// tree describes all that lies in a directory.
func tree(t *testing.T, base string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(base, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		found = append(found, fmt.Sprintf("%s %v %d %v", name, info.Mode(), size, info.ModTime()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wantFiles checks what lies in a directory.
func wantFiles(t *testing.T, path string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("in the directory are %q, want %q", got, want)
	}
}

func TestLeftoversAreSweptAfterAnHour(t *testing.T) {
	path := newPath(t)
	now := time.Now()
	d := must(keystore.NewDir(keystore.DirConfig{Path: path, InsecurePlaintext: true, Now: func() time.Time { return now }}))
	k := generate(t, d, keystore.Ed25519, "a")
	good := must(os.ReadFile(filepath.Join(path, "a.jwk.json")))
	touch := func(name string, text []byte, age time.Duration) {
		overwrite(t, filepath.Join(path, name), text)
		if err := os.Chtimes(filepath.Join(path, name), time.Time{}, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	touch(".new-OLD", good, 61*time.Minute)
	touch(".new-TORN", good[:9], 24*time.Hour)
	touch(".new-YOUNG", good, 59*time.Minute)
	touch(".other", good, 24*time.Hour)
	touch("new-x", good, 24*time.Hour)
	touch("a.jwk.json", good, 24*time.Hour)
	if err := os.Mkdir(filepath.Join(path, ".new-dir"), 0o700); err != nil { // nothing that can be swept
		t.Fatal(err)
	}
	overwrite(t, filepath.Join(path, ".new-dir", "x"), nil)
	if err := os.Chtimes(filepath.Join(path, ".new-dir"), time.Time{}, now.Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	generate(t, d, keystore.ES256, "b")
	wantFiles(t, path, ".new-YOUNG", ".new-dir", ".other", "a.jwk.json", "b.jwk.json", "new-x")
	now = now.Add(2 * time.Minute)
	generate(t, d, keystore.ES256, "c")
	wantFiles(t, path, ".new-dir", ".other", "a.jwk.json", "b.jwk.json", "c.jwk.json", "new-x")
	wantKey(t, d, k)
	for _, h := range []string{".new-YOUNG", ".new-YOUNG.jwk.json", "new-x"} {
		if k, err := d.Load(t.Context(), h); err == nil {
			t.Errorf("Load(%q) = %v", h, k)
		}
	}
}

// A crash behind the link and before the removal leaves a second name.
func TestDeleteLeavesNoOtherNameOfTheFile(t *testing.T) {
	path := newPath(t)
	d := newDir(t, path)
	generate(t, d, keystore.Ed25519, "a")
	generate(t, d, keystore.Ed25519, "b")
	for _, names := range [][2]string{{"a.jwk.json", ".new-A"}, {"b.jwk.json", ".new-B"}} {
		if err := os.Link(filepath.Join(path, names[0]), filepath.Join(path, names[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, path, ".new-B", "b.jwk.json")
}

// What Load refuses is no reason for another key, and can be listed and deleted.
func TestADamagedKeyIsInTheWay(t *testing.T) {
	eachKind(t, func(t *testing.T, f keyFile) {
		overwrite(t, f.name, f.text[:20])
		if _, err := f.dir.Generate(t.Context(), keystore.KeyOptions{Handle: "handle"}); !errors.Is(err, keystore.ErrKeyExists) {
			t.Errorf("Generate: %v, want ErrKeyExists", err)
		}
		wantNone(t, f.dir, "handle", keystore.ErrKeyCorrupt)
		wantSigns(t, f.key) // it was whole when it was made
		for h, err := range f.dir.List(t.Context()) {
			if err != nil || h != "handle" {
				t.Errorf("List yielded %q, %v", h, err)
			}
		}
		if err := f.dir.Delete(t.Context(), "handle"); err != nil {
			t.Errorf("Delete: %v", err)
		}
		wantFiles(t, filepath.Dir(f.name))
		generate(t, f.dir, keystore.Ed25519, "handle")
	})
}

// Somebody else's Delete and Generate are seen, and do not revive a key.
func TestKeysThatOthersReplace(t *testing.T) {
	path := newPath(t)
	ours, theirs := newDir(t, path), newDir(t, path)
	old := generate(t, ours, keystore.Ed25519, "handle")
	if err := theirs.Delete(t.Context(), "handle"); err != nil {
		t.Fatal(err)
	}
	wantNone(t, ours, "handle", keystore.ErrKeyNotFound)
	made := generate(t, theirs, keystore.Ed25519, "handle")
	wantKey(t, ours, made)
	if err := ours.Delete(t.Context(), "handle"); err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.Sign(t.Context(), old, nil, crypto.Hash(0)); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("a key signs that was replaced and deleted: %v", err)
	}
}
