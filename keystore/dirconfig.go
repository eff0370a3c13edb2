package keystore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DirConfig is what [NewDir] needs. Exactly one of Passphrase, Key and
// InsecurePlaintext must be set.
type DirConfig struct {
	// Path is the directory. It is made, with those above it, by the first
	// Generate or Import. A relative path is that from where the process stands
	// when NewDir is called. Empty means .keywright/keys in the home directory of
	// the user, see [os.UserHomeDir].
	Path string

	// Passphrase returns what the keys are encrypted with, by Argon2id
	// (RFC 9106). It is called when a key is first needed, and again for keys
	// that were encrypted apart from the others, so it should give the same
	// answer every time. The answer is used as it is, byte for byte: a line break
	// at the end of a file does not belong to it. An empty one is an error. It is
	// not kept: what is remembered is made of it.
	//
	// The context is that of the method that needs the key. Passphrase must not
	// use the Dir. It may be called by several goroutines, one at a time.
	Passphrase func(ctx context.Context) ([]byte, error)

	// Key returns 32 random bytes, from a KMS or the credentials of a service,
	// which the keys are encrypted with; anything that a human can remember is a
	// Passphrase. It is called as Passphrase is.
	Key func(ctx context.Context) ([]byte, error)

	// InsecurePlaintext says that the caller knows private keys to lie in the
	// files unencrypted, guarded by the permissions alone: who reads a backup
	// has the keys.
	InsecurePlaintext bool

	// ReadAAuth makes Load accept the files of the AAuth SDK too, one bare
	// private JWK in each, as they lie in ~/.aauth/keys. They are plaintext, so
	// it needs InsecurePlaintext. No such file is written. What the SDK allows in
	// a name and [CheckHandle] does not is not found.
	//
	// A bare JWK has no sum: if damage leaves a JWK whose private and public
	// part belong together, it is still that key.
	ReadAAuth bool

	// Now is the clock by which files that a crash left behind are old; nil
	// means [time.Now].
	Now func() time.Time
}

// NewDir checks c, and neither looks at the directory nor asks for the
// passphrase.
func NewDir(c DirConfig) (*Dir, error) {
	if err := c.checkEncryption(); err != nil {
		return nil, err
	}
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	d := &Dir{path: path, now: c.Now, readAAuth: c.ReadAAuth, lives: make(map[string]*life)}
	switch {
	case c.Passphrase != nil:
		d.derivation = derivation{KDF: kdfArgon2id, Time: defaultTime, Memory: defaultMemory, Threads: defaultThreads}
		d.unlock = newVault(kdfArgon2id, c.Passphrase).unlock
	case c.Key != nil:
		d.derivation = derivation{KDF: kdfNone}
		d.unlock = newVault(kdfNone, c.Key).unlock
	}
	return d, nil
}

func (c DirConfig) checkEncryption() error {
	ways := 0
	for _, chosen := range []bool{c.Passphrase != nil, c.Key != nil, c.InsecurePlaintext} {
		if chosen {
			ways++
		}
	}
	switch {
	case ways != 1:
		return errors.New("keystore: exactly one of DirConfig.Passphrase, Key and InsecurePlaintext must be set")
	case c.ReadAAuth && !c.InsecurePlaintext:
		return errors.New("keystore: DirConfig.ReadAAuth reads plaintext: InsecurePlaintext must say that this is meant")
	}
	return nil
}

func (c DirConfig) path() (string, error) {
	path := c.Path
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("keystore: DirConfig.Path is empty, and there is no home directory: %w", err)
		}
		path = filepath.Join(home, ".keywright", "keys")
	}
	if strings.ContainsRune(path, 0) {
		return "", errors.New("keystore: DirConfig.Path is not a path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("keystore: %w", err)
	}
	return path, nil
}
