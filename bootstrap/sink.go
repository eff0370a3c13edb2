package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Sink is where [Provision] publishes the first key.
type Sink interface {
	// Name identifies the sink in the claim. It must be the same at every
	// start, and differ between places that do not share what they hold.
	Name() string

	// Load returns the key that was published, or "" where there is none, and
	// an error where Publish could not work. It is asked before a key is made.
	// A sink that cannot tell returns errors.ErrUnsupported.
	Load(ctx context.Context) (string, error)

	// Publish replaces what the sink holds by key, entirely or not at all.
	Publish(ctx context.Context, key string) error

	// Remove withdraws what was published. Nothing there is no error.
	Remove(ctx context.Context) error
}

// A FileSink publishes the key to a file: mode 0600, written aside and renamed
// into place, in a directory of mode 0700, which is made where it is missing.
// A crash may leave a hidden file beside it, with a key that has ended since.
type FileSink struct {
	Path string // absolute, or relative to the working directory

	// Owner tells apart machines that use the same Path on disks of their
	// own: one of them owns the file. Empty: the host name. Replicas that
	// share the file's directory set the same Owner.
	Owner string
}

// Name joins owner and absolute path.
func (s FileSink) Name() string {
	owner, path := s.Owner, s.Path
	if owner == "" {
		owner, _ = os.Hostname()
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return "file:" + owner + ":" + path
}

// Load reads the file, and makes its directory. A file or directory that is
// not this user's, or that others may read or write, is an error.
func (s FileSink) Load(context.Context) (string, error) {
	if err := privateDir(filepath.Dir(s.Path)); err != nil {
		return "", err
	}
	f, err := openOwn(s.Path, 0o077)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	return strings.TrimSpace(string(b)), err
}

// Publish writes key and a newline.
func (s FileSink) Publish(_ context.Context, key string) error {
	dir, name := filepath.Split(s.Path)
	if dir == "" {
		dir = "."
	}
	if err := privateDir(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+name+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), s.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// Remove deletes the file.
func (s FileSink) Remove(context.Context) error {
	err := removeFile(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	d, err := openOwn(dir, 0o077)
	if err != nil {
		return err
	}
	return d.Close()
}

// openOwn opens a file or directory of this user, or of root, that grants
// others none of the permissions in forbidden. What it checks is what it has
// opened: a symbolic link is refused.
func openOwn(path string, forbidden fs.FileMode) (*os.File, error) {
	f, err := openNoFollow(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular() && !info.IsDir():
		err = fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&forbidden != 0:
		err = fmt.Errorf("%s is open to others: its mode is %04o", path, info.Mode().Perm())
	case !ownedByUs(info):
		err = fmt.Errorf("%s belongs to another user", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Callback is a Sink that hands the key to publish, such as a writer of
// Kubernetes Secrets. Whether the key is still there cannot be asked, so it is
// taken to be until it has expired. name goes into the claim.
func Callback(name string, publish func(ctx context.Context, key string) error) Sink {
	return callback{name, publish}
}

type callback struct {
	name    string
	publish func(ctx context.Context, key string) error
}

func (c callback) Name() string                                  { return "callback:" + c.name }
func (c callback) Load(context.Context) (string, error)          { return "", errors.ErrUnsupported }
func (c callback) Publish(ctx context.Context, key string) error { return c.publish(ctx, key) }
func (c callback) Remove(context.Context) error                  { return nil }
