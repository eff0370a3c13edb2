package keystore

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// A derivation is how the key of a file is made of what the host has: of a
// passphrase by Argon2id (RFC 9106), or of a key that needs nothing.
//
// Each file names its salt, so each is whole in itself and nothing is lost with
// another. Yet the keys of a directory share one, as long as nobody makes the
// first two at once: then a passphrase costs one derivation, however many keys
// there are. Against who has the files, one salt for each would gain nothing,
// as all have one passphrase and the salt is another in every directory.
type derivation struct {
	KDF     string `json:"kdf"`
	Salt    string `json:"salt,omitempty"`
	Time    uint32 `json:"time,omitempty"`    // passes
	Memory  uint32 `json:"memory,omitempty"`  // KiB
	Threads uint8  `json:"threads,omitempty"` // lanes
}

const (
	kdfArgon2id = "argon2id"
	kdfNone     = "none"

	saltSize = 16
	keySize  = chacha20poly1305.KeySize

	// The second choice of RFC 9106, section 4.
	defaultTime    = 3
	defaultMemory  = 64 << 10
	defaultThreads = 4

	// What a file may ask for before anything in it is trusted: some seconds.
	maxTime    = 8
	maxMemory  = 256 << 10
	maxThreads = 16
)

// checkBounds refuses what must not be run.
func (p derivation) checkBounds() error {
	switch p.KDF {
	case kdfNone:
		if p != (derivation{KDF: kdfNone}) {
			return fmt.Errorf("%w: kdf %s with a salt or costs", ErrKeyCorrupt, kdfNone)
		}
		return nil
	case kdfArgon2id:
	default:
		return fmt.Errorf("%w: kdf is neither %s nor %s", ErrUnsupportedKey, kdfArgon2id, kdfNone)
	}
	switch salt, err := encoding.DecodeString(p.Salt); {
	case err != nil || len(salt) != saltSize:
		return fmt.Errorf("%w: salt is not %d bytes in base64url", ErrKeyCorrupt, saltSize)
	case p.Time < 1, p.Time > maxTime, p.Threads < 1, p.Threads > maxThreads:
		return fmt.Errorf("%w: Argon2id of time %d and %d threads", ErrUnsupportedKey, p.Time, p.Threads)
	case p.Memory < 8*uint32(p.Threads), p.Memory > maxMemory:
		return fmt.Errorf("%w: Argon2id with %d KiB", ErrUnsupportedKey, p.Memory)
	}
	return nil
}

func (p derivation) unsalted() derivation {
	p.Salt = ""
	return p
}

// salted chooses a salt where there is none and one is needed.
func (p derivation) salted() derivation {
	if p.KDF == kdfArgon2id && p.Salt == "" {
		salt := make([]byte, saltSize)
		rand.Read(salt) // never fails
		p.Salt = encoding.EncodeToString(salt)
	}
	return p
}

// A sealer encrypts and decrypts the keys of files that have its derivation
// and check.
type sealer struct {
	derivation
	check string // known to who has the passphrase only, and betrays nothing of it
	aead  cipher.AEAD
}

// derive makes the sealer of a passphrase, or of a key of keySize bytes.
func (p derivation) derive(secret []byte) (*sealer, error) {
	if p.KDF == kdfArgon2id {
		salt, err := encoding.DecodeString(p.Salt)
		if err != nil {
			return nil, err
		}
		secret = argon2.IDKey(secret, salt, p.Time, p.Memory, p.Threads, keySize)
	}
	check, err := hkdf.Key(sha256.New, secret, nil, "keywright keystore check", sha256.Size)
	if err != nil {
		return nil, err
	}
	sealing, err := hkdf.Key(sha256.New, secret, nil, "keywright keystore seal", keySize)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(sealing)
	if err != nil {
		return nil, err
	}
	return &sealer{derivation: p, check: encoding.EncodeToString(check), aead: aead}, nil
}
