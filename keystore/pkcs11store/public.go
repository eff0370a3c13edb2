package pkcs11store

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/asn1"
	"fmt"
	"slices"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// Of PKCS #11 3.0, which the library's constants do not include.
const (
	ckkECEdwards           = 0x40
	ckmECEdwardsKeyPairGen = 0x1055
	ckmEdDSA               = 0x1057
)

// A kind is how PKCS #11 calls an algorithm.
type kind struct {
	keyType  uint
	generate uint
	sign     uint
	curves   [][]byte // spellings of CKA_EC_PARAMS, in the order to try them
	public   func(point []byte) crypto.PublicKey
}

// kinds are those of keys that the store can make and use.
var kinds = map[keystore.Algorithm]kind{
	keystore.Ed25519: {ckkECEdwards, ckmECEdwardsKeyPairGen, ckmEdDSA, [][]byte{
		{0x06, 0x03, 0x2b, 0x65, 0x70},                                     // id-Ed25519 (RFC 8410)
		append([]byte{0x13, 0x0c}, "edwards25519"...),                      // curveName (PKCS #11 3.0)
		{0x06, 0x09, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01}, // the object identifier of PKCS #11 3.0
	}, edwardsKey},
	keystore.ES256: {pkcs11.CKK_EC, pkcs11.CKM_EC_KEY_PAIR_GEN, pkcs11.CKM_ECDSA, [][]byte{
		{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, // secp256r1 (RFC 5480)
	}, curveKey},
}

// kindOf finds what a public key's attributes describe.
func kindOf(keyType uint, params []byte) (kind, error) {
	for _, k := range kinds {
		if k.keyType == keyType && slices.ContainsFunc(k.curves, func(c []byte) bool { return slices.Equal(c, params) }) {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("%w: key type %#x with parameters %x", keystore.ErrUnsupportedKey, keyType, params)
}

// edwardsKey reads the 32 bytes of RFC 8032.
func edwardsKey(point []byte) crypto.PublicKey {
	if len(point) != ed25519.PublicKeySize {
		return nil
	}
	return ed25519.PublicKey(point)
}

// curveKey reads an uncompressed point, which must be one of the curve.
func curveKey(point []byte) crypto.PublicKey {
	pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return nil
	}
	return pub
}

// parse reads CKA_EC_POINT: most tokens wrap it in a DER OCTET STRING, as the
// standard says of EC keys; some wrap it in a BIT STRING or not at all, as
// versions of the standard say of Edwards keys.
func (k kind) parse(value []byte) (crypto.PublicKey, error) {
	candidates := [][]byte{value}
	var octets []byte
	if rest, err := asn1.Unmarshal(value, &octets); err == nil && len(rest) == 0 {
		candidates = append(candidates, octets)
	}
	var bits asn1.BitString
	if rest, err := asn1.Unmarshal(value, &bits); err == nil && len(rest) == 0 && bits.BitLength%8 == 0 {
		candidates = append(candidates, bits.Bytes)
	}
	for _, c := range candidates {
		if pub := k.public(c); pub != nil {
			return pub, nil
		}
	}
	return nil, fmt.Errorf("%w: public key of %d bytes", keystore.ErrKeyCorrupt, len(value))
}
