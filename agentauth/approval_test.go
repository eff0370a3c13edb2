package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
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

// poll asks again, a second after the last time.
func (w *world) poll(key crypto.Signer, path string) answer {
	w.t.Helper()
	w.clock.advance(time.Second)
	return w.do(w.sign(w.request("GET", path, ""), key, agentauth.SignOptions{}))
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

// TestApprovedWithoutPolling: an agent that has lost its URL enrols again.
func TestApprovedWithoutPolling(t *testing.T) {
	w := newApprovalWorld(t)
	key := newEd25519(t)
	path := w.applyFor(key, `{}`)
	_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
	must(t, err)
	w.clock.advance(time.Second)
	w.wantToken(w.tryEnroll(key, `{}`))
	w.wantToken(w.poll(key, path))
	w.wantError(w.poll(key, path), 410, "invalid_code")
	w.clock.advance(24 * time.Hour)
	w.wantError(w.poll(key, path), 404, "not_found")
	w.wantToken(w.refresh(key, agentauth.SignOptions{}))
}

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
	r := w.sign(w.request("POST", "/enrol", `{"agent_id":"aauth:c@ap.example"}`), key, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Second)})
	again := r.Clone(t.Context())
	again.Body = w.request("POST", "/enrol", `{"agent_id":"aauth:c@ap.example"}`).Body
	w.wantPending(w.do(r))
	w.wantError(w.do(again), 401, "invalid_signature")
}

