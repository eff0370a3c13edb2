package agentauth_test

import (
	"context"
	"crypto"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// poll asks again, a second after the last time.
func (w *world) poll(key crypto.Signer, path string) answer {
	w.t.Helper()
	w.clock.advance(time.Second)
	return w.do(w.sign(w.request("GET", path, ""), key, agentauth.SignOptions{}))
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

// beforeCommit does something before the next Commit, once.
type beforeCommit struct {
	store.Store
	do func()
}

func (s *beforeCommit) Commit(ctx context.Context, ops ...store.Op) error {
	if do := s.do; do != nil {
		s.do = nil
		do()
	}
	return s.Store.Commit(ctx, ops...)
}

// TestDisabledWhileDelivering: the token of an agent that is disabled at that
// moment is not handed out.
func TestDisabledWhileDelivering(t *testing.T) {
	hooked := &beforeCommit{Store: &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}}
	w := newWorld(t, worldConfig{store: hooked, provider: func(c *agentauth.ProviderConfig) { c.Admission = agentauth.AdmitAfterApproval }})
	key := newEd25519(t)
	path := w.applyFor(key, `{"agent_id":"aauth:a@ap.example"}`)
	_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
	must(t, err)
	hooked.do = func() { must(t, w.provider.DisableAgent(t.Context(), person, "aauth:a@ap.example")) }
	w.wantError(w.poll(key, path), 403, "denied")
	must(t, w.provider.EnableAgent(t.Context(), person, "aauth:a@ap.example"))
	w.wantToken(w.poll(key, path))
}

// TestUnsignedApplicant: who may enrol without a proof of its key needs one to
// hear of the decision.
func TestUnsignedApplicant(t *testing.T) {
	w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) { c.Profile.Compat.AllowUnsignedEnrol = true })
	key := newEd25519(t)
	body := `{"jwk":` + jwkOf(t, key, "Ed25519") + `}`
	path := w.wantPending(w.do(w.request("POST", "/enrol", body)))
	if got := w.wantPending(w.do(w.request("POST", "/enrol", body))); got != path {
		t.Errorf("applying again: %s", got)
	}
	w.wantError(w.do(w.request("GET", path, "")), 401, "invalid_signature")
	w.wantPending(w.poll(key, path))
}

// TestPollBelowAPrefix: the URL is that of the route, wherever that is.
func TestPollBelowAPrefix(t *testing.T) {
	w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) { c.Paths.Enroll, c.Paths.Prefix = "/new", "/connect/" })
	w.mux = http.NewServeMux()
	w.provider.Register(w.mux, "/connect")
	key := newEd25519(t)
	a := w.do(w.sign(w.request("POST", "/connect/new", `{}`), key, agentauth.SignOptions{}))
	path, ok := strings.CutPrefix(a.header.Get("Location"), issuer)
	if !ok || !strings.HasPrefix(path, "/connect/new/pending/") {
		t.Fatalf("%d %s %v", a.status, a.body, a.header)
	}
	if a := w.poll(key, path); a.status != 202 || a.header.Get("Location") != issuer+path {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
}
