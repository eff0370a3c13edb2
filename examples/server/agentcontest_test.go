package main_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// kindAgent is the store kind of agents, and of runners with a key pair.
const kindAgent = "agent"

// owners returns which key has each agent identifier.
func (in *installation) owners() map[string]string {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	all := make(map[string]string)
	for r, err := range host.Store.List(in.t.Context(), store.Query{Kind: agentauth.KindAgentID}) {
		in.check(err)
		var owner struct {
			Thumbprint string `json:"jkt"`
		}
		in.check(json.Unmarshal(r.Data, &owner))
		all[r.ID] = owner.Thumbprint
	}
	return all
}

// TestAgentContest has many keys ask four processes for one name: one gets it,
// and keeps it.
func TestAgentContest(t *testing.T) {
	t.Parallel()
	for range rounds(1, 20) {
		in := newAgentServer(t, openAgents)
		all := in.startAll(4)
		id := agentName("planner")
		keys := make([]ed25519.PrivateKey, 100)
		for i := range keys {
			keys[i] = newKeyPair(t)
		}
		answers := race(t, all, len(keys), func(_ *process, i int) string { return enrolment(keys[i], id, "").wire(t) })
		winner := -1
		for i, a := range answers {
			switch {
			case a.status == 200 && winner < 0:
				winner = i
				all[0].token("the winner", a)
			case a.status != 409:
				t.Errorf("got %d %s, want one 200 and 409 for all others", a.status, a.body)
			}
		}
		if winner < 0 {
			t.Fatal("nobody got the name")
		}
		if owners := in.owners(); in.count(kindAgent) != 1 || len(owners) != 1 {
			t.Errorf("%d agents and the owners %v, want one", in.count(kindAgent), owners)
		}
		for i, p := range all {
			p.token(fmt.Sprint("the winner at process ", i), p.call(enrolment(keys[winner], id, "")))
			p.wantRefused("a loser", p.call(enrolment(keys[(winner+1)%len(keys)], id, "")), 409, "agent_id_in_use")
			p.kill()
		}
	}
}

// TestAgentEnrolsAtOnce has one key enrol many times at one instant, as an agent
// does that gives up early and asks again: it is one agent, and always told so.
func TestAgentEnrolsAtOnce(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, openAgents)
	all := in.startAll(4)
	key, id := newKeyPair(t), agentName("planner")
	enrolled := 0
	for _, a := range race(t, all, 40, func(*process, int) string { return enrolment(key, id, "").wire(t) }) {
		switch a.status {
		case 200:
			all[0].token("enrol", a)
			enrolled++
		case 503: // it may be sent again
		default:
			t.Errorf("got %d %s, want 200", a.status, a.body)
		}
	}
	if agents := in.count(kindAgent); enrolled == 0 || agents != 1 {
		t.Errorf("%d answers with a token, and %d agents, want one", enrolled, agents)
	}
}

// TestAgentNoReplay sends one request many times at one instant, to all
// processes: it counts once.
func TestAgentNoReplay(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, openAgents)
	all := in.startAll(4)
	key, other := newKeyPair(t), newKeyPair(t)
	all[0].enrolAgent(key, "")
	for _, tt := range []struct {
		name string
		call signedCall
		code string // of a replay
	}{
		{"refresh", refreshment(key), "invalid_signature"},
		{"refresh with two keys", refreshmentBy(key, other), "invalid_jwt"},
		{"enrol", enrolment(key, "", ""), "invalid_signature"},
	} {
		text, good := tt.call.wire(t), 0
		for _, a := range race(t, all, 40, func(*process, int) string { return text }) {
			if a.status == 200 {
				all[0].token(tt.name, a)
				good++
			} else {
				all[0].wantRefused(tt.name, a, 401, tt.code)
			}
		}
		if good != 1 {
			t.Errorf("%s: one request counted %d times", tt.name, good)
		}
	}
}
