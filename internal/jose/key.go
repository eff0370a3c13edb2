package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
)

// MinSecret is the least length of an HS256 secret in bytes (RFC 7518, 3.2).
const MinSecret = sha256.Size

// The RSA keys that are accepted. Smaller moduli are weak, larger ones a way
// to keep a server busy; FIPS 186-5 wants the exponent above 2^16, and
// crypto/rsa wants it below 2^31.
const (
	minRSABits     = 2048
	maxRSABits     = 4096
	minRSAExponent = 1<<16 + 1
	maxRSAExponent = 1<<31 - 1
)

// A Key verifies tokens of one algorithm. The zero Key verifies none. A Key
// does not share memory with what it was made of, and printing an HS256 key
// does not print its secret.
type Key struct {
	alg      algorithm
	declared string // the name of alg in the JWK this was read from
	kid      string
	public   crypto.PublicKey // nil for HS256
	size     int              // of a signature in bytes
	check    func(input, signature []byte) bool
}

// HS256 makes a Key of a shared secret of at least [MinSecret] bytes.
func HS256(secret []byte) (Key, error) {
	if len(secret) < MinSecret {
		return Key{}, fmt.Errorf("jose: secret of %d bytes, at least %d", len(secret), MinSecret)
	}
	secret = append([]byte(nil), secret...)
	check, err := arithmetic(algHS256, secret)
	if err != nil {
		return Key{}, err
	}
	return Key{alg: algHS256, size: sha256.Size, check: check}, nil
}

// PublicKey makes a Key of an ed25519.PublicKey, an *ecdsa.PublicKey on P-256
// (ES256) or an *rsa.PublicKey of 2048 to 4096 bits (RS256). It refuses Ed25519
// keys of small order, points that are not on P-256 and exponents below 65537.
func PublicKey(pub crypto.PublicKey) (Key, error) {
	key, err := publicKey(pub)
	if err != nil {
		return Key{}, fmt.Errorf("jose: %w", err)
	}
	return key, nil
}

func publicKey(pub crypto.PublicKey) (Key, error) {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return ed25519Key(pub)
	case *ecdsa.PublicKey:
		return ecdsaKey(pub)
	case *rsa.PublicKey:
		return rsaKey(pub)
	}
	return Key{}, fmt.Errorf("%w: key of type %T", ErrUnsupportedAlgorithm, pub)
}

func ed25519Key(pub ed25519.PublicKey) (Key, error) {
	if err := checkEd25519(pub); err != nil {
		return Key{}, err
	}
	pub = append(ed25519.PublicKey(nil), pub...)
	check := func(input, signature []byte) bool { return ed25519.Verify(pub, input, signature) }
	return Key{alg: algEdDSA, public: pub, size: ed25519.SignatureSize, check: check}, nil
}

func ecdsaKey(pub *ecdsa.PublicKey) (Key, error) {
	switch {
	//lint:ignore SA1019 Bytes panics where a coordinate is nil
	case pub == nil, pub.X == nil, pub.Y == nil:
		return Key{}, errors.New("incomplete EC key")
	case pub.Curve != elliptic.P256():
		return Key{}, fmt.Errorf("%w: curve other than P-256", ErrUnsupportedAlgorithm)
	}
	point, err := pub.Bytes()
	if err != nil {
		return Key{}, errors.New("EC key is not a point on P-256")
	}
	return p256Key(point)
}

// p256Key takes an uncompressed point.
func p256Key(point []byte) (Key, error) {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return Key{}, errors.New("EC key is not a point on P-256")
	}
	check, err := arithmetic(algES256, pub)
	if err != nil {
		return Key{}, err
	}
	return Key{alg: algES256, public: pub, size: 64, check: check}, nil
}

func rsaKey(pub *rsa.PublicKey) (Key, error) {
	switch {
	case pub == nil, pub.N == nil, pub.N.Sign() <= 0:
		return Key{}, errors.New("incomplete RSA key")
	case pub.N.BitLen() < minRSABits, pub.N.BitLen() > maxRSABits:
		return Key{}, fmt.Errorf("RSA key of %d bits, want %d to %d", pub.N.BitLen(), minRSABits, maxRSABits)
	case pub.N.Bit(0) == 0:
		return Key{}, errors.New("RSA key with an even modulus")
	case pub.E < minRSAExponent, pub.E > maxRSAExponent, pub.E%2 == 0:
		return Key{}, fmt.Errorf("RSA exponent %d, want an odd one from %d to %d", pub.E, minRSAExponent, maxRSAExponent)
	}
	pub = &rsa.PublicKey{N: new(big.Int).Set(pub.N), E: pub.E}
	check, err := arithmetic(algRS256, pub)
	if err != nil {
		return Key{}, err
	}
	return Key{alg: algRS256, public: pub, size: pub.Size(), check: check}, nil
}

// WithKeyID returns k under a key id, which a token that names one must match.
// Empty means none.
func (k Key) WithKeyID(kid string) Key {
	k.kid = kid
	return k
}

// KeyID returns the key id, or "".
func (k Key) KeyID() string { return k.kid }

// Algorithm returns HS256, RS256, ES256 or EdDSA, and "" for the zero Key.
func (k Key) Algorithm() string { return string(k.alg) }

// DeclaredAlgorithm returns the "alg" of the JWK that k was read from, as it
// was spelled, and "" if it had none. Profiles exist that demand one.
func (k Key) DeclaredAlgorithm() string { return k.declared }

// Public returns the public key, which the caller must not modify: an
// ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey; nil for HS256.
func (k Key) Public() crypto.PublicKey { return k.public }

func (k Key) fits(h header) bool {
	return k.check != nil && k.alg == h.alg && (k.kid == "" || h.kid == "" || k.kid == h.kid)
}

// Verify reports whether signature, in the form of RFC 7518, is one of input.
func (k Key) Verify(input, signature []byte) bool {
	return k.check != nil && len(signature) == k.size && k.check(input, signature)
}

// Same reports whether both are the same public key, whatever is said of them.
func (k Key) Same(other Key) bool {
	pub, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(other.public)
}
