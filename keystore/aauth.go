package keystore

import (
	"crypto"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/strictjson"
)

// aauthMembers are those that a bare private JWK may have (RFC 7517, section 4,
// RFC 7518, section 6.2.2, RFC 8037, section 2).
var aauthMembers = []string{"kty", "crv", "x", "y", "d", "alg", "kid", "use", "key_ops"}

// decodeAAuth reads a private JWK as the AAuth SDK writes it: one object with
// the members in any order and any white space between them. Its kid is not
// compared: the SDK finds a key by the name of its file alone.
func decodeAAuth(text []byte) (crypto.Signer, error) {
	m, err := strictjson.Object(text)
	// What has a version or a sum is a file of this package that is damaged.
	if err != nil || m.Has("version") || m.Has("integrity") {
		return nil, fmt.Errorf("%w: damaged, or written neither by keystore nor as a JWK", ErrKeyCorrupt)
	}
	want, secret, err := aauthKey(m)
	if err != nil {
		return nil, err
	}
	private, err := want.privateKey(secret)
	if err != nil {
		return nil, err
	}
	public, _, err := halves(0, "", private)
	if err != nil || public != want {
		return nil, fmt.Errorf("%w: its public part is that of another key, or not canonical", ErrKeyCorrupt)
	}
	if err := checkAAuthPurpose(m, private); err != nil {
		return nil, err
	}
	return private, nil
}

// aauthKey returns the public and the private part.
func aauthKey(m strictjson.Members) (public wirePublic, secret []byte, err error) {
	if public.Type, err = m.String("kty"); err != nil {
		return wirePublic{}, nil, fmt.Errorf("%w: a JWK without kty", ErrKeyCorrupt)
	}
	public.Curve, _ = m.String("crv") // other types have none
	if !public.supported() {
		return wirePublic{}, nil, fmt.Errorf("%w: neither Ed25519 nor P-256", ErrUnsupportedKey)
	}
	for name := range m.Names() {
		if !slices.Contains(aauthMembers, name) {
			return wirePublic{}, nil, fmt.Errorf("%w: a JWK with other members than those of a private key", ErrKeyCorrupt)
		}
	}
	public.X, _ = m.String("x") // what is missing is not that of d
	if m.Has("y") {
		if public.Y, err = m.String("y"); err != nil || public.Y == "" {
			return wirePublic{}, nil, fmt.Errorf("%w: y is no coordinate", ErrKeyCorrupt)
		}
	}
	d, err := m.String("d")
	if err != nil {
		return wirePublic{}, nil, fmt.Errorf("%w: a JWK without d", ErrKeyCorrupt)
	}
	secret, err = encoding.DecodeString(d)
	if err != nil || strings.ContainsAny(d, "\r\n") { // which the decoder skips
		return wirePublic{}, nil, fmt.Errorf("%w: d is not base64url", ErrKeyCorrupt)
	}
	return public, secret, nil
}

// checkAAuthPurpose refuses a key that says it is not for signing as this
// package signs.
func checkAAuthPurpose(m strictjson.Members, private crypto.Signer) error {
	algorithms := []string{"ES256"}
	if _, ok := private.(ed25519.PrivateKey); ok {
		algorithms = []string{"EdDSA", "Ed25519"}
	}
	if alg, err := m.String("alg"); m.Has("alg") && (err != nil || !slices.Contains(algorithms, alg)) {
		return fmt.Errorf("%w: alg is not %s", ErrUnsupportedKey, algorithms[0])
	}
	if use, err := m.String("use"); m.Has("use") && (err != nil || use != "sig") {
		return fmt.Errorf("%w: use is not sig", ErrUnsupportedKey)
	}
	if ops, err := m.List("key_ops"); m.Has("key_ops") && (err != nil || !slices.Contains(ops, "sign")) {
		return fmt.Errorf("%w: key_ops do not have sign", ErrUnsupportedKey)
	}
	return nil
}
