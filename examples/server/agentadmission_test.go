package main_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// TestAgentAdmitsNobody starts with no admission at all.
func TestAgentAdmitsNobody(t *testing.T) {
	t.Parallel()
	p := newAgentServer(t, `{}`).start()
	admin := p.claim()
	for _, bearer := range []string{"", admin} {
		p.wantRefused("enrol", p.call(enrolment(newKeyPair(t), "", bearer)), 403, "denied")
	}
}

// TestAgentAdmittedByProvisioningKey gives agents what the key gives to runners,
// and lets nobody else in.
func TestAgentAdmittedByProvisioningKey(t *testing.T) {
	t.Parallel()
	p := newAgentServer(t, `{"admission":"keys"}`).start()
	admin := p.claim()
	fleet := p.newKey(admin, `{"key_id":"fleet","scopes":["tasks"],"per_hour":1000}`)
	key := newKeyPair(t)
	p.wantRefused("no key", p.call(enrolment(key, "", "")), 403, "denied")
	p.wantRefused("an admin key", p.call(enrolment(key, "", admin)), 403, "denied")
	p.wantRefused("no such key", p.call(enrolment(key, "", fleet+"0")), 403, "denied")
	uncovered := enrolment(key, "", "").request(t)
	uncovered.Header.Set("Authorization", "Bearer "+fleet)
	p.wantRefused("a key that the signature does not cover", p.send(uncovered), 401, "invalid_input")
	token := p.token("enrol", p.call(enrolment(key, "", fleet)))
	_, claims := readToken(t, token)
	got := p.wantCaller("whoami", p.call(whoamiBy(key, agentauth.SignOptions{Token: token})), "agent", claims.Subject)
	if len(got.Scopes) != 1 || got.Scopes[0] != "tasks" {
		t.Errorf("the agent has the scopes %q, want those of the key", got.Scopes)
	}
	for i, limit := range []string{`"max_uses":1`, `"max_pending":1`, `"runner_pattern":"sdr-*"`, `"networks":["127.0.0.0/8"]`} {
		limited := p.newKey(admin, fmt.Sprintf(`{"key_id":"limited-%d",%s}`, i, limit))
		p.wantRefused("a key with "+limit, p.call(enrolment(newKeyPair(t), "", limited)), 403, "denied")
	}
	if a := p.requestJSON("POST", "/api/provisioning/keys/fleet/toggle", "Bearer "+admin, `{"enabled":false}`); a.status != 200 {
		t.Fatalf("disable the key: got %d %s", a.status, a.body)
	}
	p.wantRefused("a disabled key", p.call(enrolment(newKeyPair(t), "", fleet)), 403, "denied")
	// Who is in needs no admission any more.
	p.token("enrol again", p.call(enrolment(key, "", "")))
	p.token("refresh", p.call(refreshment(key)))
}

// TestAgentAdmittedByCI has CI jobs make agents, if their publisher says so.
func TestAgentAdmittedByCI(t *testing.T) {
	t.Parallel()
	issuer := exchangetest.NewIssuer(t)
	issuer.Audience = ciAudience
	for scope, status := range map[string]int{"deploy": 403, "enroll_agents": 200} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			publisher := publisher("deploy", issuer.URL(), 15*time.Minute)
			publisher.Scopes = []string{scope}
			config, err := json.Marshal(map[string]any{
				"exchange": map[string]any{"audience": ciAudience, "insecure_loopback": true, "publishers": []exchange.Publisher{publisher}},
				"agents":   map[string]any{"admission": []string{"keys"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			in := newInstallation(t)
			in.configure(string(config))
			in.flags = append(in.flags, "-url", agentURL)
			p := in.start()
			_, ci := p.trade(issuer.GitHub(map[string]any{"jti": scope}))
			key := newKeyPair(t)
			a := p.call(enrolment(key, agentName("deployer"), ci))
			if a.status != status {
				t.Fatalf("a job with the scope %s: got %d %s, want %d", scope, a.status, a.body, status)
			}
			if status == 200 {
				token := p.token("enrol", a)
				if got := p.wantCaller("whoami", p.call(whoamiBy(key, agentauth.SignOptions{Token: token})), "agent", agentName("deployer")); len(got.Scopes) > 0 {
					t.Errorf("the agent has the scopes %q of a job that is over", got.Scopes)
				}
			}
		})
	}
}
