package agentauth_test

import (
	"crypto"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// from says which address r comes from.
func from(r *http.Request, addr string) *http.Request {
	r.RemoteAddr = addr + ":1"
	return r
}

func (w *world) enrollFrom(addr string, key crypto.Signer, body string) answer {
	w.t.Helper()
	return w.do(from(w.sign(w.request("POST", "/enrol", body), key, agentauth.SignOptions{}), addr))
}

func (w *world) refreshFrom(addr string, key crypto.Signer) answer {
	w.t.Helper()
	w.clock.advance(time.Second) // or it is the same request again
	return w.do(from(w.sign(w.request("POST", "/refresh", "{}"), key, agentauth.SignOptions{}), addr))
}

// TestUnsignedRequestsCostNothing: they are not counted, so they lock out nobody,
// wherever they come from.
func TestUnsignedRequestsCostNothing(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits = agentauth.ProviderLimits{PerMinute: 3, AllPerMinute: 3, KeyPerMinute: 3}
	}})
	key := newEd25519(t)
	w.enroll(key, "{}")
	for range 20 {
		for _, path := range []string{"/enrol", "/refresh", "/subagent"} {
			w.wantError(w.do(w.request("POST", path, "{}")), 401, "invalid_signature")
		}
		w.wantError(w.do(w.request("GET", "/enrol/pending/x", "")), 401, "invalid_signature")
	}
	w.wantToken(w.refreshFrom("192.0.2.1", key))
	w.wantToken(w.tryEnroll(newEd25519(t), "{}"))
}

// TestStrangersLockOutNobodyElse: what is refused counts for the address alone
// that it came from, at each endpoint.
func TestStrangersLockOutNobodyElse(t *testing.T) {
	for name, bad := range map[string]func(w *world) *http.Request{
		"a wrong signature": func(w *world) *http.Request {
			r := w.sign(w.request("POST", "/refresh", "{}"), newEd25519(t), agentauth.SignOptions{})
			r.Header.Set("Signature-Input", r.Header.Get("Signature-Input")+`;tag="x"`)
			return r
		},
		"no signature that can be read": func(w *world) *http.Request {
			r := w.request("POST", "/subagent", "{}")
			r.Header.Set("Signature", "x")
			return r
		},
		"a refresh by an unknown key": func(w *world) *http.Request {
			return w.sign(w.request("POST", "/refresh", "{}"), newEd25519(t), agentauth.SignOptions{})
		},
		"a poll by an unknown key": func(w *world) *http.Request {
			return w.sign(w.request("GET", "/enrol/pending/x", ""), newEd25519(t), agentauth.SignOptions{})
		},
		"a bad enrolment": func(w *world) *http.Request {
			return w.sign(w.request("POST", "/enrol", `{"ps":1}`), newEd25519(t), agentauth.SignOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
				c.Limits = agentauth.ProviderLimits{PerMinute: 5, AllPerMinute: 7}
			}})
			key := newEd25519(t)
			w.enroll(key, "{}")
			codes := make(map[int]int)
			for range 10 {
				a := w.do(from(bad(w), "192.0.2.66"))
				codes[a.status]++
				if a.status == 429 && a.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
			if codes[429] != 5 {
				t.Errorf("statuses: %v, want 5 of 429", codes)
			}
			w.wantError(w.refreshFrom("192.0.2.66", key), 429, "rate_limited") // no signature of the address is looked at
			w.wantToken(w.refreshFrom("192.0.2.1", key))
			w.wantToken(w.enrollFrom("192.0.2.1", newEd25519(t), "{}"))
			w.clock.advance(time.Minute)
			w.wantToken(w.refreshFrom("192.0.2.66", key))
		})
	}
}

// TestAgentsBehindOneAddress: each key has a budget of its own, whatever the
// others do, and enrolling more of them is another matter.
func TestAgentsBehindOneAddress(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits = agentauth.ProviderLimits{PerMinute: 5, KeyPerMinute: 2}
	}})
	keys := make([]crypto.Signer, 5)
	for i := range keys {
		keys[i] = newEd25519(t)
		w.wantToken(w.tryEnroll(keys[i], "{}"))
	}
	w.wantError(w.tryEnroll(newEd25519(t), "{}"), 429, "rate_limited")
	token := ""
	for _, key := range keys {
		for i := range 2 {
			a := w.do(w.sign(w.request("POST", "/refresh", fmt.Sprint(" {}"[i:])), key, agentauth.SignOptions{}))
			token = w.wantToken(a)
		}
	}
	last := keys[len(keys)-1]
	for name, r := range map[string]*http.Request{
		"refresh":     w.sign(w.request("POST", "/refresh", "{ }"), last, agentauth.SignOptions{}),
		"enrol":       w.sign(w.request("POST", "/enrol", "{}"), last, agentauth.SignOptions{}),
		"a sub-agent": w.sign(w.request("POST", "/subagent", subAgentBody(t, newEd25519(t), "Ed25519", "a")), last, agentauth.SignOptions{Token: token}),
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do(from(r, "192.0.2.200"))
			w.wantError(a, 429, "rate_limited")
			if a.header.Get("Retry-After") != "30" {
				t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
			}
		})
	}
	w.clock.advance(30 * time.Second)
	w.wantToken(w.do(w.sign(w.request("POST", "/refresh", "{}"), last, agentauth.SignOptions{})))
}

