package agentauth_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A losing client gets no answer to what it has sent to a path.
type losing struct {
	next http.RoundTripper
	path string
}

func (l losing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(r)
	if r.URL.Path == l.path && err == nil {
		resp.Body.Close()
		return nil, errors.New("the line is dead")
	}
	return resp, err
}

func handlesOf(t *testing.T, keys keystore.Lister) []string {
	t.Helper()
	var all []string
	for handle, err := range keys.List(t.Context()) {
		must(t, err)
		all = append(all, handle)
	}
	slices.Sort(all)
	return all
}

// TestAnAgentRotatesItsKey goes on from every point at which it may have stopped.
func TestAnAgentRotatesItsKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	servers := local{"ap.example": w.mux}
	client := &http.Client{Transport: servers}
	keys := new(keystore.Memory)
	first, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: issuer, AgentID: planner, Keys: keys, HTTP: client, Now: w.clock.Now})
	must(t, err)
	rotate := func(handle string, via http.RoundTripper) (agentauth.Enrollment, error) {
		t.Helper()
		w.clock.advance(time.Second)
		return agentauth.RotateKey(t.Context(), agentauth.RotateConfig{
			Provider: issuer, Keys: keys, Handle: handle, Next: keystore.KeyOptions{Algorithm: keystore.ES256}, HTTP: &http.Client{Transport: via}, Now: w.clock.Now,
		})
	}
	if _, err := rotate(first.LocalKeyHandle, losing{servers, "/rekey"}); err == nil {
		t.Error("an answer came through a dead line")
	}
	second, err := rotate(first.LocalKeyHandle, servers)
	must(t, err)
	if n := len(handlesOf(t, keys)); n != 2 {
		t.Errorf("%d keys, want 2", n)
	}
	jkt := thumbprint(t, second.Key)
	want := agentauth.Enrollment{
		Provider: issuer, AgentID: planner, AgentToken: second.AgentToken, Issued: w.clock.Now(), Expires: w.clock.Now().Add(time.Hour), Key: second.Key, LocalKeyHandle: second.Key.Handle(),
		AgentTokenKid: jkt, JWKSURL: issuer + "/agents/" + planner + "/jwks.json",
	}
	if diff := cmp.Diff(want, second, cmp.Comparer(func(a, b keystore.Key) bool { return a == b })); diff != "" {
		t.Errorf("enrolment (-want +got):\n%s", diff)
	}
	w.wantAgent(w.whoami(second.Key, second.AgentToken), planner)
	w.wantPublished(planner, first.Key, second.Key)

	agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: second.Key, Provider: issuer, HTTP: client, Now: w.clock.Now})
	must(t, err)
	w.clock.advance(time.Second)
	cred, err := agent.Credential(t.Context())
	must(t, err)
	w.wantAgent(w.whoami(second.Key, cred.As.Token), planner)
	w.wantPublished(planner, second.Key)
	w.wantStranger(first.Key)

	// Whoever has not saved the handle finds the key again.
	again, err := rotate(first.LocalKeyHandle, servers)
	if err != nil || again.LocalKeyHandle != second.LocalKeyHandle {
		t.Errorf("again: %+v, %v", again, err)
	}
	must(t, keys.Delete(t.Context(), first.LocalKeyHandle))
	if _, err := rotate(first.LocalKeyHandle, servers); !errors.Is(err, keystore.ErrKeyNotFound) {
		t.Errorf("without the old key: %v", err)
	}
	third, err := rotate(second.LocalKeyHandle, servers)
	if err != nil || third.LocalKeyHandle == second.LocalKeyHandle {
		t.Errorf("the next rotation: %+v, %v", third, err)
	}
}

func TestRotationFails(t *testing.T) {
	w := newWorld(t, worldConfig{})
	servers := local{"ap.example": w.mux, "old.example": http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Write([]byte(`{"issuer":"https://old.example","enrol_endpoint":"https://old.example/enrol"}`))
	})}
	keys := new(keystore.Memory)
	key, err := keys.Generate(t.Context(), keystore.KeyOptions{Handle: "agent"})
	must(t, err)
	good := agentauth.RotateConfig{Provider: issuer, Keys: keys, Handle: "agent", HTTP: &http.Client{Transport: servers}, Now: w.clock.Now}
	for name, change := range map[string]func(c *agentauth.RotateConfig){
		"no provider":          func(c *agentauth.RotateConfig) { c.Provider = "" },
		"no key store":         func(c *agentauth.RotateConfig) { c.Keys = nil },
		"no handle":            func(c *agentauth.RotateConfig) { c.Handle = "" },
		"the same handle":      func(c *agentauth.RotateConfig) { c.Next.Handle = "agent" },
		"an endpoint by http":  func(c *agentauth.RotateConfig) { c.Endpoint = "http://ap.example/rekey" },
		"a provider by http":   func(c *agentauth.RotateConfig) { c.Provider = "http://ap.example" },
		"a key that is absent": func(c *agentauth.RotateConfig) { c.Handle = "absent" },
	} {
		c := good
		change(&c)
		if _, err := agentauth.RotateKey(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c := good
	c.Provider = "https://old.example"
	if _, err := agentauth.RotateKey(t.Context(), c); !errors.Is(err, agentauth.ErrNoRotation) {
		t.Errorf("a provider without the endpoint: %v", err)
	}
	if handles := handlesOf(t, keys); len(handles) != 1 {
		t.Errorf("keys were made in vain: %v", handles)
	}
	var refused *agentauth.StatusError
	if _, err := agentauth.RotateKey(t.Context(), good); !errors.As(err, &refused) || refused.Status != 403 || refused.Code != "denied" {
		t.Errorf("an agent that nobody knows: %v", err)
	}
	w.enroll(key, `{"agent_id":"`+planner+`"}`)
	c = good
	c.Endpoint, c.Provider, c.Next.Handle = issuer+"/rekey", "", "next"
	w.clock.advance(time.Second)
	made, err := agentauth.RotateKey(t.Context(), c)
	if err != nil || made.LocalKeyHandle != "next" {
		t.Errorf("by an endpoint that was given: %+v, %v", made, err)
	}
}
