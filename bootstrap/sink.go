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

	// Load returns the key that was published, or "" where there is none any
	// more. A sink that cannot tell returns errors.ErrUnsupported.
	Load(ctx context.Context) (string, error)

	// Publish replaces what the sink holds by key, entirely or not at all.
	Publish(ctx context.Context, key string) error

	// Remove withdraws what was published. Nothing there is no error.
	Remove(ctx context.Context) error
}

// A FileSink publishes the key to a file: mode 0600, written aside and renamed
// into place, in a directory of mode 0700, which is made where it is missing.
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

// Load reads the file. One that is not a regular file, or that others may read
// or write, is an error.
func (s FileSink) Load(context.Context) (string, error) {
	info, err := os.Lstat(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", s.Path)
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s is open to others (mode %04o): want 0600", s.Path, info.Mode().Perm())
	}
	f, err := os.Open(s.Path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	return strings.TrimSpace(string(b)), err
}

// Publish writes key and a newline.
func (s FileSink) Publish(_ context.Context, key string) error {
	dir := filepath.Dir(s.Path)
	if err := privateDir(dir); err != nil {
		return err
	}
	// What a crash left behind holds a key that nobody was given.
	aside := s.Path + ".new"
	if err := os.Remove(aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(aside, key+"\n"); err != nil {
		os.Remove(aside)
		return err
	}
	if err := os.Rename(aside, s.Path); err != nil {
		os.Remove(aside)
		return err
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
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("directory %s is open to others (mode %04o): want 0700", dir, info.Mode().Perm())
	}
	return nil
}

func writeNew(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// Callback is a Sink that hands the key to publish, such as a writer of
// Kubernetes Secrets. Whether the key is still there cannot be asked, so it is
// issued again only once it has stopped working. name goes into the claim.
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
