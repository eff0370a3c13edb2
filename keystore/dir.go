package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A Dir keeps each key in a file of one directory, HANDLE.jwk.json. It is safe
// for concurrent use, by several processes and Dirs too, on any file system of
// this machine that has hard links.
//
// Private keys are encrypted, with XChaCha20-Poly1305, unless
// InsecurePlaintext says otherwise. What is public of a key, its handle and how
// it is encrypted can be read by everybody who can open the file, and changed
// by nobody without the passphrase. All keys of a directory have one
// passphrase, or one Key: Generate fails with [ErrWrongPassphrase] when it is
// not that of the first encrypted key that is there. A file that lies in
// plaintext among them is [ErrPlaintext]. To change the passphrase, or from
// plaintext to encryption, make a Dir of another directory and [Dir.Import] the
// keys.
//
// The directory has the mode 0700 and files 0600, whatever the umask. Anything
// that somebody else may read or write, belongs to another user, is a symbolic
// link or no regular file is refused with ErrInsecurePermissions, the directory
// included. Where the system has no such permissions (Windows) they are neither
// set nor checked: choose a directory that only the user can open.
//
// A file appears complete or not at all, also when the process is killed or the
// power fails, and is never written again. A damaged file, and one in which the
// private and the public part do not belong together, is ErrKeyCorrupt; to find
// damage takes no passphrase.
type Dir struct {
	path      string
	now       func() time.Time
	readAAuth bool

	unlock     unlockFunc // nil: keys are not encrypted
	derivation derivation // of new keys, without a salt

	mu    sync.Mutex       // held while what lies in the directory and lives must agree
	lives map[string]*life // by handle, of the keys that were handed out
}

var (
	_ KeyStore  = (*Dir)(nil)
	_ Generator = (*Dir)(nil)
	_ Lister    = (*Dir)(nil)
	_ Deleter   = (*Dir)(nil)
)

const suffix = ".jwk.json"

func fileName(handle string) string { return handle + suffix }

// Load implements [KeyStore]. It reads the file and checks its permissions
// every time. The first Load of an encrypted key asks for the passphrase and
// takes about as long as a login, with 64 MB of memory; callers that come
// meanwhile wait for it. It fails with [ErrWrongPassphrase] and [ErrPlaintext]
// too.
func (d *Dir) Load(ctx context.Context, handle string) (Key, error) {
	private, l, err := d.load(ctx, handle)
	if err != nil {
		return nil, err
	}
	return newKey(handle, private, l), nil
}

// load returns a key and its life, which is over if the key is deleted before
// it is decrypted.
func (d *Dir) load(ctx context.Context, handle string) (crypto.Signer, *life, error) {
	if err := begin(ctx, handle); err != nil {
		return nil, nil, err
	}
	text, l, err := d.find(handle)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, notFound(handle)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("keystore: load: %w", err)
	}
	private, err := d.decode(ctx, handle, text)
	if err != nil {
		return nil, nil, fmt.Errorf("keystore: load %s: %w", d.full(fileName(handle)), err)
	}
	return private, l, nil
}

// find returns the text of a key's file.
func (d *Dir) find(handle string) ([]byte, *life, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := d.read(fileName(handle))
	if err != nil {
		return nil, nil, err
	}
	return text, d.life(handle), nil
}

// Generate implements [Generator]. It also removes files that a crash of an
// earlier Generate left behind, when they are older than an hour. If only the
// last step fails, which makes the new file's name permanent, the key stands
// and Load finds it, unless power fails soon. It fails with
// [ErrWrongPassphrase] too.
func (d *Dir) Generate(ctx context.Context, o KeyOptions) (Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	private, handle, err := generate(o)
	if err != nil {
		return nil, err
	}
	return d.keep(ctx, "generate", handle, private)
}

// Import keeps a copy of another Dir's key, under the same handle, the way that
// d keeps keys, and leaves the other as it is: this is how keys become
// encrypted, get another passphrase, or come from the AAuth SDK. It fails as
// Load of the one and Generate of the other do.
func (d *Dir) Import(ctx context.Context, from *Dir, handle string) (Key, error) {
	if from == nil {
		return nil, errors.New("keystore: import: no Dir to import from")
	}
	private, _, err := from.load(ctx, handle)
	if err != nil {
		return nil, err
	}
	return d.keep(ctx, "import", handle, private)
}

// keep writes a key that is new here.
func (d *Dir) keep(ctx context.Context, doing, handle string, private crypto.Signer) (Key, error) {
	text, err := d.encode(ctx, handle, private)
	if err != nil {
		return nil, fmt.Errorf("keystore: %s: %w", doing, err)
	}
	l, err := d.create(ctx, handle, text)
	if errors.Is(err, fs.ErrExist) {
		return nil, exists(handle)
	}
	if err != nil {
		return nil, fmt.Errorf("keystore: %s: %w", doing, err)
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
