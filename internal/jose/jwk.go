package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/strictjson"
)

// privateMembers are those that make a JWK more than a public key (RFC 7518, 6).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// ParseJWK reads one public key: OKP on Ed25519, EC on P-256 or RSA, as
// [PublicKey] accepts them, in the one canonical spelling of each number. A
// private or symmetric key is refused, as is one whose use, key_ops or alg says
// that it is not for verifying signatures. Other members are ignored.
//
// It wraps [ErrUnsupportedAlgorithm] where the key is of a type, curve or
// algorithm that this package does not do, and may well be sound.
func ParseJWK(data []byte) (Key, error) {
	if len(data) > MaxSet {
		return Key{}, fmt.Errorf("jose: JWK longer than %d bytes", MaxSet)
	}
	members, err := strictjson.Object(data)
	if err != nil {
		return Key{}, fmt.Errorf("jose: JWK: %w", err)
	}
	key, err := readKey(members)
	if err != nil {
		return Key{}, fmt.Errorf("jose: JWK: %w", err)
	}
	return key, nil
}

func readKey(m strictjson.Members) (Key, error) {
	kty, err := m.String("kty")
	if err != nil {
		return Key{}, err
	}
	var read func(strictjson.Members) (Key, error)
	switch kty {
	case "OKP":
		read = readOKP
	case "EC":
		read = readEC
	case "RSA":
		read = readRSA
	default:
		return Key{}, fmt.Errorf("%w: kty %q", ErrUnsupportedAlgorithm, clip(kty))
	}
	if i := slices.IndexFunc(privateMembers, m.Has); i >= 0 {
		return Key{}, fmt.Errorf("private member %q", privateMembers[i])
	}
	if err := checkPurpose(m); err != nil {
		return Key{}, err
	}
	key, err := read(m)
	if err != nil {
		return Key{}, err
	}
	if key.kid, err = optional(m.String("kid")); err != nil {
		return Key{}, err
	}
	if len(key.kid) > MaxKeyID {
		return Key{}, fmt.Errorf("kid longer than %d bytes", MaxKeyID)
	}
	if !m.Has("alg") {
		return key, nil
	}
	return declared(key, m)
}

// declared checks that the JWK's own alg is one of the key's.
func declared(key Key, m strictjson.Members) (Key, error) {
	name, err := m.String("alg")
	if err != nil {
		return Key{}, err
	}
	return key.declare(name)
}

func (key Key) declare(name string) (Key, error) {
	alg, err := algorithmNamed(name)
	if err != nil {
		return Key{}, fmt.Errorf("%w: alg %q", err, clip(name))
	}
	if alg != key.alg {
		return Key{}, fmt.Errorf("alg %s on a key for %s", alg, key.alg)
	}
	key.declared = name
	return key, nil
}

func checkPurpose(m strictjson.Members) error {
	if m.Has("use") {
		if use, err := m.String("use"); err != nil || use != "sig" {
			return errors.New("use is not sig")
		}
	}
	if m.Has("key_ops") {
		if ops, err := m.List("key_ops"); err != nil || !slices.Contains(ops, "verify") {
			return errors.New("key_ops do not have verify")
		}
	}
	return nil
}

func readOKP(m strictjson.Members) (Key, error) {
	if err := checkCurve(m, "Ed25519"); err != nil {
		return Key{}, err
	}
	x, err := octets(m, "x")
	if err != nil {
		return Key{}, err
	}
	return ed25519Key(x)
}

func readEC(m strictjson.Members) (Key, error) {
	if err := checkCurve(m, "P-256"); err != nil {
		return Key{}, err
	}
	x, err := octets(m, "x")
	if err != nil {
		return Key{}, err
	}
	y, err := octets(m, "y")
	if err != nil {
		return Key{}, err
	}
	return ecKey(x, y)
}

func ecKey(x, y []byte) (Key, error) {
	if len(x) != 32 || len(y) != 32 {
		return Key{}, fmt.Errorf("coordinates of %d and %d bytes, want 32", len(x), len(y))
	}
	return p256Key(slices.Concat([]byte{4}, x, y))
}

func readRSA(m strictjson.Members) (Key, error) {
	n, err := octets(m, "n")
	if err != nil {
		return Key{}, err
	}
	e, err := octets(m, "e")
	if err != nil {
		return Key{}, err
	}
	switch {
	case len(e) > 4:
		return Key{}, fmt.Errorf("RSA exponent of %d bytes, at most 4", len(e))
	case len(n) == 0, len(e) == 0, n[0] == 0, e[0] == 0:
		return Key{}, errors.New("RSA number empty or with a leading zero byte")
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	return rsaKey(&rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)})
}

