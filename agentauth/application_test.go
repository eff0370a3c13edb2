package agentauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// TestApplyingAgain: the same request is the same application, another is a new one
// in its place.
func TestApplyingAgain(t *testing.T) {
	w := newApprovalWorld(t)
	key := newEd25519(t)
	path := w.applyFor(key, `{"agent_id":"aauth:a@ap.example"}`)
	w.clock.advance(time.Second)
	if got := w.applyFor(key, `{"agent_id":"aauth:a@ap.example"}`); got != path {
		t.Errorf("applying again: %s, want %s", got, path)
	}
	if got := w.eventNames(); len(got) != 1 {
		t.Errorf("events: %v", got)
	}
	for _, body := range []string{`{"agent_id":"aauth:b@ap.example"}`, `{"agent_id":"aauth:b@ap.example","ps":"https://ps.example"}`, `{}`} {
		w.clock.advance(time.Second)
		other := w.applyFor(key, body)
		if other == path {
			t.Fatalf("%s is the application of another request", body)
		}
		w.wantError(w.poll(key, path), 404, "not_found")
		w.wantPending(w.poll(key, other))
		path = other
	}
	old := w.onlyPending()
	w.clock.advance(time.Second)
	w.applyFor(key, `{"agent_id":"aauth:c@ap.example"}`)
	if _, err := w.provider.Approve(t.Context(), person, old.ID); keywright.AsError(err).Code != keywright.CodeNotFound {
		t.Errorf("an application that was replaced is approved: %v", err)
	}
	first := newEd25519(t)
	for i, want := range []int{202, 401} {
		r := w.sign(w.request("POST", "/enrol", `{}`), first, agentauth.SignOptions{})
		if a := w.do(r); a.status != want {
			t.Errorf("one request for the %d. time: %d %s", i+1, a.status, a.body)
		}
	}
	r := w.sign(w.request("POST", "/enrol", `{"agent_id":"aauth:c@ap.example"}`), key, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Second)})
	again := r.Clone(t.Context())
	again.Body = w.request("POST", "/enrol", `{"agent_id":"aauth:c@ap.example"}`).Body
	w.wantPending(w.do(r))
	w.wantError(w.do(again), 401, "invalid_signature")
}

// TestPendingTellsNoIdentifiers: whether an agent identifier is in use is told to
// the person who decides alone.
func TestPendingTellsNoIdentifiers(t *testing.T) {
	w := newApprovalWorld(t)
	owner, rival := newEd25519(t), newEd25519(t)
	w.applyFor(owner, `{"agent_id":"aauth:a@ap.example"}`)
	_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
	must(t, err)
	path := w.applyFor(rival, `{"agent_id":"aauth:a@ap.example"}`)
	id := w.onlyPending().ID
	if _, err := w.provider.Approve(t.Context(), person, id); keywright.AsError(err).Code != keywright.CodeAgentIDInUse {
		t.Errorf("got %v, want agent_id_in_use", err)
	}
	w.wantPending(w.poll(rival, path))
	must(t, w.provider.Deny(t.Context(), person, id))
	w.wantError(w.poll(rival, path), 403, "denied")
	if diff := cmp.Diff(map[string]string{thumbprint(t, owner): "aauth:a@ap.example"}, w.agents()); diff != "" {
		t.Errorf("agents (-want +got):\n%s", diff)
	}
}

// TestApplicationsAreBounded: strangers cannot fill the store. A decision makes
// room, and so does another day.
func TestApplicationsAreBounded(t *testing.T) {
	w := newApprovalWorld(t)
	var last string
	for i := range 1000 {
		last = w.wantPending(w.enrollFrom(fmt.Sprintf("10.0.%d.1", i/20), newEd25519(t), `{}`))
	}
	key := newEd25519(t)
	a := w.tryEnroll(key, `{}`)
	w.wantError(a, 429, "rate_limited")
	if a.header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", a.header)
	}
	list, err := w.provider.Pending(t.Context())
	must(t, err)
	if len(list) != 1000 {
		t.Fatalf("%d wait", len(list))
	}
	must(t, w.provider.Deny(t.Context(), person, list[0].ID))
	w.applyFor(key, `{}`)
	w.wantError(w.tryEnroll(newEd25519(t), `{}`), 429, "rate_limited")
	_, err = w.provider.Approve(t.Context(), person, last[len("/enrol/pending/"):])
	must(t, err)
	w.applyFor(newEd25519(t), `{}`)
	w.wantError(w.tryEnroll(newEd25519(t), `{}`), 429, "rate_limited")
	w.clock.advance(24 * time.Hour)
	w.applyFor(newEd25519(t), `{}`)
}