// TestPollNeedsTheKey: to another key an application does not exist, and the answer
// does not tell.
func TestPollNeedsTheKey(t *testing.T) {
	w := newApprovalWorld(t)
	key, other := newEd25519(t), newEd25519(t)
	path := w.applyFor(key, `{}`)
	otherPath := w.applyFor(other, `{}`)
	jkt := thumbprint(t, key)
	want := w.poll(newEd25519(t), "/enrol/pending/"+jkt+".ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	w.wantError(want, 404, "not_found")
	for name, a := range map[string]answer{
		"a key that has not applied":    w.poll(newEd25519(t), path),
		"a key that has applied too":    w.poll(other, path),
		"and the other way":             w.poll(key, otherPath),
		"the thumbprint alone":          w.poll(key, "/enrol/pending/"+jkt),
		"another ID of the right key":   w.poll(key, "/enrol/pending/"+jkt+".ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
		"an ID that is longer":          w.poll(key, path+"A"),
		"what cannot be stored":         w.poll(key, "/enrol/pending/%00"),
		"a path with an escaped letter": w.poll(other, strings.Replace(path, "enrol/pending/", "enrol/pending/%41", 1)),
	} {
		if a.status != want.status || a.body != want.body || !cmp.Equal(a.header, want.header) {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	if len(path) < len("/enrol/pending/")+43+1+26 {
		t.Errorf("%s can be guessed", path)
	}

	a := w.do(w.request("GET", path, ""))
	w.wantError(a, 401, "invalid_signature")
	if a.header.Get("Accept-Signature-Scheme") != "hwk" {
		t.Errorf("unsigned: %v", a.header)
	}
	w.wantError(w.do(w.sign(w.request("GET", path, ""), key, agentauth.SignOptions{Created: w.clock.Now().Add(-61 * time.Second)})), 401, "invalid_signature")
	elsewhere := w.request("GET", path, "")
	elsewhere.Header = w.sign(w.request("GET", otherPath, ""), key, agentauth.SignOptions{}).Header
	w.wantError(w.do(elsewhere), 401, "invalid_signature")
	if a := w.do(w.request("POST", path, "{}")); a.status != 405 || a.header.Get("Allow") != "GET" {
		t.Errorf("POST: %d %v", a.status, a.header)
	}
}

// TestPollIsNotReplayed: each poll is good once, that with the token too.
func TestPollIsNotReplayed(t *testing.T) {
	w := newApprovalWorld(t)
	key := newEd25519(t)
	path := w.applyFor(key, `{}`)
	w.clock.advance(time.Second)
	r := w.sign(w.request("GET", path, ""), key, agentauth.SignOptions{})
	w.wantPending(w.do(r))
	a := w.do(r)
	w.wantError(a, 401, "invalid_signature")
	if a.header.Get("Accept-Signature-Scheme") != "hwk" {
		t.Errorf("a replay: %v", a.header)
	}
	_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
	must(t, err)
	w.wantError(w.do(r), 401, "invalid_signature")
	w.wantToken(w.poll(key, path))
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
		if keywright.AsError(again).Code != keywright.CodeConflict {
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

// TestNobodyDecides: after a day an application cannot be decided. The applicant
// is told, and may apply again.
func TestNobodyDecides(t *testing.T) {
	w := newApprovalWorld(t)
	late, early := newEd25519(t), newEd25519(t)
	latePath, earlyPath := w.applyFor(late, `{}`), w.applyFor(early, `{}`)
	lateID, earlyID := latePath[len("/enrol/pending/"):], earlyPath[len("/enrol/pending/"):]
	w.clock.advance(24*time.Hour - 2*time.Second)
	w.wantPending(w.poll(late, latePath))
	_, err := w.provider.Approve(t.Context(), person, earlyID)
	must(t, err)
	w.clock.advance(time.Second)
	for _, err := range []error{w.provider.Deny(t.Context(), person, lateID), second(w.provider.Approve(t.Context(), person, lateID))} {
		if keywright.AsError(err).Code != keywright.CodeConflict {
			t.Errorf("decided too late: %v", err)
		}
	}
	if list, err := w.provider.Pending(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("still waiting: %v, %v", list, err)
	}
	w.wantError(w.poll(late, latePath), 408, "expired")
	w.wantError(w.poll(late, latePath), 410, "invalid_code")
	w.wantToken(w.poll(early, earlyPath))
	if again := w.applyFor(late, `{}`); again == latePath {
		t.Error("the URL is that of the application that nobody has decided")
	}
	w.wantError(w.poll(late, latePath), 404, "not_found")

	forgotten := newEd25519(t)
	path := w.applyFor(forgotten, `{}`)
	w.clock.advance(48 * time.Hour)
	w.wantError(w.poll(forgotten, path), 404, "not_found")
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

// TestAnswerIsGivenOnce: of many polls at once one gets the token.
func TestAnswerIsGivenOnce(t *testing.T) {
	w := newApprovalWorld(t)
	replica, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: agentauth.AdmitAfterApproval})
	must(t, err)
	muxes := []*http.ServeMux{w.mux, http.NewServeMux()}
	replica.Register(muxes[1], "")
	key := newEd25519(t)
	same := make([]*http.Request, 6)
	for i := range same {
		same[i] = w.sign(w.request("POST", "/enrol", `{}`), key, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Duration(i+1) * time.Second)})
	}
	if diff := cmp.Diff(map[int]int{202: 6}, atOnce(muxes, same)); diff != "" {
		t.Fatalf("applications (-want +got):\n%s", diff)
	}
	a := w.onlyPending()
	_, err = w.provider.Approve(t.Context(), person, a.ID)
	must(t, err)
	polls := make([]*http.Request, 6)
	for i := range polls {
		polls[i] = w.sign(w.request("GET", "/enrol/pending/"+a.ID, ""), key, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Duration(i+1) * time.Second)})
	}
	if diff := cmp.Diff(map[int]int{200: 1, 410: 5}, atOnce(muxes, polls)); diff != "" {
		t.Fatalf("answers (-want +got):\n%s", diff)
	}
}

// TestApplicationsAreBounded: strangers cannot fill the store. A decision makes
// room, and so does another day.
func TestApplicationsAreBounded(t *testing.T) {
	w := newApprovalWorld(t)
	var last string
	for range 1000 {
		last = w.applyFor(newEd25519(t), `{}`)
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

// TestApprovedButGone: between approval and poll an agent may be disabled or
// deleted.
func TestApprovedButGone(t *testing.T) {
	for name, end := range map[string]func(p *agentauth.Provider, ctx context.Context, actor keywright.Principal, id string) error{
		"disabled": (*agentauth.Provider).DisableAgent, "banned": (*agentauth.Provider).BanAgent, "deleted": (*agentauth.Provider).DeleteAgent,
	} {
		w := newApprovalWorld(t)
		key := newEd25519(t)
		path := w.applyFor(key, `{"agent_id":"aauth:a@ap.example"}`)
		_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
		must(t, err)
		must(t, end(w.provider, t.Context(), person, "aauth:a@ap.example"))
		w.wantError(w.poll(key, path), 403, "denied")
		w.clock.advance(time.Second)
		a := w.tryEnroll(key, `{"agent_id":"aauth:a@ap.example"}`)
		if name == "deleted" {
			w.wantPending(a)
			_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
			must(t, err)
			w.wantError(w.poll(key, path), 404, "not_found")
		} else {
			w.wantError(a, 403, "denied")
		}
	}
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

// TestUnsignedApplicant: who may enrol without a proof of its key needs one to
// hear of the decision.
func TestUnsignedApplicant(t *testing.T) {
	w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) { c.Client.Compat.AllowUnsignedEnrol = true })
	key := newEd25519(t)
	body := `{"jwk":` + jwkOf(t, key, "Ed25519") + `}`
	path := w.wantPending(w.do(w.request("POST", "/enrol", body)))
	if got := w.wantPending(w.do(w.request("POST", "/enrol", body))); got != path {
		t.Errorf("applying again: %s", got)
	}
	w.wantError(w.do(w.request("GET", path, "")), 401, "invalid_signature")
	w.wantPending(w.poll(key, path))
}
