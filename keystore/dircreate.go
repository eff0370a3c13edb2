package keystore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A key is written under a name that begins with a dot, as no handle does, and
// gets its own name when it is complete.
const (
	tempPrefix = ".new-"
	tempAge    = time.Hour // no Generate takes that long
)

// create writes the file of a new key and makes it permanent. It fails with
// fs.ErrExist when there is one with this handle.
func (d *Dir) create(ctx context.Context, handle string, text []byte) (*life, error) {
	if err := makeDir(d.path); err != nil {
		return nil, err
	}
	root, err := d.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: removed meanwhile", d.path)
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	d.sweep(root)
	temp := tempPrefix + rand.Text()
	// Where it fails the file is linked already, or stays until it is swept.
	defer root.Remove(temp)
	if err := write(root, temp, text); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l, err := d.publish(root, temp, handle)
	if err != nil {
		return nil, err
	}
	if err := syncDir(root); err != nil {
		return nil, fmt.Errorf("key %q stands, until power fails: %w", handle, err)
	}
	return l, nil
}

// write makes a file that nobody else can open at any moment.
func write(root *os.Root, name string, text []byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = f.Chmod(0o600); err == nil { // the umask may have taken more away
		if _, err = f.Write(text); err == nil {
			err = f.Sync()
		}
	}
	return closing(f, err)
}

// publish gives the file its name. Unlike a renaming, a link replaces nothing.
func (d *Dir) publish(root *os.Root, temp, handle string) (*life, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := root.Link(temp, fileName(handle)); err != nil {
		return nil, err
	}
	return d.life(handle), nil
}

// sweep removes what crashes left behind. What it cannot remove is no reason
// to make no key.
func (d *Dir) sweep(root *os.Root) {
	temps, err := temporaries(root)
	if err != nil {
		return
	}
	limit := d.now().Add(-tempAge)
	for _, t := range temps {
		if t.ModTime().Before(limit) {
			root.Remove(t.Name())
		}
	}
}

func temporaries(root *os.Root) ([]fs.FileInfo, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var temps []fs.FileInfo
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		temps = append(temps, info)
	}
	return temps, nil
}

// remove removes a file, and first the name under which it was written, if a
// crash has left that.
func remove(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return insecure(filepath.Join(root.Name(), name), "not a regular file")
	}
	temps, err := temporaries(root)
	if err != nil {
		return err
	}
	for _, t := range temps {
		if !os.SameFile(t, info) {
			continue
		}
		if err := root.Remove(t.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return root.Remove(name)
}

// makeDir makes a directory and those above it, as far as they are missing, and
// leaves those that exist as they are.
func makeDir(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(path)
	if parent != path {
		if _, err := os.Stat(parent); errors.Is(err, fs.ErrNotExist) {
			if err := makeDir(parent); err != nil {
				return err
			}
		}
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(path)
	err = root.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster
	}
	if err != nil {
		return err
	}
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	return syncDir(root)
}
