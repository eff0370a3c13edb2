package jose

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/strictjson"
)

// A Header is what a signer may choose of a token's header.
type Header struct {
	Algorithm string // empty: the key's, "EdDSA" for Ed25519; "Ed25519" is the other choice there
	KeyID     string // empty: none
	Type      string // empty: "JWT"

	// SelfSigned adds the signer's public key, as [ParseSelfSigned] wants it.
	SelfSigned bool
}

// wireHeader is a struct so that no caller can add a member.
type wireHeader struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ"`
	KeyID     string `json:"kid,omitempty"`

	Key json.RawMessage `json:"jwk,omitempty"`
}

// SignHS256 makes a token of claims, which must encode as a JSON object, with
// a secret of at least [MinSecret] bytes.
func SignHS256(secret []byte, claims any) (string, error) {
	if len(secret) < MinSecret {
		return "", fmt.Errorf("jose: secret of %d bytes, at least %d", len(secret), MinSecret)
	}
	input, err := signingInput(wireHeader{Algorithm: string(algHS256), Type: "JWT"}, claims)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(input)
	return compact(input, mac.Sum(nil))
}

// Sign makes a token of claims, which must encode as a JSON object. The
// signer's public key must be one that [PublicKey] accepts.
func Sign(signer crypto.Signer, h Header, claims any) (string, error) {
	if signer == nil {
		return "", errors.New("jose: no signer")
	}
	key, err := PublicKey(signer.Public())
	if err != nil {
		return "", err
	}
	wire := wireHeader{Algorithm: string(key.alg), Type: "JWT", KeyID: h.KeyID}
	if h.Algorithm != "" {
		if alg, err := algorithmNamed(h.Algorithm); err != nil || alg != key.alg {
			return "", fmt.Errorf("jose: %w: a %s key cannot sign as that", ErrUnsupportedAlgorithm, key.alg)
		}
		wire.Algorithm = h.Algorithm
	}
	if h.Type != "" {
		wire.Type = h.Type
	}
	if h.SelfSigned {
		if wire.Key, err = MarshalJWK(key, wire.Algorithm); err != nil {
			return "", err
		}
	}
	input, err := signingInput(wire, claims)
	if err != nil {
		return "", err
	}
	signature, err := SignBytes(signer, key, input)
	if err != nil {
		return "", err
	}
	return compact(input, signature)
}

// SignBytes signs input with signer, whose public key is key, and returns the
// signature in the form of RFC 7518, which [Key.Verify] wants.
func SignBytes(signer crypto.Signer, key Key, input []byte) ([]byte, error) {
	signature, err := sign(signer, key, input)
	if err != nil {
		return nil, fmt.Errorf("jose: sign: %w", err)
	}
	if len(signature) != key.size {
		return nil, fmt.Errorf("jose: the signer's result has %d bytes, want %d", len(signature), key.size)
	}
	return signature, nil
}

// sign returns the signature in the form of RFC 7518.
func sign(signer crypto.Signer, key Key, input []byte) ([]byte, error) {
	if key.alg == algEdDSA {
		return signer.Sign(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || key.alg != algES256 {
		return signature, err
	}
	return fixedWidth(signature)
}

// fixedWidth turns the ASN.1 form of an ES256 signature into r and s, 32 bytes each.
// There is one such form of a signature (DER), and others are refused.
func fixedWidth(der []byte) ([]byte, error) {
	numbers, rest := derValue(der, 0x30) // SEQUENCE
	r, numbers := derValue(numbers, 0x02)
	s, numbers := derValue(numbers, 0x02)
	if len(rest) > 0 || len(numbers) > 0 {
		return nil, errNotDER
	}
	out := make([]byte, 64)
	if !putScalar(out[:32], r) || !putScalar(out[32:], s) {
		return nil, errNotDER
	}
	return out, nil
}

var errNotDER = errors.New("the signer's result is not an ECDSA signature in DER")

// derValue splits off the value of what must come first, of this type and of less
// than 128 bytes. value is nil if it does not.
func derValue(der []byte, tag byte) (value, rest []byte) {
	if len(der) < 2 || der[0] != tag || der[1] >= 0x80 || len(der)-2 < int(der[1]) {
		return nil, nil
	}
	end := 2 + int(der[1])
	return der[2:end:end], der[end:]
}

// putScalar writes an INTEGER that is more than zero and fits, in its shortest form.
func putScalar(out, number []byte) bool {
	switch {
	case len(number) == 0, number[0] >= 0x80: // absent, or negative
		return false
	case number[0] == 0:
		if number = number[1:]; len(number) == 0 || number[0] < 0x80 {
			return false
		}
	}
	if len(number) > len(out) {
		return false
	}
	copy(out[len(out)-len(number):], number)
	return true
}

// signingInput refuses what [Parse] and [Token.Verify] would not read.
func signingInput(h wireHeader, claims any) ([]byte, error) {
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("jose: header: %w", err)
	}
	if _, err := parseHeader(head, h.Key != nil); err != nil {
		return nil, fmt.Errorf("jose: header: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return nil, fmt.Errorf("jose: claims: %w", err)
	}
	if _, err := strictjson.Object(payload); err != nil {
		return nil, fmt.Errorf("jose: claims: %w", err)
	}
	input := encoding.AppendEncode(nil, head)
	return encoding.AppendEncode(append(input, '.'), payload), nil
}

func compact(input, signature []byte) (string, error) {
	token := encoding.AppendEncode(append(input, '.'), signature)
	if len(token) > MaxToken {
		return "", errTooLong
	}
	return string(token), nil
}
