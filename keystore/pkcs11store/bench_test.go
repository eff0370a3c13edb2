package pkcs11store_test

import (
	"crypto"
	"crypto/sha256"
	"testing"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// BenchmarkSign compares a Key with the token alone: the difference is that each
// signature is verified.
func BenchmarkSign(b *testing.B) {
	for a, how := range map[keystore.Algorithm]struct {
		mechanism uint
		hash      crypto.Hash
	}{keystore.Ed25519: {0x1057, 0}, keystore.ES256: {pkcs11.CKM_ECDSA, crypto.SHA256}} {
		k := newToken(b)
		key := generate(b, k.store(), a, a.String())
		digest := sha256.Sum256([]byte("message"))
		b.Run(a.String(), func(b *testing.B) {
			for b.Loop() {
				if _, err := keystore.Sign(b.Context(), key, digest[:], how.hash); err != nil {
					b.Fatal(err)
				}
			}
		})
		c, h := k.outsider()
		private := k.object(c, h, a.String(), secret)
		b.Run(a.String()+", the token alone", func(b *testing.B) {
			for b.Loop() {
				if err := c.SignInit(h, []*pkcs11.Mechanism{pkcs11.NewMechanism(how.mechanism, nil)}, private); err != nil {
					b.Fatal(err)
				}
				if _, err := c.Sign(h, digest[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
