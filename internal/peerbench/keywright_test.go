package peerbench

import (
	"net/http"
	"testing"
)

// openKeywright is the verifier of this project.
func openKeywright(tb testing.TB, _ *http.Request) func() error {
	tb.Skip("there is no verifier yet")
	return nil
}
