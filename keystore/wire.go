package keystore

import (
	"bytes"
	"context"
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

// A file of a [Dir] is one JSON object without spaces, which is a JWK (RFC 7517,
// RFC 7518 section 6.2.2, RFC 8037 section 2) between two members more:
//
//	{"version":NUMBER,"kid":HANDLE,"kty":...,"crv":...,"x":...,"y":...,...,"integrity":SUM}
//
// and a line break. The sum is the SHA-256, in base64url, of all that stands
// before its comma. It finds damage and keeps no secret. Its place is the same
// in every version, so that damage can be told from a version to come.
//
// Version 1 is plaintext and has the private key as "d" before the sum. For
// version 2 see [wireHeader].
const (
	plainVersion  = 1
	sealedVersion = 2

	maxFile   = 4 << 10
	sumBefore = `,"integrity":"`
	sumAfter  = "\"}\n"
)

var encoding = base64.RawURLEncoding.Strict()

// wirePublic is how every version begins.
type wirePublic struct {
	Version int    `json:"version"`
	Handle  string `json:"kid"`
	Type    string `json:"kty"`
	Curve   string `json:"crv"`
	X       string `json:"x"`
	Y       string `json:"y,omitempty"`
}

// wireKey is all of a file of version 1 but the sum.
type wireKey struct {
	wirePublic
	D string `json:"d"` // the secret
}

// halves takes a key apart that [generate] or decode has made.
func halves(version int, handle string, private crypto.Signer) (w wirePublic, d []byte, err error) {
	w = wirePublic{Version: version, Handle: handle}
	switch k := private.(type) {
	case ed25519.PrivateKey:
		w.Type, w.Curve = "OKP", "Ed25519"
		w.X = encoding.EncodeToString(k[ed25519.SeedSize:])
		return w, k.Seed(), nil
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return wirePublic{}, nil, errors.New("not a point on P-256")
		}
		if d, err = k.Bytes(); err != nil {
			return wirePublic{}, nil, errors.New("not a private key on P-256")
		}
		w.Type, w.Curve = "EC", "P-256"
		w.X, w.Y = encoding.EncodeToString(point[1:33]), encoding.EncodeToString(point[33:])
		return w, d, nil
	}
	return wirePublic{}, nil, fmt.Errorf("%w: %T", ErrUnsupportedKey, private)
}

func (w wirePublic) supported() bool {
	kind := w.Type + " " + w.Curve
	return kind == "OKP Ed25519" || kind == "EC P-256"
}

// privateKey makes the key of d alone.
func (w wirePublic) privateKey(d []byte) (crypto.Signer, error) {
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

// encodePlain writes a file of version 1.
func encodePlain(handle string, private crypto.Signer) ([]byte, error) {
	public, d, err := halves(plainVersion, handle, private)
	if err != nil {
		return nil, err
	}
	open, err := openObject(wireKey{public, encoding.EncodeToString(d)})
	if err != nil {
		return nil, err
	}
	return addSum(open), nil
}

// openObject writes an object without its closing brace.
func openObject(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, errors.New("no JSON") // without the cause, which might quote
	}
	return text[:len(text)-1], nil
}

// addSum completes an object that lacks its closing brace.
func addSum(open []byte) []byte {
	sum := sha256.Sum256(open)
	return fmt.Appendf(nil, "%s%s%s%s", open, sumBefore, encoding.EncodeToString(sum[:]), sumAfter)
}

// cutSum returns what addSum was given. Every bit of a file is either under the
// sum or compared here.
func cutSum(text []byte) (open []byte, ok bool) {
	at := len(text) - len(sumBefore) - encoding.EncodedLen(sha256.Size) - len(sumAfter)
	if at <= 0 {
		return nil, false
	}
	open = text[:at:at]
	return open, bytes.Equal(addSum(open), text)
}

// decode reads the file of the key with this handle. The errors say what is
// wrong and quote nothing.
func (d *Dir) decode(ctx context.Context, handle string, text []byte) (crypto.Signer, error) {
	open, ok := cutSum(text)
	if !ok && d.readAAuth {
		return decodeAAuth(text)
	}
	if !ok {
		return nil, fmt.Errorf("%w: damaged or not written by keystore", ErrKeyCorrupt)
	}
	object := append(open, '}')
	version, err := versionOf(object)
	switch {
	case err != nil:
		return nil, err
	case version == sealedVersion:
		h, err := readHeader(handle, object, text)
		if err != nil {
			return nil, err
		}
		return d.decrypt(ctx, h)
	case d.unlock != nil:
		return nil, fmt.Errorf("%w, and those of this Dir must be", ErrPlaintext)
	}
	return decodePlain(handle, object, text)
}

// versionOf returns a version that this program reads.
func versionOf(object []byte) (int, error) {
	var form struct {
		Version int `json:"version"`
	}
	if json.Unmarshal(object, &form) != nil || form.Version < 1 {
		return 0, fmt.Errorf("%w: no version", ErrKeyCorrupt)
	}
	if form.Version > sealedVersion {
		return 0, fmt.Errorf("%w: file of version %d, this program reads %d", ErrUnsupportedKey, form.Version, sealedVersion)
	}
	return form.Version, nil
}

// decodePlain reads the object of a file of version 1.
func decodePlain(handle string, object, text []byte) (crypto.Signer, error) {
	var w wireKey
	if json.Unmarshal(object, &w) != nil {
		return nil, fmt.Errorf("%w: not a JWK", ErrKeyCorrupt)
	}
	if w.Handle != handle {
		return nil, fmt.Errorf("%w: the key of another handle", ErrKeyCorrupt)
	}
	secret, err := encoding.DecodeString(w.D)
	if err != nil {
		return nil, fmt.Errorf("%w: d is not base64url", ErrKeyCorrupt)
	}
	private, err := w.privateKey(secret)
	if err != nil {
		return nil, err
	}
	// Whatever else could be said in two ways is, if x and y belong to d,
	// said as encodePlain says it.
	again, err := encodePlain(handle, private)
	if err != nil || !bytes.Equal(again, text) {
		return nil, fmt.Errorf("%w: its public part is that of another key, or not canonical", ErrKeyCorrupt)
	}
	return private, nil
}
