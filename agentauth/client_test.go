package agentauth_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A local sends requests to handlers of this process, by their hosts.
type local map[string]http.Handler

// RoundTrip implements [http.RoundTripper].
func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:1234"
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	w := httptest.NewRecorder()
	l[r.URL.Host].ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func TestAnAgentEnrollsAndCalls(t *testing.T) {
	w := newWorld(t, worldConfig{})
	servers := local{"ap.example": w.mux}
	client := &http.Client{Transport: servers}
	enrollment, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{
		Provider: issuer, AgentID: "aauth:planner@ap.example", Keys: new(keystore.Memory), HTTP: client, Now: w.clock.Now,
	})
	must(t, err)
	agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: enrollment.Key, Provider: issuer, HTTP: client, Now: w.clock.Now})
	must(t, err)
	transport, err := agentauth.NewTransport(agentauth.TransportConfig{Identity: agent, Origins: []string{issuer}, Next: servers, Now: w.clock.Now})
	must(t, err)
	resp, err := (&http.Client{Transport: transport}).Get(issuer + "/whoami")
	must(t, err)
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