// A PublicJWK is a public key as fields other than JSON spell it, with the names
// and values of a JWK's members.
type PublicJWK struct {
	Type, Curve, X, Y string
	Algorithm         string // "": none is declared
}

// Read is what [ParseJWK] is for JSON, for keys of types OKP and EC. A curve of
// those types that is not done is no [ErrUnsupportedAlgorithm] here: the profile
// that spells keys so has no others.
func (p PublicJWK) Read() (Key, error) {
	key, err := p.read()
	if err != nil {
		return Key{}, fmt.Errorf("jose: key: %w", err)
	}
	return key, nil
}

func (p PublicJWK) read() (Key, error) {
	key, err := p.material()
	if err != nil || p.Algorithm == "" {
		return key, err
	}
	return key.declare(p.Algorithm)
}

func (p PublicJWK) material() (Key, error) {
	switch {
	case p.Type != "OKP" && p.Type != "EC":
		return Key{}, fmt.Errorf("%w: kty %q", ErrUnsupportedAlgorithm, clip(p.Type))
	case p.Type == "OKP" && p.Curve != "Ed25519", p.Type == "EC" && p.Curve != "P-256":
		return Key{}, fmt.Errorf("crv %q of kty %s", clip(p.Curve), p.Type)
	case p.Type == "OKP" && p.Y != "":
		return Key{}, errors.New("member \"y\" of an OKP key")
	}
	x, err := fromText("x", p.X)
	if err != nil {
		return Key{}, err
	}
	if p.Type == "OKP" {
		return ed25519Key(x)
	}
	y, err := fromText("y", p.Y)
	if err != nil {
		return Key{}, err
	}
	return ecKey(x, y)
}

func checkCurve(m strictjson.Members, want string) error {
	crv, err := m.String("crv")
	if err == nil && crv != want {
		return fmt.Errorf("%w: crv %q", ErrUnsupportedAlgorithm, clip(crv))
	}
	return err
}

// octets returns a member that is canonical base64url.
func octets(m strictjson.Members, name string) ([]byte, error) {
	text, err := m.String(name)
	if err != nil {
		return nil, err
	}
	return fromText(name, text)
}

func fromText(name, text string) ([]byte, error) {
	b, err := encoding.DecodeString(text)
	// The decoder skips line breaks, which a JSON string may hold escaped.
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("member %q is not canonical base64url", name)
	}
	return b, nil
}

// A wireKey has its members in the order of RFC 7638, which is that of the
// alphabet, with those that do not count for a thumbprint behind them.
type wireKey struct {
	Curve    string `json:"crv,omitempty"`
	Exponent string `json:"e,omitempty"`
	Type     string `json:"kty"`
	Modulus  string `json:"n,omitempty"`
	X        string `json:"x,omitempty"`
	Y        string `json:"y,omitempty"`

	Algorithm string `json:"alg,omitempty"`
	KeyID     string `json:"kid,omitempty"`
}

func wireKeyOf(k Key) (wireKey, error) {
	switch pub := k.public.(type) {
	case ed25519.PublicKey:
		return wireKey{Type: "OKP", Curve: "Ed25519", X: encoding.EncodeToString(pub)}, nil
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		if err != nil {
			return wireKey{}, err
		}
		x, y := encoding.EncodeToString(point[1:33]), encoding.EncodeToString(point[33:])
		return wireKey{Type: "EC", Curve: "P-256", X: x, Y: y}, nil
	case *rsa.PublicKey:
		e := big.NewInt(int64(pub.E)).Bytes()
		return wireKey{Type: "RSA", Modulus: encoding.EncodeToString(pub.N.Bytes()), Exponent: encoding.EncodeToString(e)}, nil
	}
	return wireKey{}, errors.New("not a public key")
}

// MarshalJWK writes a public key with its key id, if it has one. alg is a name
// of the key's algorithm, or empty to leave the member out.
func MarshalJWK(k Key, alg string) ([]byte, error) {
	w, err := wireKeyOf(k)
	if err != nil {
		return nil, fmt.Errorf("jose: JWK: %w", err)
	}
	if alg != "" {
		if a, err := algorithmNamed(alg); err != nil || a != k.alg {
			return nil, fmt.Errorf("jose: JWK: %w: not of a key for %s", ErrUnsupportedAlgorithm, k.alg)
		}
	}
	w.Algorithm, w.KeyID = alg, k.kid
	return json.Marshal(w)
}
