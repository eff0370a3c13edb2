package jose_test

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

// FuzzECDSAResult holds what is read of a signer's result against encoding/asn1.
func FuzzECDSAResult(f *testing.F) {
	type pair struct{ R, S *big.Int }
	numbers := []*big.Int{big.NewInt(-1), new(big.Int), big.NewInt(1), big.NewInt(0x80), new(big.Int).Lsh(big.NewInt(1), 255), new(big.Int).Lsh(big.NewInt(1), 256)}
	for _, r := range numbers {
		for _, s := range numbers {
			f.Add(must[[]byte](f)(asn1.Marshal(pair{r, s})))
		}
	}
	for _, bad := range []string{"0", "0\x00", "0\x06\x02\x01\x01\x02\x01", "0\x07\x02\x02\x00\x01\x02\x01\x01", "0\x81\x06\x02\x01\x01\x02\x01\x01", "0\x07\x02\x01\x01\x02\x01\x01\x00", "1\x06\x02\x01\x01\x02\x01\x01", "0\x06\x02\x01\x01\x03\x01\x01"} {
		f.Add([]byte(bad))
	}
	key := publicKey(f, ecSigner(f))
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := jose.SignBytes(fakeSigner{public: key.Public(), result: der}, key, nil)
		var want []byte
		var p pair
		rest, bad := asn1.Unmarshal(der, &p)
		fits := func(n *big.Int) bool { return n.Sign() > 0 && n.BitLen() <= 256 }
		if bad == nil && len(rest) == 0 && fits(p.R) && fits(p.S) && bytes.Equal(must[[]byte](t)(asn1.Marshal(p)), der) {
			want = slices.Concat(p.R.FillBytes(make([]byte, 32)), p.S.FillBytes(make([]byte, 32)))
		}
		if !bytes.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%x: got %x, %v, want %x", der, got, err, want)
		}
	})
}
