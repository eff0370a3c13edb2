package agentauth_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// TestAnswersToEnrollAreLost: a caller is told whether the provider may have enrolled it.
func TestAnswersToEnrollAreLost(t *testing.T) {
	cut := func(resp *http.Response) *http.Response {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"agent_token":"`), iotest.ErrReader(io.ErrUnexpectedEOF)))
		return resp
	}
	for name, tt := range map[string]struct {
		way  func(*http.Request, http.RoundTripper) (*http.Response, error)
		lost bool
	}{
		"a cut before the request": {func(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, io.EOF }, true}, // nobody can tell
		"a cut after it": {func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			next.RoundTrip(r)
			return nil, io.EOF
		}, true},
		"a cut in the answer": {func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			return cut(resp), err
		}, true},
		"no connection": {func(r *http.Request, _ http.RoundTripper) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.URL.Host = "127.0.0.1:1" // where nobody listens
			return new(http.Transport).RoundTrip(r)
		}, false},
	} {
		w, secrets := newSecretWorld(t)
		secret := makeSecret(t, secrets, agentauth.SecretSettings{})
		keys := new(keystore.Memory)
		c := agentauth.EnrollConfig{Provider: issuer, Keys: keys, Now: w.clock.Now, Secret: secretOf(secret.Text), HTTP: &http.Client{Transport: via(func(r *http.Request) (*http.Response, error) {
			if r.Method == "POST" {
				return tt.way(r, local{"ap.example": w.mux})
			}
			return local{"ap.example": w.mux}.RoundTrip(r)
		})}}
		_, err := agentauth.Enroll(t.Context(), c)
		if err == nil || errors.Is(err, agentauth.ErrLost) != tt.lost || strings.Count(err.Error(), "agentauth: ") != 1 || strings.Contains(err.Error(), secret.Text) {
			t.Errorf("%s: %v", name, err)
		}
		w.clock.advance(time.Second)
		c.HTTP = &http.Client{Transport: local{"ap.example": w.mux}}
		e, err := agentauth.Enroll(t.Context(), c)
		if err != nil || len(handlesOf(t, keys)) != 1 || len(w.agents()) != 1 || w.agents()[thumbprint(t, e.Key)] != e.AgentID || usedOf(t, secrets, secret.ID) != 1 {
			t.Errorf("%s, again: %v, %v", name, e, err)
		}
	}
}
