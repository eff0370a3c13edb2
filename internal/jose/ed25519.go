package jose

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
)

// smallOrder are the y coordinates of the eight points whose order divides the
// cofactor. Under such a key one signature is valid for every message, or for
// every eighth.
var smallOrder = [][]byte{
	append([]byte{0x00}, make([]byte, 31)...),
	append([]byte{0x01}, make([]byte, 31)...),
	append(append([]byte{0xec}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f), // -1
	[]byte("\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05"),
	[]byte("\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a"),
}

// prime is 2^255 - 19, in little-endian order as all numbers here.
var prime = append(append([]byte{0xed}, bytes.Repeat([]byte{0xff}, 30)...), 0x7f)

// checkEd25519 refuses a key of small order and an encoding whose y is not
// below the prime, some of which are other names of those points. Half of all
// other y belong to no point; a key that is none verifies nothing.
func checkEd25519(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize {
		return fmt.Errorf("Ed25519 key of %d bytes, want %d", len(pub), ed25519.PublicKeySize)
	}
	y := bytes.Clone(pub)
	y[31] &= 0x7f // the top bit is the sign of x
	for _, bad := range smallOrder {
		if bytes.Equal(y, bad) {
			return errors.New("Ed25519 key of small order")
		}
	}
	// Numbers that large differ from the prime in nothing but their lowest byte.
	if bytes.Equal(y[1:], prime[1:]) && y[0] >= prime[0] {
		return errors.New("Ed25519 key is not canonical")
	}
	return nil
}
