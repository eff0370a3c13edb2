package keystore

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
)

// A wireHeader is what version 2 has in place of "d":
//
//	..."kdf":"argon2id","salt":...,"time":3,"memory":65536,"threads":4,"check":...,"nonce":...,"sealed":...
//	..."kdf":"none","check":...,"nonce":...,"sealed":...
//
// What is sealed, by XChaCha20-Poly1305 under the key of a [sealer] and the
// nonce, are the 32 bytes of d. The associated data is the file up to the comma
// before "sealed", so nothing in it can be changed, nor moved to another file.
// The check tells another passphrase from a changed file. All bytes are in
// base64url.
type wireHeader struct {
	wirePublic
	derivation
	Check string `json:"check"`
	Nonce string `json:"nonce"`
}

// wireSealed is all of a file of version 2 but the sum.
type wireSealed struct {
	wireHeader
	Sealed string `json:"sealed"`
}

const sealedSize = 32 + 16 // d, and what authenticates it

// encode writes the file of a key, as this Dir keeps keys.
func (d *Dir) encode(ctx context.Context, handle string, private crypto.Signer) ([]byte, error) {
	if d.unlock == nil {
		return encodePlain(handle, private)
	}
	s, err := d.sealer(ctx)
	if err != nil {
		return nil, err
	}
	return encodeSealed(handle, private, s)
}

// encodeSealed writes a file of version 2.
func encodeSealed(handle string, private crypto.Signer, s *sealer) ([]byte, error) {
	public, secret, err := halves(sealedVersion, handle, private)
	if err != nil {
		return nil, err
	}
	return s.seal(public, secret)
}

func (s *sealer) seal(public wirePublic, secret []byte) ([]byte, error) {
	nonce := make([]byte, s.aead.NonceSize())
	rand.Read(nonce) // never fails
	h := wireHeader{public, s.derivation, s.check, encoding.EncodeToString(nonce)}
	associated, err := openObject(h)
	if err != nil {
		return nil, err
	}
	box := s.aead.Seal(nil, nonce, secret, associated)
	return wireSealed{h, encoding.EncodeToString(box)}.text()
}

func (w wireSealed) text() ([]byte, error) {
	open, err := openObject(w)
	if err != nil {
		return nil, err
	}
	return addSum(open), nil
}

// readHeader reads the object of a file of version 2, and judges all that can
// be judged without a key.
func readHeader(handle string, object, text []byte) (wireSealed, error) {
	var w wireSealed
	if json.Unmarshal(object, &w) != nil {
		return wireSealed{}, fmt.Errorf("%w: not the header of an encrypted key", ErrKeyCorrupt)
	}
	if w.Handle != handle {
		return wireSealed{}, fmt.Errorf("%w: the key of another handle", ErrKeyCorrupt)
	}
	if again, err := w.text(); err != nil || !bytes.Equal(again, text) {
		return wireSealed{}, fmt.Errorf("%w: not canonical", ErrKeyCorrupt)
	}
	if !w.supported() {
		return wireSealed{}, fmt.Errorf("%w: neither Ed25519 nor P-256", ErrUnsupportedKey)
	}
	if err := w.checkBounds(); err != nil {
		return wireSealed{}, err
	}
	return w, nil
}

// decrypt asks for the key of a file and opens it.
func (d *Dir) decrypt(ctx context.Context, w wireSealed) (crypto.Signer, error) {
	if d.unlock == nil {
		return nil, fmt.Errorf("%w: it is encrypted, and DirConfig has neither Passphrase nor Key", ErrWrongPassphrase)
	}
	s, err := d.unlock(ctx, w.derivation, w.Check)
	if err != nil {
		return nil, err
	}
	return w.open(s)
}

func (w wireSealed) open(s *sealer) (crypto.Signer, error) {
	nonce, errNonce := encoding.DecodeString(w.Nonce)
	box, errBox := encoding.DecodeString(w.Sealed)
	if errNonce != nil || errBox != nil || len(nonce) != s.aead.NonceSize() || len(box) != sealedSize {
		return nil, fmt.Errorf("%w: nonce or sealed is not of its length in base64url", ErrKeyCorrupt)
	}
	associated, err := openObject(w.wireHeader)
	if err != nil {
		return nil, err
	}
	secret, err := s.aead.Open(nil, nonce, box, associated)
	if err != nil {
		return nil, fmt.Errorf("%w: changed since it was encrypted", ErrKeyCorrupt)
	}
	private, err := w.privateKey(secret)
	if err != nil {
		return nil, err
	}
	public, _, err := halves(sealedVersion, w.Handle, private)
	if err != nil || public != w.wirePublic {
		return nil, fmt.Errorf("%w: its public part is that of another key", ErrKeyCorrupt)
	}
	return private, nil
}

// sealer returns what a new key is encrypted with. If that is what the first of
// the directory's encrypted keys has, one derivation opens all of them. Its
// check shows that somebody with the passphrase chose the salt.
func (d *Dir) sealer(ctx context.Context) (*sealer, error) {
	first, found, err := d.firstSealed()
	if err != nil {
		return nil, err
	}
	if found {
		s, err := d.unlock(ctx, first.derivation, first.Check)
		if err != nil {
			return nil, fmt.Errorf("%s, of which new keys must have the passphrase: %w", d.full(fileName(first.Handle)), err)
		}
		if s.derivation.unsalted() == d.derivation {
			return s, nil
		}
	}
	return d.unlock(ctx, d.derivation, "")
}

// firstSealed finds the first encrypted key that Load would not refuse unasked.
func (d *Dir) firstSealed() (first wireSealed, found bool, err error) {
	handles, err := d.handles()
	if err != nil {
		return wireSealed{}, false, err
	}
	for _, handle := range handles {
		text, err := d.read(fileName(handle))
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrInsecurePermissions), errors.Is(err, ErrKeyCorrupt):
			continue
		case err != nil:
			return wireSealed{}, false, err
		}
		open, ok := cutSum(text)
		if !ok {
			continue
		}
		if w, err := readHeader(handle, append(open, '}'), text); err == nil && w.Version == sealedVersion {
			return w, true, nil
		}
	}
	return wireSealed{}, false, nil
}
