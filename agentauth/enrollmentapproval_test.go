package agentauth_test

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// applicant is a configuration of an agent that w lets wait.
func (w *world) applicant(keys keystore.KeyStore, waiting func(agentauth.Waiting)) agentauth.EnrollConfig {
	return agentauth.EnrollConfig{
		Provider: issuer, AgentID: "aauth:a@ap.example", Keys: keys, HTTP: &http.Client{Transport: local{"ap.example": w.mux}}, Now: w.clock.Now,
		Options: agentauth.EnrollOptions{Waiting: func(_ context.Context, is agentauth.Waiting) { waiting(is) }},
	}
}

// TestEnrollWaitsForAPerson, who takes some minutes; then for another process that
// begins where the first was stopped.
func TestEnrollWaitsForAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) { c.Limits.KeyPerMinute = -1 })
		keys := new(keystore.Memory)
		var places []string
		ctx, stop := context.WithCancel(t.Context())
		_, err := agentauth.Enroll(ctx, w.applicant(keys, func(is agentauth.Waiting) {
			places = append(places, is.URL)
			time.AfterFunc(3*time.Minute, stop)
		}))
		if !errors.Is(err, context.Canceled) || errors.Is(err, agentauth.ErrLost) {
			t.Errorf("stopped: %v", err)
		}
		var id string
		w.clock.advance(time.Minute)
		e, err := agentauth.Enroll(t.Context(), w.applicant(keys, func(is agentauth.Waiting) {
			places = append(places, is.URL)
			id = w.onlyPending().ID
			time.AfterFunc(3*time.Minute, func() {
				_, err := w.provider.Approve(t.Context(), person, id)
				must(t, err)
			})
		}))
		must(t, err)
		if diff := cmp.Diff([]string{issuer + "/enrol/pending/" + id, issuer + "/enrol/pending/" + id}, places); diff != "" {
			t.Errorf("places (-want +got):\n%s", diff)
		}
		if e.AgentID != "aauth:a@ap.example" || e.AgentTokenKid != thumbprint(t, e.Key) || len(handlesOf(t, keys)) != 1 {
			t.Errorf("%v", e)
		}
		w.wantAgent(w.whoami(e.Key, e.AgentToken), e.AgentID)
	})
}

// TestHowWaitingEnds other than well.
func TestHowWaitingEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		decide func(w *world, key crypto.Signer)
		status int
		code   string
	}{
		"a person says no":       {func(w *world, _ crypto.Signer) { must(t, w.provider.Deny(t.Context(), person, w.onlyPending().ID)) }, 403, "denied"},
		"nobody says anything":   {func(w *world, _ crypto.Signer) { w.clock.advance(24 * time.Hour) }, 408, "expired"},
		"it applies for another": {func(w *world, key crypto.Signer) { w.applyFor(key, `{}`) }, 404, "not_found"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newApprovalWorld(t)
			key := foreignKey{newEd25519(t)}
			_, err := agentauth.Enroll(t.Context(), w.applicant(oneKey{key}, func(agentauth.Waiting) { tt.decide(w, key) }))
			e, _ := errors.AsType[*agentauth.StatusError](err)
			if e == nil || e.Status != tt.status || e.Code != tt.code || e.Server != issuer {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}

// TestALostDecision is told again to who asks again.
func TestALostDecision(t *testing.T) {
	for decision, want := range map[string]int{"yes": 0, "no": 403} {
		synctest.Test(t, func(t *testing.T) {
			w := newApprovalWorld(t)
			told := 0
			c := w.applicant(new(keystore.Memory), func(agentauth.Waiting) {
				told++
				var err error
				if decision == "yes" {
					_, err = w.provider.Approve(t.Context(), person, w.onlyPending().ID)
				} else {
					err = w.provider.Deny(t.Context(), person, w.onlyPending().ID)
				}
				must(t, err)
			})
			lost := 0
			inner := c.HTTP.Transport
			c.HTTP.Transport = via(func(r *http.Request) (*http.Response, error) {
				resp, err := inner.RoundTrip(r)
				if strings.HasPrefix(r.URL.Path, "/enrol/pending/") && lost == 0 {
					lost++
					return nil, errors.New("cut")
				}
				return resp, err
			})
			_, err := agentauth.Enroll(t.Context(), c)
			if statusOf(err) != want || want == 0 && err != nil || told != 1 {
				t.Errorf("%s: %v, told %d times", decision, err, told)
			}
		})
	}
}

// TestTwoWaitForTheSame: one of them is told the decision, and the other is the same
// agent.
func TestTwoWaitForTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newApprovalWorld(t, func(c *agentauth.ProviderConfig) { c.Limits.KeyPerMinute = -1 })
		keys := new(keystore.Memory)
		type outcome struct {
			agentauth.Enrollment
			err error
		}
		outcomes := make(chan outcome)
		for range 2 {
			go func() {
				e, err := agentauth.Enroll(t.Context(), w.applicant(keys, func(agentauth.Waiting) {}))
				outcomes <- outcome{e, err}
			}()
		}
		time.Sleep(time.Minute)
		_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
		must(t, err)
		a, b := <-outcomes, <-outcomes
		if a.err != nil || b.err != nil || a.LocalKeyHandle != b.LocalKeyHandle || a.AgentTokenKid != b.AgentTokenKid || len(w.agents()) != 1 {
			t.Errorf("%v, %v; %v, %v", a, a.err, b, b.err)
		}
	})
}

