package jose

import (
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// arithmetic returns the function that verifies signatures of alg with key: a
// []byte for HS256, an *rsa.PublicKey for RS256, an *ecdsa.PublicKey for ES256.
// The library sees nothing but the bytes that were signed and the signature;
// keys and signatures have been checked before. This file is all that knows it.
func arithmetic(alg algorithm, key any) (func(input, signature []byte) bool, error) {
	// Looked up once: the library's table of verifiers can be changed later by
	// any package of the program.
	v, err := jws.NewVerifier(jwa.SignatureAlgorithm(alg))
	if err != nil {
		return nil, fmt.Errorf("jose: %w", err)
	}
	return func(input, signature []byte) bool {
		return v.Verify(input, signature, key) == nil
	}, nil
}
