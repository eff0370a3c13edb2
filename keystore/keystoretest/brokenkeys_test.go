package keystoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"io"

	"github.com/keywright/keywright/keystore"
)

// mixed says that it is one key and signs with another.
type mixed struct {
	keystore.Key
	signer crypto.Signer
}

func (k mixed) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.signer.Sign(rand, digest, opts)
}

// renamed has the handle of another key.
type renamed struct {
	keystore.Key
	handle string
}

func (k renamed) Handle() string { return k.handle }

// lenient signs whatever it is given.
type lenient struct{ keystore.Key }

func (k lenient) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, ok := k.Public().(*ecdsa.PublicKey); ok {
		sum := sha256.Sum256(digest)
		return k.Key.Sign(rand, sum[:], crypto.SHA256)
	}
	return k.Key.Sign(rand, digest, crypto.Hash(0))
}

// other makes another key of the same kind.
func other(k keystore.Key) keystore.Key {
	return must(keystore.FromSigner("", immortal(k)))
}

func immortal(k keystore.Key) crypto.Signer {
	if _, ok := k.Public().(*ecdsa.PublicKey); ok {
		return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	}
	_, private, err := ed25519.GenerateKey(nil)
	return must(private, err)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
