package peerbench

import (
	"net/http"
	"testing"

	"github.com/yaronf/httpsign"
)

// openHTTPSign is github.com/yaronf/httpsign: VerifyRequest with the components
// required and the window of the others.
func openHTTPSign(tb testing.TB, r *http.Request) func() error {
	config := httpsign.NewVerifyConfig().SetNotOlderThan(window).SetNotNewerThan(window)
	v, err := httpsign.NewEd25519Verifier(public(tb), config, httpsign.Headers(usual().components...))
	if err != nil {
		tb.Fatal(err)
	}
	return func() error { return httpsign.VerifyRequest("sig", *v, r) }
}
