package agentauth_test

import (
	"crypto"
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// TestOneKeyWaitsOnce: applying for something else is not another application, and
// whoever has gone leaves room, in whichever way.
func TestOneKeyWaitsOnce(t *testing.T) {
	w := newApprovalWorld(t)
	key := newEd25519(t)
	for i := range 1100 {
		w.applyFor(key, fmt.Sprintf(`{"agent_id":"aauth:n%d@ap.example"}`, i))
	}
	for range 19 {
		w.applyFor(newEd25519(t), "{}")
	}
	w.wantError(w.tryEnroll(newEd25519(t), "{}"), 429, "rate_limited")
	w.applyFor(key, "{}") // in its own place
	w.wantError(w.tryEnroll(newEd25519(t), "{}"), 429, "rate_limited")
}

// TestRoomOfOneAddress: one address cannot keep others from applying.
func TestRoomOfOneAddress(t *testing.T) {
	w := newApprovalWorld(t)
	apply := func(addr string, key crypto.Signer) answer { return w.enrollFrom(addr, key, "{}") }
	for i := range 20 {
		w.wantPending(apply(fmt.Sprintf("[2001:db8::%x]", i), newEd25519(t)))
	}
	a := apply("[2001:db8::ffff]", newEd25519(t))
	w.wantError(a, 429, "rate_limited")
	if a.header.Get("Retry-After") == "" {
		t.Errorf("no Retry-After: %v", a.header)
	}
	w.wantPending(apply("[2001:db8:0:1::1]", newEd25519(t)))
	w.clock.advance(24 * time.Hour)
	w.wantPending(apply("[2001:db8::ffff]", newEd25519(t)))
}

// TestRoomIsGivenBack lets applications end in all ways, more often than there is
// room.
func TestRoomIsGivenBack(t *testing.T) {
	for name, end := range map[string]func(w *world, secrets *agentauth.EnrollmentSecrets, key crypto.Signer, path string){
		"denied": func(w *world, _ *agentauth.EnrollmentSecrets, _ crypto.Signer, _ string) {
			must(t, w.provider.Deny(t.Context(), person, w.onlyPending().ID))
		},
		"approved": func(w *world, _ *agentauth.EnrollmentSecrets, _ crypto.Signer, _ string) {
			must(t, second(w.provider.Approve(t.Context(), person, w.onlyPending().ID)))
		},
		"denied, and told": func(w *world, _ *agentauth.EnrollmentSecrets, key crypto.Signer, path string) {
			must(t, w.provider.Deny(t.Context(), person, w.onlyPending().ID))
			w.wantError(w.poll(key, path), 403, "denied")
		},
		"approved, and told": func(w *world, _ *agentauth.EnrollmentSecrets, key crypto.Signer, path string) {
			must(t, second(w.provider.Approve(t.Context(), person, w.onlyPending().ID)))
			w.wantToken(w.poll(key, path))
		},
		"admitted in another way": func(w *world, secrets *agentauth.EnrollmentSecrets, key crypto.Signer, _ string) {
			w.wantToken(w.enrollBy(key, "{}", "Bearer "+makeSecret(t, secrets, agentauth.SecretSettings{}).Text))
		},
		"moved to another address": func(w *world, _ *agentauth.EnrollmentSecrets, key crypto.Signer, _ string) {
			w.wantPending(w.enrollFrom("192.0.2.200", key, `{"ps":"https://ps.example"}`))
			must(t, w.provider.Deny(t.Context(), person, w.onlyPending().ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var secrets *agentauth.EnrollmentSecrets
			w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) {
				secrets, _ = agentauth.NewEnrollmentSecrets(c.Host)
				c.Admission = agentauth.AdmitFirst(secrets.Admit, agentauth.AdmitAfterApproval)
			})
			w.clock.advance(time.Hour) // away from the end of the day
			for range 50 {
				key := newEd25519(t)
				end(w, secrets, key, w.applyFor(key, "{}"))
			}
			for range 20 {
				w.applyFor(newEd25519(t), "{}")
			}
			w.wantError(w.tryEnroll(newEd25519(t), "{}"), 429, "rate_limited")
		})
	}
}

// TestRoomOfAnotherDay: an application that nobody has decided in time makes no room
// when its applicant hears of it and applies again.
func TestRoomOfAnotherDay(t *testing.T) {
	w := newApprovalWorld(t)
	old := newEd25519(t)
	path := w.applyFor(old, "{}")
	w.clock.advance(24 * time.Hour)
	for range 20 {
		w.applyFor(newEd25519(t), "{}")
	}
	w.wantError(w.poll(old, path), 408, "expired")
	w.wantError(w.tryEnroll(newEd25519(t), "{}"), 429, "rate_limited")
	w.wantError(w.tryEnroll(old, "{}"), 429, "rate_limited")
}

// TestUnsignedApplicationsReplaceNone: without a proof of the key, whoever comes
// second is told nothing but where the first is to ask.
func TestUnsignedApplicationsReplaceNone(t *testing.T) {
	w := newUnsignedWorld(t, agentauth.AdmitAfterApproval)
	key := newEd25519(t)
	jwk := jwkOf(t, key, "Ed25519")
	path := w.wantPending(w.do(w.request("POST", "/enrol", `{"agent_id":"aauth:a@ap.example","jwk":`+jwk+`}`)))
	w.wantError(w.do(w.request("POST", "/enrol", `{"agent_id":"aauth:b@ap.example","jwk":`+jwk+`}`)), 401, "invalid_signature")
	if got := w.wantPending(w.do(w.request("POST", "/enrol", `{"agent_id":"aauth:a@ap.example","jwk":`+jwk+`}`))); got != path {
		t.Errorf("the same again: %s, want %s", got, path)
	}
	w.wantPending(w.poll(key, path))
	if other := w.applyFor(key, `{"agent_id":"aauth:b@ap.example"}`); other == path {
		t.Error("the key itself cannot apply for something else")
	}
}
