package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// A file of a [Dir] is one JSON object without spaces, which is a private JWK
// (RFC 7517, RFC 7518 section 6.2.2, RFC 8037 section 2) and two members more:
//
//	{"version":1,"kid":HANDLE,"kty":...,"crv":...,"x":...,"y":...,"d":...,"integrity":SUM}
//
// and a line break. The sum is the SHA-256, in base64url, of all that stands
// before its comma. It finds damage and keeps no secret. Its place is the same
// in every version, so that damage can be told from a version to come: one with
// an encrypted d, say, is another number and other members.
const (
	version   = 1
	maxFile   = 4 << 10
	sumBefore = `,"integrity":"`
	sumAfter  = "\"}\n"
)

var encoding = base64.RawURLEncoding.Strict()

// wireKey is all of a file but the sum.
type wireKey struct {
	Version int    `json:"version"`
	Handle  string `json:"kid"`
	Type    string `json:"kty"`
	Curve   string `json:"crv"`
	X       string `json:"x"`
	Y       string `json:"y,omitempty"`
	D       string `json:"d"` // the secret
}

// encode writes the file of a key that [generate] or decode has made.
func encode(handle string, private crypto.Signer) ([]byte, error) {
	w := wireKey{Version: version, Handle: handle}
	switch k := private.(type) {
	case ed25519.PrivateKey:
		w.Type, w.Curve = "OKP", "Ed25519"
		w.X = encoding.EncodeToString(k[ed25519.SeedSize:])
		w.D = encoding.EncodeToString(k.Seed())
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return nil, errors.New("keystore: encode: not a point on P-256")
		}
		d, err := k.Bytes()
		if err != nil {
			return nil, errors.New("keystore: encode: not a private key on P-256")
		}
		w.Type, w.Curve = "EC", "P-256"
		w.X, w.Y = encoding.EncodeToString(point[1:33]), encoding.EncodeToString(point[33:])
		w.D = encoding.EncodeToString(d)
	default:
		return nil, fmt.Errorf("keystore: encode %T: %w", private, ErrUnsupportedKey)
	}
	body, err := json.Marshal(w)
	if err != nil {
		return nil, errors.New("keystore: encode: no JSON") // without the cause, which might quote
	}
	return seal(body[:len(body)-1]), nil
}

// seal adds the sum to an object that lacks its closing brace.
func seal(open []byte) []byte {
	sum := sha256.Sum256(open)
	return fmt.Appendf(nil, "%s%s%s%s", open, sumBefore, encoding.EncodeToString(sum[:]), sumAfter)
}

// unseal returns what seal was given. Every bit of a file is either under the
// sum or compared here.
func unseal(text []byte) (open []byte, ok bool) {
	at := len(text) - len(sumBefore) - encoding.EncodedLen(sha256.Size) - len(sumAfter)
	if at <= 0 {
		return nil, false
	}
	open = text[:at:at]
	return open, bytes.Equal(seal(open), text)
}

// decode reads the file of the key with this handle. The errors say what is
// wrong and quote nothing.
func decode(handle string, text []byte) (crypto.Signer, error) {
	open, ok := unseal(text)
	if !ok {
		return nil, fmt.Errorf("%w: damaged or not written by keystore", ErrKeyCorrupt)
	}
	object := append(open, '}')
	var form struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(object, &form) != nil || form.Version < 1 {
		return nil, fmt.Errorf("%w: no version", ErrKeyCorrupt)
	}
	if form.Version != version {
		return nil, fmt.Errorf("%w: file of version %d, this program reads %d", ErrUnsupportedKey, form.Version, version)
	}
	var w wireKey
	if json.Unmarshal(object, &w) != nil {
		return nil, fmt.Errorf("%w: not a JWK", ErrKeyCorrupt)
	}
	if w.Handle != handle {
		return nil, fmt.Errorf("%w: the key of another handle", ErrKeyCorrupt)
	}
	private, err := w.private()
	if err != nil {
		return nil, err
	}
	// Whatever else could be said in two ways is, if x and y belong to d,
	// said as encode says it.
	again, err := encode(handle, private)
	if err != nil || !bytes.Equal(again, text) {
		return nil, fmt.Errorf("%w: its public part is that of another key, or not canonical", ErrKeyCorrupt)
	}
	return private, nil
}

// private makes the key of d alone.
func (w wireKey) private() (crypto.Signer, error) {
	d, err := encoding.DecodeString(w.D)
	if err != nil {
		return nil, fmt.Errorf("%w: d is not base64url", ErrKeyCorrupt)
	}
	switch w.Type + " " + w.Curve {
	case "OKP Ed25519":
		if len(d) != ed25519.SeedSize {
			return nil, fmt.Errorf("%w: d of %d bytes", ErrKeyCorrupt, len(d))
		}
		return ed25519.NewKeyFromSeed(d), nil
	case "EC P-256":
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
		if err != nil {
			return nil, fmt.Errorf("%w: d is no private key on P-256", ErrKeyCorrupt)
		}
		return private, nil
	}
	return nil, fmt.Errorf("%w: neither Ed25519 nor P-256", ErrUnsupportedKey)
}
