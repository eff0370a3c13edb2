package main_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

const agentsAPI = "/api/aauth/agents"

// manage calls the admin API and wants an answer of status.
func (p *process) manage(admin, method, path, body string, status int) answer {
	p.in.t.Helper()
	a := p.requestJSON(method, agentsAPI+path, "Bearer "+admin, body)
	if a.status != status {
		p.in.t.Fatalf("%s %s: got %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

func publicJWK(key ed25519.PrivateKey) string {
	x := base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	return `{"kty":"OKP","crv":"Ed25519","x":"` + x + `","alg":"Ed25519"}`
}

// An enrolled agent has a token, and one for a sub-agent.
type enrolled struct {
	id              string
	key, subKey     ed25519.PrivateKey
	token, subToken string
	keyURL, keyID   string
}

func (p *process) newEnrolled(local string) enrolled {
	p.in.t.Helper()
	e := enrolled{id: agentName(local), key: newKeyPair(p.in.t), subKey: newKeyPair(p.in.t)}
	a := p.call(enrolment(e.key, e.id, ""))
	e.token = p.token("enrol", a)
	var got struct {
		KeyID   string `json:"key_id"`
		JWKSURI string `json:"jwks_uri"`
	}
	p.in.check(json.Unmarshal([]byte(a.body), &got))
	e.keyURL, e.keyID = got.JWKSURI, got.KeyID
	e.subToken = p.token("sub-agent", p.call(e.subAgent()))
	return e
}

func (e enrolled) subAgent() signedCall {
	body := `{"discriminator":"search","jwk":` + publicJWK(e.subKey) + `}`
	return signedCall{method: "POST", path: "/subagent", body: body, key: e.key, options: agentauth.SignOptions{Token: e.token}}
}

// wantEverywhere calls all processes in all ways that the agent may. A status of
// 200 means that it is known there. Nobody publishes the key of another.
func (e enrolled) wantEverywhere(all []*process, when string, status int) {
	byURL := status
	if status != 200 {
		byURL = 401
	}
	for i, p := range all {
		for _, tt := range []struct {
			name   string
			call   signedCall
			status int
		}{
			{"whoami by token", whoamiBy(e.key, agentauth.SignOptions{Token: e.token}), status},
			{"whoami by key", whoamiBy(e.key, agentauth.SignOptions{}), status},
			{"whoami by the URL of its key", whoamiBy(e.key, agentauth.SignOptions{URL: e.keyURL, KeyID: e.keyID}), byURL},
			{"whoami by its sub-agent", whoamiBy(e.subKey, agentauth.SignOptions{Token: e.subToken}), status},
			{"refresh", refreshment(e.key), status},
			{"sub-agent", e.subAgent(), status},
		} {
			if a := p.call(tt.call); a.status != tt.status {
				p.in.t.Errorf("%s, %s at process %d: got %d %s, want %d", when, tt.name, i, a.status, a.body, tt.status)
			}
		}
	}
}

// TestAgentDisabledEverywhere disables an agent in one process: the next request
// in every other is refused.
func TestAgentDisabledEverywhere(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, openAgents)
	all := in.startAll(4)
	admin := all[0].claim()
	e := all[1].newEnrolled("planner")
	other := all[2].newEnrolled("bystander")
	e.wantEverywhere(all, "enrolled", 200)
	for i, p := range all[:rounds(2, 4)] {
		p.manage(admin, "POST", "/"+e.id+"/disable", "", 200)
		e.wantEverywhere(all, fmt.Sprint("disabled at ", i), 403)
		all[0].wantRefused("enrol while disabled", all[0].call(enrolment(e.key, e.id, "")), 403, "denied")
		p.manage(admin, "POST", "/"+e.id+"/enable", "", 200)
		e.wantEverywhere(all, fmt.Sprint("enabled at ", i), 200)
	}
	other.wantEverywhere(all, "another agent", 200)
	for i, p := range all { // each of which answers an address 60 times a minute
		p.kill()
		all[i] = in.start()
	}
	all[3].manage(admin, "POST", "/"+e.id+"/ban", "", 200)
	e.wantEverywhere(all, "banned", 403)
	all[2].manage(admin, "POST", "/"+e.id+"/enable", "", 409)
	all[1].manage(admin, "DELETE", "/"+e.id, "", 200)
	e.wantEverywhere(all, "deleted", 403)
	all[1].manage(admin, "GET", "/"+e.id, "", 404)
	all[0].wantRefused("its name", all[0].call(enrolment(newKeyPair(t), e.id, "")), 409, "agent_id_in_use")
	other.wantEverywhere(all, "another agent, in the end", 200)
}

// TestAgentAdmins lets those manage agents who may, and nobody else.
func TestAgentAdmins(t *testing.T) {
	t.Parallel()
	p := newAgentServer(t, openAgents).start()
	admin := p.claim()
	e := p.newEnrolled("planner")
	list := p.manage(admin, "GET", "", "", 200)
	if !strings.Contains(list.body, `"`+e.id+`"`) {
		t.Errorf("the list is %s, want %s in it", list.body, e.id)
	}
	fleet := p.newKey(admin, `{"key_id":"fleet"}`)
	for what, key := range map[string]string{"a provisioning key": fleet, "no such key": admin + "0"} {
		for _, path := range []string{"", "/secrets", "/pending", "/" + e.id} {
			if a := p.get(agentsAPI+path, "Bearer "+key); a.status != 401 && a.status != 403 {
				t.Errorf("%s at %s: got %d %s, want a refusal", what, path, a.status, a.body)
			}
		}
	}
	for what, c := range map[string]signedCall{
		"an agent": {method: "GET", path: agentsAPI, key: e.key, options: agentauth.SignOptions{Token: e.token}},
		"its key":  {method: "GET", path: agentsAPI, key: e.key},
	} {
		if a := p.call(c); a.status != 401 && a.status != 403 {
			t.Errorf("%s: got %d %s, want a refusal", what, a.status, a.body)
		}
	}
	// The runners' API beside it is still that of runners.
	p.wantShownNone(admin)
}

// wantShownNone wants no runner at both of their paths.
func (p *process) wantShownNone(admin string) {
	p.in.t.Helper()
	for _, path := range []string{"/api/agents", "/api/runners"} {
		if a := p.get(path, "Bearer "+admin); a.status != 200 || strings.Contains(a.body, "aauth:") {
			p.in.t.Errorf("%s: got %d %s, want no agents", path, a.status, a.body)
		}
	}
}

// TestAgentAdminSession has somebody who has logged in make an enrolment secret.
func TestAgentAdminSession(t *testing.T) {
	t.Parallel()
	for permissions, status := range map[string]int{`null`: 201, `[]`: 403} {
		in := newInstallation(t)
		login := strings.TrimSuffix(adminJSON(t, "yourpassword"), "}") + `,"permissions":` + permissions + `}`
		in.configure(`{"agents":` + openAgents + `,"admin":` + login + `}`)
		in.flags = append(in.flags, "-url", agentURL)
		b := in.start().mustLogin("yourpassword")
		a := b.send("POST", agentsAPI+"/secrets", b.csrf, `{}`)
		if a.status != status {
			t.Errorf("permissions %s: got %d %s, want %d", permissions, a.status, a.body, status)
		}
		if a := b.send("POST", agentsAPI+"/secrets", "", `{}`); a.status != 403 {
			t.Errorf("permissions %s, without the token for CSRF: got %d %s, want 403", permissions, a.status, a.body)
		}
	}
}

// newSecret makes an enrolment secret.
func (p *process) newSecret(admin, settings string) string {
	p.in.t.Helper()
	var got struct {
		Secret string `json:"secret"`
	}
	a := p.manage(admin, "POST", "/secrets", settings, 201)
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Secret == "" {
		p.in.t.Fatalf("secret: got %s", a.body)
	}
	p.in.hide(got.Secret)
	return got.Secret
}

// TestAgentSecretContest has many agents enrol at one instant at four processes
// with a secret of ten uses: ten become agents.
func TestAgentSecretContest(t *testing.T) {
	t.Parallel()
	for range rounds(1, 20) {
		in := newAgentServer(t, `{"admission":"secrets"}`)
		all := in.startAll(4)
		secret := all[0].newSecret(all[0].claim(), `{"uses":10,"scopes":["tasks"]}`)
		keys := make([]ed25519.PrivateKey, 60)
		for i := range keys {
			keys[i] = newKeyPair(t)
		}
		var winners []int
		for i, a := range race(t, all, len(keys), func(_ *process, i int) string { return enrolment(keys[i], "", secret).wire(t) }) {
			if a.status == 200 {
				all[0].token("enrol", a)
				winners = append(winners, i)
			} else {
				all[0].wantRefused("enrol", a, 403, "denied")
			}
		}
		if agents := in.count(kindAgent); len(winners) != 10 || agents != 10 {
			t.Errorf("%d answers with a token and %d agents, want 10", len(winners), agents)
		}
		for i, p := range all {
			p.wantRefused("a late one", p.call(enrolment(newKeyPair(t), "", secret)), 403, "denied")
			// Who is in needs no secret any more, and uses none up.
			key := keys[winners[i]]
			_, claims := readToken(t, p.token("enrol again", p.call(enrolment(key, "", secret))))
			if got := p.wantCaller("whoami", p.call(whoamiBy(key, agentauth.SignOptions{})), "agent", claims.Subject); !slices.Equal(got.Scopes, []string{"tasks"}) {
				t.Errorf("scopes: got %q, want those of the secret", got.Scopes)
			}
			p.kill()
		}
	}
}

// TestAgentApproved has an administrator decide in one process, and the agent
// hear of it in another.
func TestAgentApproved(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, `{"admission":["secrets","approval"]}`)
	all := in.startAll(2)
	admin := all[0].claim()
	for name, status := range map[string]int{"approve": 200, "deny": 403} {
		key, id := newKeyPair(t), agentName(name)
		asked := all[0].call(enrolment(key, id, ""))
		path, ours := strings.CutPrefix(asked.header.Get("Location"), agentURL)
		if asked.status != 202 || !ours {
			t.Fatalf("enrol: got %d %s %v, want 202 and where to ask", asked.status, asked.body, asked.header)
		}
		poll := signedCall{method: "GET", path: path, key: key}
		if a := all[1].call(poll); a.status != 202 {
			t.Errorf("before the decision: got %d %s, want 202", a.status, a.body)
		}
		all[1].wantRefused("whoami", all[1].call(whoamiBy(key, agentauth.SignOptions{})), 403, "denied")
		var list struct {
			Pending []struct {
				ID      string `json:"application_id"`
				AgentID string `json:"agent_id"`
			}
		}
		in.check(json.Unmarshal([]byte(all[1].manage(admin, "GET", "/pending", "", 200).body), &list))
		if len(list.Pending) != 1 || list.Pending[0].AgentID != id {
			t.Fatalf("pending: got %+v, want one for %s", list.Pending, id)
		}
		all[1].manage(admin, "POST", "/pending/"+list.Pending[0].ID+"/"+name, "", 200)
		if a := all[0].call(poll); a.status != status {
			t.Errorf("after %s: got %d %s, want %d", name, a.status, a.body, status)
		} else if status == 200 {
			all[0].token("the first token", a)
		}
		if a := all[1].call(whoamiBy(key, agentauth.SignOptions{})); a.status != status {
			t.Errorf("whoami after %s: got %d %s, want %d", name, a.status, a.body, status)
		}
	}
	all[0].token("a secret needs nobody", all[0].call(enrolment(newKeyPair(t), "", all[0].newSecret(admin, `{}`))))
}
