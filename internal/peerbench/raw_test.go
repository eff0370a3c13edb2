package peerbench

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"testing"
)

// openRaw is the least that a verification can cost: that of the signature,
// where what was signed is there already.
func openRaw(tb testing.TB, r *http.Request) func() error {
	pub, signed, sig := public(tb), base(tb, r), signature(tb, r)
	return func() error {
		if !ed25519.Verify(pub, signed, sig) {
			return errors.New("wrong signature")
		}
		return nil
	}
}
