// Package keystore is where private signing keys live: those of a server that
// issues tokens, and those of a machine that signs requests.
//
// A key is found by its handle, a name that a configuration file can hold, and
// signs inside its store. No method of this package returns private bytes, so
// a key may just as well lie in a KMS or an HSM. All that most stores need to
// offer is [KeyStore]; making, listing and deleting keys are [Generator],
// [Lister] and [Deleter], which a caller asks for by type assertion.
//
//   - [Memory] keeps keys in this process, for tests
//   - [Dir] keeps each key in a file of a directory, encrypted
//   - [FromSigner] makes a key of any [crypto.Signer]
//   - package pkcs11store, a module of its own, keeps keys in an HSM
//
// To write another store, implement the interfaces and run package
// keystoretest against it.
//
// Keys are of the two kinds that agents sign with: Ed25519 (RFC 8037) and
// ECDSA on P-256 (ES256, RFC 7518, section 3.4).
package keystore

import (
	"context"
	"crypto"
	"errors"
	"iter"
)

// The errors that a caller can act on. No error of this package holds any part
// of a private key.
var (
	// ErrInvalidHandle: this can be no key's handle, see [CheckHandle].
	ErrInvalidHandle = errors.New("invalid handle")

	// ErrKeyNotFound: there is no key with this handle, or none any more.
	ErrKeyNotFound = errors.New("key not found")

	// ErrKeyExists: another key has this handle.
	ErrKeyExists = errors.New("key already exists")

	// ErrKeyCorrupt: what is kept under this handle is not the key that was
	// put there. It does not pass with time, and nothing replaces the key.
	ErrKeyCorrupt = errors.New("key is corrupt")

	// ErrInsecurePermissions: others may have read or written what is kept,
	// so it is not used.
	ErrInsecurePermissions = errors.New("insecure permissions")

	// ErrUnsupportedKey: a key or algorithm that is neither Ed25519 nor P-256,
	// one that this store cannot make, or a file in a form of later versions or
	// at a cost that is not run here.
	ErrUnsupportedKey = errors.New("unsupported key")

	// ErrWrongPassphrase: the key is sound, as far as can be told, and encrypted
	// with another passphrase or another [DirConfig] Key than the caller has, or
	// the caller has none. Nothing replaces the key.
	ErrWrongPassphrase = errors.New("wrong passphrase")

	// ErrPlaintext: a key that lies unencrypted where keys are encrypted. Who
	// can write there may have put it there, so it is not used.
	ErrPlaintext = errors.New("key is not encrypted")
)

// A Key signs. It is safe for concurrent use.
//
// Public returns an ed25519.PublicKey or an *ecdsa.PublicKey on P-256, which
// the caller must not modify. It also does so when the key is deleted.
//
// Sign of an Ed25519 key takes the message and an opts of crypto.Hash(0). Sign
// of a P-256 key takes a SHA-256 digest and crypto.SHA256, and returns ASN.1.
// Anything else is refused: ECDSA would silently sign the beginning of a
// longer text.
type Key interface {
	crypto.Signer

	// Handle returns what [KeyStore.Load] finds the key by. It is no secret.
	Handle() string
}

// A KeyStore finds keys. Every store is safe for concurrent use, by several
// processes too where it keeps the keys outside this one; its methods return
// ctx.Err() (perhaps wrapped) when ctx is done before they begin, and change
// nothing then.
type KeyStore interface {
	// Load returns the key with this handle. It fails with ErrInvalidHandle,
	// ErrKeyNotFound, ErrKeyCorrupt, ErrInsecurePermissions or
	// ErrUnsupportedKey. Any other error means that the store is in trouble:
	// it must never be taken for absence, and never be answered by a new key.
	Load(ctx context.Context, handle string) (Key, error)
}

// A Generator is a store that makes keys.
type Generator interface {
	// Generate makes a key and keeps it, durably where the store is durable.
	// It fails with ErrKeyExists when there is a key with this handle, which
	// then stays as it was: of several callers exactly one succeeds. It fails
	// with ErrUnsupportedKey when it cannot make such a key. After any other
	// error there is either no such key or a whole one.
	Generate(ctx context.Context, o KeyOptions) (Key, error)
}

// KeyOptions describe a key to be made. The zero value is an Ed25519 key whose
// handle is its thumbprint.
type KeyOptions struct {
	Algorithm Algorithm

	// Handle is the new key's handle; empty means the SHA-256 thumbprint of
	// its public key in base64url (RFC 7638).
	Handle string
}

// A Lister is a store that knows which keys it has.
type Lister interface {
	// List yields the handle of each key once, in no particular order, and
	// those of keys that Load refuses too. A key that comes or goes meanwhile
	// may or may not be among them. The loop's body may use the store. After
	// an error, which comes with an empty handle, the sequence ends.
	List(ctx context.Context) iter.Seq2[string, error]
}

// A Deleter is a store whose keys end.
type Deleter interface {
	// Delete removes a key for good, or fails with ErrKeyNotFound. Once it has
	// returned, no [Key] with this handle that the store handed out in this
	// process signs any more: Sign returns ErrKeyNotFound. The handle may be
	// used for another key, which does not revive the old one.
	Delete(ctx context.Context, handle string) error
}

// An Algorithm is what a new key is for.
type Algorithm int

const (
	Ed25519 Algorithm = iota // RFC 8037, RFC 9864
	ES256                    // ECDSA on P-256 with SHA-256: RFC 7518, section 3.4
)

// String returns the name of the algorithm in JOSE, "unknown" for other values.
func (a Algorithm) String() string {
	switch a {
	case Ed25519:
		return "Ed25519"
	case ES256:
		return "ES256"
	}
	return "unknown"
}
