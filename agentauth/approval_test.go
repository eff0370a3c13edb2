package agentauth_test

import (
	"crypto"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
)

// newApprovalWorld is a world where a person decides.
func newApprovalWorld(t *testing.T, changes ...func(*agentauth.ProviderConfig)) *world {
	t.Helper()
	return newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = agentauth.AdmitAfterApproval
		c.Limits = agentauth.ProviderLimits{PerMinute: -1, AllPerMinute: -1}
		for _, change := range changes {
			change(c)
		}
	}})
}

// applyFor enrols key and returns the path where it is to ask again.
func (w *world) applyFor(key crypto.Signer, body string) string {
	w.t.Helper()
	return w.wantPending(w.tryEnroll(key, body))
}

// wantPending wants the answer of section 9.5.
func (w *world) wantPending(a answer) string {
	w.t.Helper()
	path, ok := strings.CutPrefix(a.header.Get("Location"), issuer)
	if a.status != 202 || a.body != "{\"status\":\"pending\"}\n" || !ok || !strings.HasPrefix(path, "/enrol/pending/") || a.header.Get("Retry-After") != "5" ||
		a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
		w.t.Fatalf("got %d %s %v", a.status, a.body, a.header)
	}
	return path
}

// onlyPending is the one application that waits.
func (w *world) onlyPending() agentauth.Application {
	w.t.Helper()
	list, err := w.provider.Pending(w.t.Context())
	must(w.t, err)
	if len(list) != 1 {
		w.t.Fatalf("%d applications wait: %+v", len(list), list)
	}
	return list[0]
}

var person = keywright.Principal{Method: keywright.MethodHost, Subject: "alice", Credential: "admin-key"}

