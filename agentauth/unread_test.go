package agentauth_test

import (
	"io"
	"net/http"
	"testing"
)

// A bodyThatMustNotBeRead fails its test when it is.
type bodyThatMustNotBeRead struct{ t *testing.T }

func (b bodyThatMustNotBeRead) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}

func (bodyThatMustNotBeRead) Close() error { return nil }

// TestNobodyWaitsForUnsignedBodies is AGT-02 at the provider's endpoints.
func TestNobodyWaitsForUnsignedBodies(t *testing.T) {
	w := newWorld(t, worldConfig{})
	for _, path := range []string{"/enrol", "/refresh", "/subagent"} {
		r := w.request(http.MethodPost, path, "{}")
		r.Body, r.ContentLength = bodyThatMustNotBeRead{t}, 256<<20
		w.wantError(w.do(r), 401, "invalid_signature")
	}
}
