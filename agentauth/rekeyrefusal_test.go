package agentauth_test

import (
	"context"
	"crypto"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/keystore"
)

// TestRekeyRefuses: who asks must have both keys, and the new one must be nobody's.
func TestRekeyRefuses(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits = agentauth.ProviderLimits{PerMinute: -1, KeyPerMinute: -1}
		c.Admission = func(_ context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
			return agentauth.Admitted{Pending: a.AgentID == "aauth:waits@ap.example"}, nil
		}
	}})
	applicant := newEd25519(t)
	w.applyFor(applicant, `{"agent_id":"aauth:waits@ap.example"}`)
	key, other, fresh := newEd25519(t), newEd25519(t), newEd25519(t)
	token := w.enroll(key, `{"agent_id":"`+planner+`"}`)
	w.enroll(other, `{"agent_id":"aauth:x@ap.example"}`)
	runner := newEd25519(t)
	w.putAgent(runner, agent.Record{Name: "runner-1", JWK: []byte(jwkOf(t, runner, "Ed25519"))})
	theirs := newEd25519(t) // the next key of another
	w.wantToken(w.rekey(other, theirs))
	before := w.agents()

	by := func(signer crypto.Signer, o agentauth.SignOptions) func() answer {
		return func() answer {
			w.clock.advance(time.Second)
			return w.do(w.sign(w.request("POST", "/rekey", "{}"), signer, o))
		}
	}
	named := func(durable crypto.Signer, change map[string]any) func() answer {
		return func() answer {
			w.clock.advance(time.Second)
			return w.do(w.withMember(w.request("POST", "/rekey", "{}"), fresh, `jkt-jwt;jwt="`+w.naming(durable, fresh, change)+`"`))
		}
	}
	for _, tt := range []struct {
		name   string
		do     func() answer
		status int
		code   string
	}{
		{"unsigned", func() answer { return w.do(w.request("POST", "/rekey", "{}")) }, 401, "invalid_signature"},
		{"by the new key alone", by(fresh, agentauth.SignOptions{}), 401, "unsupported_scheme"},
		{"by the durable key alone", by(key, agentauth.SignOptions{}), 401, "unsupported_scheme"},
		{"by a token", by(key, agentauth.SignOptions{Token: token}), 401, "unsupported_scheme"},
		{"lent for minutes", by(fresh, agentauth.SignOptions{Durable: key}), 401, "invalid_jwt"},
		{"not true", named(key, map[string]any{"rekey": false}), 401, "invalid_jwt"},
		{"no truth", named(key, map[string]any{"rekey": "true"}), 401, "invalid_jwt"},
		{"no jti", named(key, map[string]any{"rekey": true, "jti": nil}), 401, "invalid_jwt"},
		{"for itself", by(key, agentauth.SignOptions{Durable: key, Rekey: true}), 401, "invalid_key"},
		{"a stranger's", by(fresh, agentauth.SignOptions{Durable: newEd25519(t), Rekey: true}), 403, "denied"},
		{"a runner's", by(fresh, agentauth.SignOptions{Durable: runner, Rekey: true}), 403, "denied"},
		{"by a next key", by(fresh, agentauth.SignOptions{Durable: theirs, Rekey: true}), 403, "denied"},
		{"another agent's", by(other, agentauth.SignOptions{Durable: key, Rekey: true}), 409, "conflict"},
		{"a runner's for its next", by(runner, agentauth.SignOptions{Durable: key, Rekey: true}), 409, "conflict"},
		{"an applicant's", by(applicant, agentauth.SignOptions{Durable: key, Rekey: true}), 409, "conflict"},
		{"another's next", by(theirs, agentauth.SignOptions{Durable: key, Rekey: true}), 409, "conflict"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			w.wantError(tt.do(), tt.status, tt.code)
		})
	}
	w.t = t
	once := named(key, map[string]any{"rekey": true, "jti": "once"})
	w.wantToken(once())
	w.wantError(once(), 401, "invalid_jwt")
	r := w.sign(w.request("POST", "/rekey", "{}"), fresh, agentauth.SignOptions{Durable: key, Rekey: true})
	w.wantToken(w.do(r))
	r.Body, _ = r.GetBody()
	w.wantError(w.do(r), 401, "invalid_signature")
	must(t, w.provider.DisableAgent(t.Context(), person, planner))
	w.wantStranger(key)
	w.wantStranger(fresh)
	before[thumbprint(t, fresh)] = planner
	if diff := cmp.Diff(before, w.agents()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestRekeyWantsTheDurableKey: there is nothing for another to take the place of.
func TestRekeyWantsTheDurableKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	if err := agentauth.SignRequest(w.request("POST", "/rekey", "{}"), newEd25519(t), agentauth.SignOptions{Rekey: true}); err == nil {
		t.Error("signed")
	}
}

// TestProviderKeyIsNoNextKey: whoever may sign tokens would be the agent.
func TestProviderKeyIsNoNextKey(t *testing.T) {
	keys := new(keystore.Memory)
	own, err := keys.Generate(t.Context(), keystore.KeyOptions{})
	must(t, err)
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Keys, err = agentauth.NewSigningKeys(c.Host, keys, "another")
		must(t, err)
		_, err = c.Keys.Add(t.Context(), principal("admin"), own.Handle())
		must(t, err)
	}})
	key := newEd25519(t)
	w.enroll(key, `{"agent_id":"`+planner+`"}`)
	w.wantError(w.rekey(key, own), 400, "invalid_request")
	w.wantPublished(planner, key)
}

// TestRekeyingIsLimited: each switch leaves a record for good.
func TestRekeyingIsLimited(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits = agentauth.ProviderLimits{PerMinute: -1, KeyPerMinute: -1}
	}})
	key := newEd25519(t)
	w.enroll(key, `{"agent_id":"`+planner+`"}`)
	next := newEd25519(t)
	for i := range 20 {
		if next = newEd25519(t); i == 0 {
			w.wantToken(w.rekey(key, next))
			w.wantToken(w.later(next, agentauth.SignOptions{}))
			key = next
			continue
		}
		w.wantToken(w.rekey(key, next))
	}
	a := w.rekey(key, newEd25519(t))
	w.wantError(a, 429, string(keywright.CodeRateLimited))
	if a.header.Get("Retry-After") != "3600" {
		t.Errorf("Retry-After: %q", a.header.Get("Retry-After"))
	}
	w.wantToken(w.rekey(key, next)) // what is noted already is no other
	w.clock.advance(24 * time.Hour)
	w.wantToken(w.rekey(key, newEd25519(t)))
}