// TestAnAnswerThatIsGoneTwice ends the asking.
func TestAnAnswerThatIsGoneTwice(t *testing.T) {
	p := &foreignProvider{t: t, instead: fails(410, `{"error":"invalid_code"}`)}
	if _, err := agentauth.Enroll(t.Context(), p.config()); statusOf(err) != 410 || len(p.requests) != 2 {
		t.Errorf("%v, after %d requests", err, len(p.requests))
	}
}

// TestEnrollmentWithAnInteraction: a provider may want a person to come to it, and
// one may put off without a place to ask.
func TestEnrollmentWithAnInteraction(t *testing.T) {
	const need = `requirement=interaction; url="https://ap.example/approve"; code="ABCD-1234"`
	for requirement, want := range map[string]agentauth.Interaction{
		need: {URL: "https://ap.example/approve", Code: "ABCD-1234"},
		"":   {}, "requirement=approval": {},
		strings.Replace(need, "https", "javascript", 1): {},
	} {
		ctx, stop := context.WithCancel(t.Context())
		var got []agentauth.Waiting
		p := &foreignProvider{t: t, instead: fails(202, `{"status":"pending"}`, "Location", "/p/1", "AAuth-Requirement", requirement)}
		c := p.config()
		c.Options.Waiting = func(_ context.Context, w agentauth.Waiting) { got = append(got, w); stop() }
		if _, err := agentauth.Enroll(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", requirement, err)
		}
		if len(got) != 1 || got[0].URL != issuer+"/p/1" || got[0].Interaction != want {
			t.Errorf("%s: %+v", requirement, got)
		}
	}
	p := &foreignProvider{t: t, instead: fails(202, `{"status":"pending"}`, "Location", "https://other.example/p/1")}
	if _, err := agentauth.Enroll(t.Context(), p.config()); err == nil || !strings.Contains(err.Error(), "no place on its own server") {
		t.Errorf("another server: %v", err)
	}
}

// TestWaitingIsToldOnce, also where an answer that was lost makes it begin again.
func TestWaitingIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &foreignProvider{t: t, refused: []http.HandlerFunc{
			fails(202, "", "Location", "/p/1"), fails(410, ""), fails(202, "", "Location", "/p/2"), fails(202, "", "Location", "/p/2"),
		}}
		var places []string
		c := p.config()
		c.Options.Waiting = func(_ context.Context, w agentauth.Waiting) { places = append(places, w.URL) }
		c.HTTP.Transport = local{"ap.example": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" && len(p.refused) == 0 {
				p.enroll(w, p.requests[0].body)
				return
			}
			r.Method = "POST" // for p, to which any GET is one of its metadata
			p.ServeHTTP(w, r)
		})}
		_, err := agentauth.Enroll(t.Context(), c)
		if diff := cmp.Diff([]string{issuer + "/p/1"}, places); err != nil || diff != "" || len(p.requests) != 4 {
			t.Errorf("%v, %d requests (-want +got):\n%s", err, len(p.requests), diff)
		}
	})
}