// TestApproval is section 9.5 from end to end, through a restart of the server.
func TestApproval(t *testing.T) {
	w := newApprovalWorld(t)
	key := newP256(t)
	path := w.applyFor(key, `{"agent_id":"aauth:a@ap.example","ps":"https://ps.example"}`)
	if len(w.agents()) != 0 {
		t.Fatal("an agent before anybody has decided")
	}
	if got := w.wantPending(w.poll(key, path)); got != path {
		t.Errorf("the Location has become %s", got)
	}
	a := w.onlyPending()
	created := w.clock.Now().Add(-time.Second).UTC()
	if diff := cmp.Diff(agentauth.Application{
		ID: path[len("/enrol/pending/"):], AgentID: "aauth:a@ap.example", Thumbprint: thumbprint(t, key), PersonServer: "https://ps.example",
		From: "192.0.2.1", Created: created, Expires: created.Add(24 * time.Hour),
	}, a); diff != "" {
		t.Errorf("the application (-want +got):\n%s", diff)
	}

	restarted, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: agentauth.AdmitAfterApproval})
	must(t, err)
	w.provider, w.mux = restarted, http.NewServeMux()
	w.provider.Register(w.mux, "")
	w.wantPending(w.poll(key, path))
	made, err := w.provider.Approve(t.Context(), person, a.ID)
	must(t, err)
	if diff := cmp.Diff(agentauth.Agent{
		ID: "aauth:a@ap.example", Thumbprint: a.Thumbprint, KeyID: a.Thumbprint, PersonServer: "https://ps.example", Created: w.clock.Now().UTC(), AdmittedBy: "admin-key",
	}, made); diff != "" {
		t.Errorf("the agent (-want +got):\n%s", diff)
	}
	if list, err := w.provider.Pending(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("still waiting: %v, %v", list, err)
	}
	got := w.poll(key, path)
	token := w.wantToken(got)
	answer := got.json(t)
	delete(answer, "agent_token")
	if diff := cmp.Diff(map[string]any{
		"key_id": a.Thumbprint, "jwks_uri": issuer + "/agents/aauth:a@ap.example/jwks.json", "expires_in": 3600.0, "agent_id": "aauth:a@ap.example",
	}, answer); diff != "" || got.header.Get("Location") != "" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("the answer (-want +got):\n%s%v", diff, got.header)
	}
	if _, claims := claimsOf(t, token); claims["sub"] != "aauth:a@ap.example" || claims["ps"] != "https://ps.example" {
		t.Errorf("claims: %v", claims)
	}
	w.wantError(w.poll(key, path), 410, "invalid_code")
	w.wantToken(w.refresh(key, agentauth.SignOptions{}))
	w.wantToken(w.tryEnroll(key, `{"agent_id":"aauth:a@ap.example"}`))
	if diff := cmp.Diff([]string{"agent.applied", "agent.approved", "agent.enrolled", "agent.enrolled_again", "agent.refreshed"}, w.eventNames()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// eventNames are those of all events but the ones about signing keys, sorted: those
// of one instant have no order.
func (w *world) eventNames() []string {
	w.t.Helper()
	var names []string
	for e, err := range w.host.Events(w.t.Context(), "") {
		must(w.t, err)
		if !strings.HasPrefix(e.Name, "agent.signing_key") {
			names = append(names, e.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestDeniedApplication: the applicant is told once; asking for the same again does
// not bother anybody for a day.
func TestDeniedApplication(t *testing.T) {
	w := newApprovalWorld(t)
	key := newEd25519(t)
	path := w.applyFor(key, `{"agent_id":"aauth:a@ap.example"}`)
	id := w.onlyPending().ID
	must(t, w.provider.Deny(t.Context(), person, id))
	for _, again := range []error{w.provider.Deny(t.Context(), person, id), second(w.provider.Approve(t.Context(), person, id))} {
		if e := keywright.AsError(again); e.Code != keywright.CodeConflict || e.Detail != "the application is denied already" {
			t.Errorf("decided again: %v", again)
		}
	}
	a := w.poll(key, path)
	w.wantError(a, 403, "denied")
	w.wantError(w.poll(key, path), 410, "invalid_code")
	nobody := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Admission = nil }})
	if other := nobody.tryEnroll(key, `{}`); a.body != other.body || !cmp.Equal(a.header, other.header) {
		t.Errorf("denied by a person %s, by nobody %s", a.body, other.body)
	}

	w.wantError(w.tryEnroll(key, `{"agent_id":"aauth:a@ap.example"}`), 403, "denied")
	w.clock.advance(24*time.Hour - 3*time.Second)
	w.wantError(w.tryEnroll(key, `{"agent_id":"aauth:a@ap.example"}`), 403, "denied")
	w.clock.advance(time.Second)
	if again := w.applyFor(key, `{"agent_id":"aauth:a@ap.example"}`); again == path {
		t.Error("the URL is that of the application that was denied")
	}
	must(t, w.provider.Deny(t.Context(), person, w.onlyPending().ID))
	w.applyFor(key, `{"agent_id":"aauth:b@ap.example"}`)
	if len(w.agents()) != 0 {
		t.Errorf("agents: %v", w.agents())
	}
}

func second[A any](_ A, err error) error { return err }

// TestDecisionsAtOnce: of many people who decide, one does, and of many
// applications for one identifier one becomes its agent.
func TestDecisionsAtOnce(t *testing.T) {
	w := newApprovalWorld(t)
	replica, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: agentauth.AdmitAfterApproval})
	must(t, err)
	providers := []*agentauth.Provider{w.provider, replica}
	count := func(n int, do func(i int) error) map[keywright.Code]int {
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := make(map[keywright.Code]int)
		for i := range n {
			wg.Go(func() {
				code := keywright.Code("")
				if err := do(i); err != nil {
					code = keywright.AsError(err).Code
				}
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
		}
		wg.Wait()
		return codes
	}
	for range 10 {
		w.applyFor(newEd25519(t), `{}`)
		id := w.onlyPending().ID
		got := count(8, func(i int) error {
			if i%2 == 0 {
				return providers[i/2%2].Deny(t.Context(), person, id)
			}
			return second(providers[i/2%2].Approve(t.Context(), person, id))
		})
		if diff := cmp.Diff(map[keywright.Code]int{"": 1, keywright.CodeConflict: 7}, got); diff != "" {
			t.Fatalf("decisions (-want +got):\n%s", diff)
		}
	}
	for range 6 {
		w.applyFor(newEd25519(t), `{"agent_id":"aauth:one@ap.example"}`)
	}
	list, err := w.provider.Pending(t.Context())
	must(t, err)
	got := count(6, func(i int) error { return second(providers[i%2].Approve(t.Context(), person, list[i].ID)) })
	if diff := cmp.Diff(map[keywright.Code]int{"": 1, keywright.CodeAgentIDInUse: 5}, got); diff != "" {
		t.Fatalf("approvals (-want +got):\n%s", diff)
	}
}

// TestEnrolledMeanwhile: a key that has become an agent in another way does not
// become one again.
func TestEnrolledMeanwhile(t *testing.T) {
	w := newApprovalWorld(t)
	key := newEd25519(t)
	w.applyFor(key, `{}`)
	w.putAgent(key, agent.Record{Name: "runner", JWK: []byte(jwkOf(t, key, "Ed25519"))})
	if _, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID); keywright.AsError(err).Code != keywright.CodeConflict {
		t.Errorf("approved: %v", err)
	}
	if diff := cmp.Diff(map[string]string{thumbprint(t, key): "runner"}, w.agents()); diff != "" {
		t.Errorf("agents (-want +got):\n%s", diff)
	}
}