// TestApprovalKeepsWhatWasAdmitted: what the admission has said when it was asked
// holds for the agent, and its Ops are written with the application.
func TestApprovalKeepsWhatWasAdmitted(t *testing.T) {
	asked := 0
	w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) {
		c.Admission = func(context.Context, agentauth.Applicant) (agentauth.Admitted, error) {
			asked++
			return agentauth.Admitted{
				Pending: true, AgentID: "aauth:chosen@ap.example", PersonServer: "https://ps.example", TokenLife: 10 * time.Minute, By: "policy",
				Claims: map[string]json.RawMessage{"team": json.RawMessage(`"blue"`)}, Scopes: []string{"read"},
				Ops: []store.Op{store.Take("tickets", 1, 1, time.Time{})},
			}, nil
		}
	})
	key := newEd25519(t)
	path := w.applyFor(key, `{"agent_id":"aauth:asked@ap.example"}`)
	w.wantError(w.tryEnroll(newEd25519(t), `{}`), 403, "denied")
	a := w.onlyPending()
	if a.AgentID != "aauth:chosen@ap.example" || a.PersonServer != "https://ps.example" || a.By != "policy" || !cmp.Equal(a.Scopes, []string{"read"}) {
		t.Errorf("the application: %+v", a)
	}
	_, err := w.provider.Approve(t.Context(), keywright.Principal{}, a.ID)
	must(t, err)
	token := w.wantToken(w.poll(key, path))
	_, claims := claimsOf(t, token)
	if claims["sub"] != "aauth:chosen@ap.example" || claims["team"] != "blue" || claims["exp"].(float64)-claims["iat"].(float64) != 600 || asked != 2 {
		t.Errorf("claims: %v, asked %d times", claims, asked)
	}
	if got := w.whoami(key, token).json(t)["Scopes"]; !cmp.Equal(got, []any{"read"}) {
		t.Errorf("scopes: %v", got)
	}
	if got, err := w.provider.Agent(t.Context(), "aauth:chosen@ap.example"); err != nil || got.AdmittedBy != "policy" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAdmittedWhileWaiting: a secret is a way around the wait, and nothing is left
// to decide.
func TestAdmittedWhileWaiting(t *testing.T) {
	var secrets *agentauth.EnrollmentSecrets
	w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) {
		secrets, _ = agentauth.NewEnrollmentSecrets(c.Host)
		c.Admission = agentauth.AdmitFirst(secrets.Admit, agentauth.AdmitAfterApproval)
	})
	key := newEd25519(t)
	path := w.applyFor(key, `{}`)
	id := w.onlyPending().ID
	w.wantToken(w.enrollBy(key, `{}`, "Bearer "+makeSecret(t, secrets, agentauth.SecretSettings{}).Text))
	w.wantError(w.poll(key, path), 404, "not_found")
	if _, err := w.provider.Approve(t.Context(), person, id); keywright.AsError(err).Code != keywright.CodeNotFound {
		t.Errorf("approved: %v", err)
	}
	w.applyFor(newEd25519(t), `{}`)
}

// TestBadApplications: what cannot be an agent does not wait for a person.
func TestBadApplications(t *testing.T) {
	w := newApprovalWorld(t)
	w.wantError(w.tryEnroll(newEd25519(t), `{"agent_id":"aauth:a@other.example"}`), 400, "invalid_request")
	w.wantError(w.tryEnroll(newEd25519(t), `{"ps":"http://ps.example"}`), 400, "invalid_request")
	forging := newApprovalWorld(t, func(c *agentauth.ProviderConfig) {
		c.Admission = func(context.Context, agentauth.Applicant) (agentauth.Admitted, error) {
			return agentauth.Admitted{Pending: true, Claims: map[string]json.RawMessage{"sub": json.RawMessage(`"x"`)}}, nil
		}
	})
	forging.wantError(forging.tryEnroll(newEd25519(t), `{}`), 500, "server_error")
	for _, w := range []*world{w, forging} {
		if list, err := w.provider.Pending(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("waiting: %v, %v", list, err)
		}
	}
	for _, id := range []string{"", ".", "x", "x.y", strings.Repeat("a", 5000), "a\x00.b", "\xff.x", thumbprint(t, newEd25519(t)) + ".x"} {
		if err := w.provider.Deny(t.Context(), person, id); keywright.AsError(err).Code != keywright.CodeNotFound {
			t.Errorf("%.20q: %v", id, err)
		}
	}
}

// TestProviderIsNoAgent: a key that signs tokens does not become an agent, however
// much a person approves.
func TestProviderIsNoAgent(t *testing.T) {
	w := newApprovalWorld(t)
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{Now: w.clock.Now}, URL: w.host.URL, Hooks: w.host.Hooks})
	must(t, err)
	private := new(keystore.Memory)
	keys, err := agentauth.NewSigningKeys(host, private, "")
	must(t, err)
	must(t, keys.Sync(t.Context()))
	w.provider, err = agentauth.NewProvider(agentauth.ProviderConfig{Host: host, Keys: keys, Admission: agentauth.AdmitAfterApproval})
	must(t, err)
	w.mux = http.NewServeMux()
	w.provider.Register(w.mux, "")
	own := 0
	for handle, err := range private.List(t.Context()) {
		must(t, err)
		key, err := private.Load(t.Context(), handle)
		must(t, err)
		w.wantError(w.tryEnroll(key, `{}`), 400, "invalid_request")
		own++
	}
	if list, err := w.provider.Pending(t.Context()); own == 0 || err != nil || len(list) != 0 {
		t.Errorf("of %d keys wait: %v, %v", own, list, err)
	}
}
