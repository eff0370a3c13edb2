package agentauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

// TestAdmissionRefuses is item 5 of section 7.2: whether an identifier exists is
// told only to those who are admitted.
func TestAdmissionRefuses(t *testing.T) {
	admit := true
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = func(ctx context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
			if !admit {
				return agentauth.Admitted{}, fmt.Errorf("not welcome: %s", a.Thumbprint)
			}
			return agentauth.AdmitAnybody(ctx, a)
		}
	}})
	w.enroll(newEd25519(t), `{"agent_id":"aauth:a@ap.example"}`)
	admit = false
	taken := w.tryEnroll(newEd25519(t), `{"agent_id":"aauth:a@ap.example"}`)
	free := w.tryEnroll(newEd25519(t), `{"agent_id":"aauth:b@ap.example"}`)
	w.wantError(taken, 403, "denied")
	if taken.body != free.body || !cmp.Equal(taken.header, free.header) {
		t.Errorf("a taken identifier answers %s, a free one %s", taken.body, free.body)
	}

	closed := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Admission = nil }})
	closed.wantError(closed.tryEnroll(newEd25519(t), `{}`), 403, "denied")
}

// TestAdmissionDecides: what an admission says is what is issued.
func TestAdmissionDecides(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = func(_ context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
			return agentauth.Admitted{
				AgentID: "aauth:chosen@ap.example", PersonServer: "https://chosen.example", TokenLife: 10 * time.Minute,
				Claims: map[string]json.RawMessage{"team": json.RawMessage(`"blue"`)}, Scopes: []string{"read"}, By: "policy",
			}, nil
		}
	}})
	key := newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:asked@ap.example","ps":"https://asked.example"}`)
	_, claims := claimsOf(t, token)
	if claims["sub"] != "aauth:chosen@ap.example" || claims["ps"] != "https://chosen.example" || claims["team"] != "blue" || claims["exp"].(float64)-claims["iat"].(float64) != 600 {
		t.Errorf("claims: %v", claims)
	}
	if got := w.whoami(key, token).json(t)["Scopes"]; !cmp.Equal(got, []any{"read"}) {
		t.Errorf("scopes: %v", got)
	}
	w.clock.advance(time.Second)
	if _, claims := claimsOf(t, w.wantToken(w.refresh(key, agentauth.SignOptions{}))); claims["team"] != "blue" || claims["exp"].(float64)-claims["iat"].(float64) != 600 {
		t.Errorf("claims after a refresh: %v", claims)
	}
}

// TestAdmissionMustNotForge: an admission cannot say who an agent is but by the
// fields for that.
func TestAdmissionMustNotForge(t *testing.T) {
	for _, to := range []agentauth.Admitted{
		{Claims: map[string]json.RawMessage{"sub": json.RawMessage(`"aauth:b@ap.example"`)}},
		{Claims: map[string]json.RawMessage{"parent_agent": json.RawMessage(`"aauth:b@ap.example"`)}},
		{TokenLife: 25 * time.Hour}, {TokenLife: 5 * time.Minute}, {AgentID: "aauth:b@other.example"}, {AgentID: "aauth:a+b@ap.example"}, {PersonServer: "http://ps.example"},
	} {
		w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
			c.Admission = func(context.Context, agentauth.Applicant) (agentauth.Admitted, error) { return to, nil }
		}})
		if a := w.tryEnroll(newEd25519(t), `{}`); a.status == 200 || len(w.agents()) > 0 {
			t.Errorf("%+v: %d %s", to, a.status, a.body)
		}
	}
}