// TestReplaysCountForWhoSendsThem, and not for the key.
func TestReplaysCountForWhoSendsThem(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits = agentauth.ProviderLimits{PerMinute: 5, KeyPerMinute: 3}
	}})
	key := newEd25519(t)
	w.enroll(key, "{}")
	caught := w.sign(w.request("POST", "/refresh", "{}"), key, agentauth.SignOptions{})
	w.wantToken(w.do(caught))
	for range 5 {
		r := from(w.request("POST", "/refresh", "{}"), "192.0.2.66")
		r.Header = caught.Header
		w.wantError(w.do(r), 401, "invalid_signature")
	}
	r := from(w.request("POST", "/refresh", "{}"), "192.0.2.66")
	r.Header = caught.Header
	w.wantError(w.do(r), 429, "rate_limited")
	for i := range 2 {
		w.wantToken(w.do(w.sign(w.request("POST", "/refresh", fmt.Sprint("  {}"[i:])), key, agentauth.SignOptions{})))
	}
}

// TestNewKeysOfAllAddresses: the limit of all together is one of enrolments, and
// leaves alone who is enrolled.
func TestNewKeysOfAllAddresses(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Limits.AllPerMinute = 10 }})
	key := newEd25519(t)
	w.enroll(key, "{}")
	for i := range 9 {
		w.wantToken(w.enrollFrom(fmt.Sprintf("10.0.0.%d", i), newEd25519(t), "{}"))
	}
	w.wantError(w.enrollFrom("10.0.1.1", newEd25519(t), "{}"), 429, "rate_limited")
	w.wantToken(w.refreshFrom("10.0.1.1", key))
	w.clock.advance(time.Second)
	w.wantToken(w.enrollFrom("10.0.1.1", key, "{}"))
}

// TestPollsThatComeTooOften are told so in the words of polling. Who polls as it was
// told to has room.
func TestPollsThatComeTooOften(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Admission = agentauth.AdmitAfterApproval }})
	key, other := newEd25519(t), newEd25519(t)
	path, otherPath := w.applyFor(key, "{}"), w.applyFor(other, "{}")
	for range 100 {
		w.clock.advance(4 * time.Second) // and one of poll
		w.wantPending(w.poll(key, path))
	}
	codes := make(map[int]int)
	for range 100 {
		a := w.poll(key, path)
		if codes[a.status]++; a.status == 429 {
			w.wantError(a, 429, "slow_down")
			if a.header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if codes[202] < 75 || codes[429] < 15 {
		t.Errorf("statuses, of a poll each second: %v", codes)
	}
	w.wantPending(w.poll(other, otherPath))
	stranger := func() answer { return w.do(w.sign(w.request("GET", path, ""), newEd25519(t), agentauth.SignOptions{})) }
	for range 60 {
		w.wantError(stranger(), 404, "not_found")
	}
	w.wantError(stranger(), 429, "slow_down")
}

// newUnsignedWorld is a world for clients that do not sign their enrolments.
func newUnsignedWorld(t *testing.T, admit agentauth.Admission) *world {
	t.Helper()
	return newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Profile.Compat.AllowUnsignedEnrol = true
		c.Admission = admit
	}})
}

// TestUnsignedEnrolmentsAreCounted like those that are signed.
func TestUnsignedEnrolmentsAreCounted(t *testing.T) {
	w := newUnsignedWorld(t, agentauth.AdmitAnybody)
	codes := make(map[int]int)
	for range 70 {
		codes[w.do(w.request("POST", "/enrol", `{"jwk":`+jwkOf(t, newEd25519(t), "Ed25519")+`}`)).status]++
	}
	if codes[200] != 60 || codes[429] != 10 {
		t.Errorf("statuses: %v", codes)
	}
}

// TestUnsignedRepeats: a public key is public, so it takes a signature to be the
// agent that has it.
func TestUnsignedRepeats(t *testing.T) {
	w := newUnsignedWorld(t, agentauth.AdmitAnybody)
	key := newEd25519(t)
	body := `{"agent_id":"aauth:x@ap.example","ps":"https://ps.example","jwk":` + jwkOf(t, key, "Ed25519") + `}`
	w.wantToken(w.do(w.request("POST", "/enrol", body)))
	before := w.dump()
	for range 60 {
		a := w.do(w.request("POST", "/enrol", body))
		w.wantError(a, 401, "invalid_signature")
		if a.header.Get("Accept-Signature-Scheme") != "hwk" {
			t.Errorf("no word of how to sign: %v", a.header)
		}
	}
	w.wantError(w.do(w.request("POST", "/enrol", body)), 429, "rate_limited")
	if diff := len(w.dump()) - len(before); diff != 0 {
		t.Errorf("%d records more", diff)
	}
	w.clock.advance(time.Minute)
	w.wantToken(w.tryEnroll(key, body))
}
