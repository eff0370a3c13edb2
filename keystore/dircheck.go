package keystore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// open opens the directory, if nobody else can have touched what is in it. It
// fails with fs.ErrNotExist where there is none.
func (d *Dir) open() (*os.Root, error) {
	if d.path == "" {
		return nil, errors.New("a Dir that NewDir has not made")
	}
	named, err := os.Lstat(d.path)
	if err != nil {
		return nil, err
	}
	if !named.IsDir() {
		return nil, insecure(d.path, "not a directory")
	}
	if err := onlyOurs(d.path, named); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(d.path)
	if err != nil {
		return nil, err
	}
	// The directory that was checked, and not one that took its place.
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(named, opened) {
		err = insecure(d.path, "replaced while it was opened")
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// read returns a file's text. It fails with fs.ErrNotExist where there is none.
func (d *Dir) read(name string) ([]byte, error) {
	root, err := d.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	named, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	// Before it is opened: a pipe would keep us waiting, a link lead elsewhere.
	if !named.Mode().IsRegular() {
		return nil, insecure(d.full(name), "not a regular file")
	}
	// And before what a mode forbids to read is called an error of the disk.
	if err := onlyOurs(d.full(name), named); err != nil {
		return nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(named, opened) {
		return nil, insecure(d.full(name), "replaced while it was opened")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", d.full(name), ErrKeyCorrupt, maxFile)
	}
	return text, nil
}

// onlyOurs refuses what others have permissions on. Where there is an access
// list the group's permissions are what it gives at most, so it counts too.
func onlyOurs(path string, info fs.FileInfo) error {
	if !hasPermissions {
		return nil
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return insecure(path, fmt.Sprintf("mode %04o gives others access", perm))
	}
	if !ownedByUs(info) {
		return insecure(path, "belongs to another user")
	}
	return nil
}

func insecure(path, why string) error {
	return fmt.Errorf("%s: %w: %s", path, ErrInsecurePermissions, why)
}

// handles returns those that have a file, in order.
func (d *Dir) handles() ([]string, error) {
	root, err := d.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var handles []string
	for _, e := range entries {
		handle, ok := strings.CutSuffix(e.Name(), suffix)
		if ok && CheckHandle(handle) == nil {
			handles = append(handles, handle)
		}
	}
	slices.Sort(handles) // "a.jwk.json" and "a-b.jwk.json" sort the other way round
	return handles, nil
}
