// Package jose reads and writes signed tokens (RFC 7515 in its compact form,
// RFC 7519) and public keys (RFC 7517, RFC 7638).
//
// It is stricter than the standards. A [Token] comes only from [Parse], which
// accepts one spelling of each token; a [Key] comes only from a constructor
// that has checked it, and brings its algorithm along; claims come only from
// [Token.Verify]. What a token's header says never chooses more than which of
// the given keys are tried. There is no "none", no compression, no encryption
// and no key or address of a key inside a token.
//
// Everything here is safe for concurrent use, and no function reads the clock.
package jose

import "errors"

// Limits on what is read.
const (
	MaxToken = 8 << 10  // bytes of a token
	MaxKeyID = 256      // bytes of a "kid"
	MaxSet   = 64 << 10 // bytes of a JWK or a set of them
	MaxKeys  = 100      // keys in a set

	maxTries = 8 // keys that one token may be tried with
)

// The errors that a caller can act on. Errors of this package never hold a
// token, a key or a value of a header or claims, except that they name, clipped,
// an algorithm, key type or curve that is not done.
var (
	// ErrUnsupportedAlgorithm: a token or JWK names an algorithm, key type or
	// curve that this package does not do.
	ErrUnsupportedAlgorithm = errors.New("unsupported algorithm")

	// ErrNoKey: no given key has the token's algorithm and key id. Newer keys
	// of the issuer may help.
	ErrNoKey = errors.New("no key for this token")

	// ErrSignature: the signature is not that of any key tried.
	ErrSignature = errors.New("invalid signature")

	// ErrExpired: the token was good once.
	ErrExpired = errors.New("expired")
)

// An algorithm is what a key is for. Ed25519 has two names in headers, "EdDSA"
// (RFC 8037) and "Ed25519" (RFC 9864), which mean the same here.
type algorithm string

const (
	algHS256 algorithm = "HS256"
	algRS256 algorithm = "RS256"
	algES256 algorithm = "ES256"
	algEdDSA algorithm = "EdDSA"

	nameEd25519 = "Ed25519"
)

// algorithmNamed compares name as it is spelled.
func algorithmNamed(name string) (algorithm, error) {
	switch alg := algorithm(name); alg {
	case algHS256, algRS256, algES256, algEdDSA:
		return alg, nil
	case nameEd25519:
		return algEdDSA, nil
	}
	return "", ErrUnsupportedAlgorithm
}
