// Package pkcs11store keeps private keys in a token that speaks PKCS#11: an HSM,
// a smart card, SoftHSM. It is a [keystore.KeyStore] that also makes, lists and
// deletes keys, Ed25519 (CKM_EDDSA of PKCS #11 3.0) and P-256 (CKM_ECDSA).
//
// Keys are made inside the token, sensitive and not extractable: it never gives
// their private halves away. A key's handle is the CKA_LABEL of its two objects.
// Keys that other programs made are found by their label too, if the token keeps
// the public key beside the private one, with the same CKA_ID.
//
// Every signature is verified before it is handed out, so that no fault of a
// token, driver or session gets further.
//
// # Several users of a token
//
// PKCS #11 has no unique names. A new pair carries a claim in CKA_ID, which
// [Store.Load] and [Store.List] do not see, until nobody else claims the handle or
// has a key of it. So exactly one of several callers makes the key: goroutines,
// Stores, processes and machines alike, as long as the token shows to one what
// another has written before (SoftHSM needs Config.LockFile for that) and their
// clocks agree within half a minute. Otherwise there may be two keys of one
// handle, which Load refuses and Delete removes. What a killed process leaves is
// a claim and no key. It ends after a minute: until then Generate of that handle
// waits, and then removes it.
//
// Login and initialization are those of the process. If another part of it
// closes all sessions, logs out or finalizes the module, the Store begins anew,
// and what it was doing is tried once more. Others may use the module too, so the
// Store logs out only by closing its sessions, and finalizes it only where it has
// just initialized it and found no token. Each Store tries a wrong PIN once.
//
// # Time
//
// A call into a module cannot be interrupted. A context ends what is waited for
// and keeps the next call from being made.
//
// The package needs cgo.
package pkcs11store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// The errors that a caller can act on, beside those of package keystore. What a
// module says is in the chain as a [pkcs11.Error]. No error holds a PIN.
var (
	// ErrPIN: the token refuses the PIN, or would be locked by another wrong
	// one, or is, or has failed to log in twice. The Store does not try again
	// by itself: see [Store.Open].
	ErrPIN = errors.New("PIN refused")

	// ErrTokenNotFound: there is no such token, or it was removed.
	ErrTokenNotFound = errors.New("token not found")

	// ErrSessionLimit: the token admits no session, as others have them all.
	ErrSessionLimit = errors.New("no session left")
)

const defaultSessions = 4

// Config is what [New] needs. Module, Token and PIN are required.
type Config struct {
	// Module is the path of the vendor's library. It is loaded into this
	// process: whoever can write that file has the process.
	Module string

	// Token is the label or the serial number of a token that exists.
	Token string

	// PIN returns the user's PIN. It is called when the Store must log in,
	// by one goroutine at a time, and its result is not kept. The module and
	// Go's memory may hold copies of it for longer.
	PIN func(ctx context.Context) (string, error)

	// Sessions is how many the Store has at most, which is how many
	// signatures are made at once; 0 means 4.
	Sessions int

	// LockFile is a file, made if it is not there, by which the Stores of this
	// machine that name the same one take turns: those that write to the token do
	// so alone. SoftHSM needs it if several processes, or several Stores of one,
	// use a token. "": none, which is right where the vendor says that processes
	// may share a token. Not on Windows.
	LockFile string

	// Now is the clock by which claims are old; nil means [time.Now].
	Now func() time.Time
}

// A Store is a token. It is safe for concurrent use. [Store.Close] it.
type Store struct {
	config  Config
	permits chan struct{} // held by who has a session
	making  chan struct{} // held by who makes a key
	turns   turns

	opening  chan struct{} // held by who opens a session, and so guards these
	module   *pkcs11.Ctx   // nil: not loaded
	slot     uint
	failures int                   // of logins, one after the other
	refusal  error                 // why no PIN is tried
	refused  func(pin string) bool // whether this is what the token refused; nil: nothing

	mu        sync.Mutex
	closed    bool
	connected bool       // module and slot are those of this era
	era       int        // sessions of earlier ones are not used again
	living    int        // sessions of eras before it ended with the token's knowledge
	open      int        // sessions of this era
	idle      []*session // of this era
	lives     map[string]*life
}

var (
	_ keystore.KeyStore  = (*Store)(nil)
	_ keystore.Generator = (*Store)(nil)
	_ keystore.Lister    = (*Store)(nil)
	_ keystore.Deleter   = (*Store)(nil)
)

// New checks c. It does not load the module: the first use of the Store does,
// or Open.
func New(c Config) (*Store, error) {
	switch {
	case c.Module == "":
		return nil, errors.New("pkcs11store: Config.Module is required")
	case c.Token == "":
		return nil, errors.New("pkcs11store: Config.Token is required")
	case c.PIN == nil:
		return nil, errors.New("pkcs11store: Config.PIN is required")
	case c.Sessions < 0:
		return nil, errors.New("pkcs11store: Config.Sessions is negative")
	case c.LockFile != "" && !canLock:
		return nil, errors.New("pkcs11store: Config.LockFile: this system has no such locks")
	}
	if c.Sessions == 0 {
		c.Sessions = defaultSessions
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Store{
		config: c, lives: make(map[string]*life), turns: turns{file: c.LockFile},
		permits: make(chan struct{}, c.Sessions), making: make(chan struct{}, 1), opening: make(chan struct{}, 1),
	}, nil
}

// Open logs in to the token, unless the Store is there already, so that a
// server finds out when it starts. Nobody need call it otherwise.
//
// After ErrPIN all methods fail so and ask for no PIN, until Open is called: it
// asks for the PIN, and tries it if it is another one than the refused.
func (s *Store) Open(ctx context.Context) error {
	if err := s.forgive(ctx); err != nil {
		return fmt.Errorf("pkcs11store: open: %w", err)
	}
	_, err := bounded(ctx, func() (struct{}, error) { return struct{}{}, s.with(ctx, (*session).check) })
	if err != nil {
		return fmt.Errorf("pkcs11store: open: %w", err)
	}
	return nil
}

// Load implements [keystore.KeyStore]. A key that could leave its token is
// ErrInsecurePermissions. A private key without its public one, several keys of
// one label, and a key that signs wrongly, are ErrKeyCorrupt.
func (s *Store) Load(ctx context.Context, handle string) (keystore.Key, error) {
	if err := begin(ctx, handle); err != nil {
		return nil, err
	}
	found, err := bounded(ctx, func() (found pair, err error) {
		err = s.with(ctx, func(n *session) error {
			found, err = n.load(handle)
			return err
		})
		return found, err
	})
	if err != nil {
		return nil, fmt.Errorf("pkcs11store: load %q: %w", handle, err)
	}
	return s.key(handle, found)
}

// begin is what every method that is given a handle checks first.
func begin(ctx context.Context, handle string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("pkcs11store: %w", err)
	}
	return keystore.CheckHandle(handle)
}

// hold waits for a channel that is a lock. Whoever holds it receives from it.
func hold(ctx context.Context, lock chan<- struct{}) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pause waits a little for what others do.
func pause(ctx context.Context) error {
	t := time.NewTimer(20 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
