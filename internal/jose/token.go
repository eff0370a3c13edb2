package jose

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/keywright/keywright/internal/strictjson"
)

// A Token is a well-formed token that nobody has verified yet. Apart from its
// header, and the one claim that chooses whose keys to fetch, nothing can be
// read from it before [Token.Verify].
type Token struct {
	header    header
	input     []byte // what is signed: the first two parts with the dot between
	payload   []byte
	signature []byte
}

type header struct {
	alg  algorithm
	name string // of the algorithm, as spelled
	kid  string
	typ  string
	key  *Key // of ParseSelfSigned
}

var (
	encoding = base64.RawURLEncoding.Strict()

	errTooLong  = fmt.Errorf("jose: token longer than %d bytes", MaxToken)
	errParts    = errors.New("jose: token is not three parts with dots between")
	errEncoding = errors.New("jose: token is not canonical base64url")
)

// Parse reads a token: three parts in base64url without padding and with no
// spare bit set, the first a header with nothing in it but alg, kid, typ and
// the two thumbprints x5t and x5t#S256, which are ignored. It wraps
// [ErrUnsupportedAlgorithm] where only the algorithm is at fault.
func Parse(compact string) (*Token, error) { return parse(compact, false) }

// ParseSelfSigned reads a token that must bring the public key of its own
// signer along, as the header's jwk. Whoever verifies it with that key learns
// that its sender has the private one, and nothing else.
func ParseSelfSigned(compact string) (*Token, error) { return parse(compact, true) }

func parse(compact string, selfSigned bool) (*Token, error) {
	if len(compact) > MaxToken {
		return nil, errTooLong
	}
	first := strings.IndexByte(compact, '.')
	last := strings.LastIndexByte(compact, '.')
	if first <= 0 || last <= first+1 || last == len(compact)-1 {
		return nil, errParts
	}
	// A third dot is in no alphabet, but the decoder skips line breaks.
	if strings.IndexByte(compact, '\n') >= 0 || strings.IndexByte(compact, '\r') >= 0 {
		return nil, errEncoding
	}
	// One buffer for the text and, behind it, the decoded parts.
	text := append(make([]byte, 0, len(compact)+len(compact)*3/4), compact...)
	head, rest, err := decode(text, text[:first])
	if err != nil {
		return nil, err
	}
	payload, rest, err := decode(rest, text[first+1:last])
	if err != nil {
		return nil, err
	}
	signature, _, err := decode(rest, text[last+1:])
	if err != nil {
		return nil, err
	}
	t := &Token{input: text[:last:last], payload: payload, signature: signature}
	if t.header, err = parseHeader(head, selfSigned); err != nil {
		return nil, fmt.Errorf("jose: header: %w", err)
	}
	return t, nil
}

// decode appends what part encodes to buf and returns that alone, and all.
func decode(buf, part []byte) (decoded, all []byte, err error) {
	all, err = encoding.AppendDecode(buf, part)
	if err != nil {
		return nil, nil, errEncoding
	}
	return all[len(buf):len(all):len(all)], all, nil
}

func parseHeader(data []byte, selfSigned bool) (h header, err error) {
	members, err := strictjson.Object(data)
	if err != nil {
		return header{}, err
	}
	for name := range members.Names() {
		switch name {
		case "alg", "kid", "typ", "x5t", "x5t#S256":
		case "jwk":
			if !selfSigned {
				return header{}, errors.New("member \"jwk\" is not accepted")
			}
		default:
			return header{}, fmt.Errorf("member %q is not accepted", clip(name))
		}
	}
	if selfSigned {
		jwk, err := members.Object("jwk")
		if err != nil {
			return header{}, err
		}
		key, err := readKey(jwk)
		if err != nil {
			return header{}, fmt.Errorf("jwk: %w", err)
		}
		h.key = &key
	}
	if h.name, err = members.String("alg"); err != nil {
		return header{}, err
	}
	if h.kid, err = optional(members.String("kid")); err != nil {
		return header{}, err
	}
	if h.typ, err = optional(members.String("typ")); err != nil {
		return header{}, err
	}
	if len(h.kid) > MaxKeyID {
		return header{}, fmt.Errorf("kid longer than %d bytes", MaxKeyID)
	}
	h.alg, err = algorithmNamed(h.name)
	return h, err
}

// optional turns absence into the zero value.
func optional[T any](v T, err error) (T, error) {
	if errors.Is(err, strictjson.ErrAbsent) {
		err = nil
	}
	return v, err
}

// clip keeps a hostile name from filling a log line.
func clip(name string) string {
	const most = 40
	if len(name) <= most {
		return name
	}
	return name[:most] + "..."
}

// Algorithm returns the header's alg as it is spelled.
func (t *Token) Algorithm() string { return t.header.name }

// KeyID returns the header's kid. An empty one counts as none.
func (t *Token) KeyID() string { return t.header.kid }

// Type returns the header's typ, or "".
func (t *Token) Type() string { return t.header.typ }

// Key returns the key that a token of [ParseSelfSigned] has brought along, and
// the zero Key for others.
func (t *Token) Key() Key {
	if t.header.key == nil {
		return Key{}
	}
	return *t.header.key
}

// Digest is the SHA-256 of what is signed. Unlike the token's text it is the
// same for every signature that one key can make over it, so it can tell
// whether a token was used before.
func (t *Token) Digest() [sha256.Size]byte { return sha256.Sum256(t.input) }

// UnverifiedIssuer returns the claim iss of a token that anybody may have
// written. It is for choosing whose keys to verify the token with, out of
// issuers already known, and for nothing else.
func (t *Token) UnverifiedIssuer() (string, error) {
	claims, err := t.UnverifiedClaims()
	if err != nil {
		return "", err
	}
	iss, err := claims.String("iss")
	if err != nil {
		return "", fmt.Errorf("jose: claims: %w", err)
	}
	return iss, nil
}

// UnverifiedClaims returns what a token claims that anybody may have written.
// They are for refusing it early, and for choosing whose keys to verify it with.
func (t *Token) UnverifiedClaims() (Claims, error) {
	members, err := strictjson.Object(t.payload)
	if err != nil {
		return Claims{}, fmt.Errorf("jose: claims: %w", err)
	}
	return Claims{Members: members, json: t.payload}, nil
}

// Verify checks the signature with those of keys that have the token's
// algorithm and, where both name one, its key id; at most eight may. Only then
// it reads the claims. It wraps [ErrNoKey] or [ErrSignature].
//
// It does not look at the time, the audience or any other claim.
func (t *Token) Verify(keys ...Key) (Claims, error) {
	if err := t.verifySignature(keys); err != nil {
		return Claims{}, fmt.Errorf("jose: %w", err)
	}
	return t.UnverifiedClaims()
}

func (t *Token) verifySignature(keys []Key) error {
	fit := 0
	for _, k := range keys {
		if k.fits(t.header) {
			fit++
		}
	}
	switch {
	case fit == 0:
		return ErrNoKey
	case fit > maxTries:
		// Trying only some would make good tokens fail by the order of keys.
		return fmt.Errorf("%w: %d keys fit, at most %d", ErrNoKey, fit, maxTries)
	}
	for _, k := range keys {
		if k.fits(t.header) && k.Verify(t.input, t.signature) {
			return nil
		}
	}
	return ErrSignature
}
