package keystore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// DirConfig is what [NewDir] needs.
type DirConfig struct {
	// Path is the directory. It is made, with those above it, by the first
	// Generate. A relative path is that from where the process stands when
	// NewDir is called.
	Path string

	// InsecurePlaintext says that the caller knows private keys to lie in the
	// files unencrypted, guarded by the permissions alone: who reads a backup
	// has the keys. It must be true, as there is no encryption yet.
	InsecurePlaintext bool

	// Now is the clock by which files that a crash left behind are old; nil
	// means [time.Now].
	Now func() time.Time
}

// A Dir keeps each key in a file of one directory, HANDLE.jwk.json. It is safe
// for concurrent use, by several processes and Dirs too, on any file system of
// this machine that has hard links.
//
// The directory has the mode 0700 and files 0600, whatever the umask. Anything
// that somebody else may read or write, belongs to another user, is a symbolic
// link or no regular file is refused with ErrInsecurePermissions, the directory
// included. Where the system has no such permissions (Windows) they are neither
// set nor checked: choose a directory that only the user can open.
//
// A file appears complete or not at all, also when the process is killed or the
// power fails, and is never written again. A damaged file, and one in which the
// private and the public part do not belong together, is ErrKeyCorrupt.
type Dir struct {
	path string
	now  func() time.Time

	mu    sync.Mutex       // held while what lies in the directory and lives must agree
	lives map[string]*life // by handle, of the keys that were handed out
}

var (
	_ KeyStore  = (*Dir)(nil)
	_ Generator = (*Dir)(nil)
	_ Lister    = (*Dir)(nil)
	_ Deleter   = (*Dir)(nil)
)

// NewDir checks c and does not look at the directory.
func NewDir(c DirConfig) (*Dir, error) {
	switch {
	case c.Path == "", strings.ContainsRune(c.Path, 0):
		return nil, errors.New("keystore: DirConfig.Path is not a path")
	case !c.InsecurePlaintext:
		return nil, errors.New("keystore: keys of a Dir are not encrypted: DirConfig.InsecurePlaintext must say that this is meant")
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Dir{path: path, now: c.Now, lives: make(map[string]*life)}, nil
}

const suffix = ".jwk.json"

func fileName(handle string) string { return handle + suffix }

// Load implements [KeyStore]. It reads the file and checks its permissions
// every time.
func (d *Dir) Load(ctx context.Context, handle string) (Key, error) {
	if err := begin(ctx, handle); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := d.read(fileName(handle))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(handle)
	}
	if err != nil {
		return nil, fmt.Errorf("keystore: load: %w", err)
	}
	private, err := decode(handle, text)
	if err != nil {
		return nil, fmt.Errorf("keystore: load %s: %w", d.full(fileName(handle)), err)
	}
	return newKey(handle, private, d.life(handle)), nil
}

// Generate implements [Generator]. It also removes files that a crash of an
// earlier Generate left behind, when they are older than an hour. If only the
// last step fails, which makes the new file's name permanent, the key stands
// and Load finds it, unless power fails soon.
func (d *Dir) Generate(ctx context.Context, o KeyOptions) (Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	private, handle, err := generate(o)
	if err != nil {
		return nil, err
	}
	text, err := encode(handle, private)
	if err != nil {
		return nil, err
	}
	l, err := d.create(ctx, handle, text)
	if errors.Is(err, fs.ErrExist) {
		return nil, exists(handle)
	}
	if err != nil {
		return nil, fmt.Errorf("keystore: generate: %w", err)
	}
	return newKey(handle, private, l), nil
}

// List implements [Lister]. It yields the handles in order, and reads no key.
func (d *Dir) List(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := ctx.Err(); err != nil {
			yield("", fmt.Errorf("keystore: list: %w", err))
			return
		}
		handles, err := d.handles()
		if err != nil {
			yield("", fmt.Errorf("keystore: list: %w", err))
			return
		}
		yieldAll(ctx, handles, yield)
	}
}

// Delete implements [Deleter]. It waits for signatures that are being made, and
// removes files that Load refuses too, but no links and directories. The
// content is not overwritten, which most disks would do elsewhere.
func (d *Dir) Delete(ctx context.Context, handle string) error {
	if err := begin(ctx, handle); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	root, err := d.open()
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(handle)
	}
	if err != nil {
		return fmt.Errorf("keystore: delete: %w", err)
	}
	defer root.Close()
	err = remove(root, fileName(handle))
	if errors.Is(err, fs.ErrNotExist) {
		return notFound(handle)
	}
	if err != nil {
		return fmt.Errorf("keystore: delete: %w", err)
	}
	if l, ok := d.lives[handle]; ok {
		delete(d.lives, handle)
		l.end()
	}
	if err := syncDir(root); err != nil {
		return fmt.Errorf("keystore: delete: the key is gone, until power fails: %w", err)
	}
	return nil
}

// life returns the life of keys with this handle. The caller holds d.mu.
func (d *Dir) life(handle string) *life {
	l, ok := d.lives[handle]
	if !ok {
		l = new(life)
		d.lives[handle] = l
	}
	return l
}

func (d *Dir) full(name string) string { return filepath.Join(d.path, name) }

// closing keeps the first error: that of closing a file that was written counts.
func closing(f *os.File, err error) error {
	if c := f.Close(); err == nil {
		return c
	}
	return err
}
