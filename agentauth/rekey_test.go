package agentauth_test

import (
	"crypto"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

const planner = "aauth:planner@ap.example"

// rekey asks for next to be the next key of the agent that has durable, in a second
// of its own.
func (w *world) rekey(durable, next crypto.Signer) answer {
	w.t.Helper()
	w.clock.advance(time.Second)
	return w.do(w.sign(w.request("POST", "/rekey", "{}"), next, agentauth.SignOptions{Durable: durable, Rekey: true}))
}

// later is refresh in a second of its own.
func (w *world) later(key crypto.Signer, o agentauth.SignOptions) answer {
	w.t.Helper()
	w.clock.advance(time.Second)
	return w.refresh(key, o)
}

// published are the ids of the keys of an agent.
func (w *world) published(id string) []string {
	w.t.Helper()
	var set struct {
		Keys []struct {
			ID string `json:"kid"`
		} `json:"keys"`
	}
	a := w.do(w.request("GET", "/agents/"+id+"/jwks.json", ""))
	must(w.t, json.Unmarshal([]byte(a.body), &set))
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.ID)
	}
	return kids
}

func (w *world) wantPublished(id string, keys ...crypto.Signer) {
	w.t.Helper()
	var want []string
	for _, k := range keys {
		want = append(want, thumbprint(w.t, k))
	}
	if diff := cmp.Diff(want, w.published(id)); diff != "" {
		w.t.Errorf("published keys (-want +got):\n%s", diff)
	}
}

// wantStranger wants key to be told what a key is told that nobody knows, wherever
// an agent could come back.
func (w *world) wantStranger(key crypto.Signer) {
	w.t.Helper()
	unknown := newEd25519(w.t)
	for name, try := range map[string]func(crypto.Signer) answer{
		"refresh": func(k crypto.Signer) answer { return w.later(k, agentauth.SignOptions{}) },
		"by two keys": func(k crypto.Signer) answer {
			return w.later(newEd25519(w.t), agentauth.SignOptions{Durable: k})
		},
		"rekey": func(k crypto.Signer) answer { return w.rekey(k, newEd25519(w.t)) },
	} {
		got, want := try(key), try(unknown)
		w.wantError(got, 403, "denied")
		if got.body != want.body || !cmp.Equal(got.header, want.header) {
			w.t.Errorf("%s: %s %v, one who is unknown %s %v", name, got.body, got.header, want.body, want.header)
		}
	}
}

// TestAgentRotatesItsKey is all of it: publish, wait, switch, retire.
func TestAgentRotatesItsKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	w.mux.Handle("/signed", w.verifier.Require(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK, agentauth.SchemeJWKS}})(whoami))
	signed := func(key crypto.Signer, url string) answer {
		w.clock.advance(time.Second)
		return w.do(w.sign(w.request("GET", "/signed", ""), key, agentauth.SignOptions{URL: url, KeyID: thumbprint(t, key)}))
	}
	old, next := newEd25519(t), newP256(t)
	url := issuer + "/agents/" + planner + "/jwks.json"
	oldToken := w.enroll(old, `{"agent_id":"`+planner+`"}`)
	if m := w.do(w.request("GET", agentauth.MetadataPath, "")).json(t); m["rekey_endpoint"] != issuer+"/rekey" {
		t.Errorf("metadata: %v", m)
	}

	a := w.rekey(old, next)
	nextToken := w.wantToken(a)
	want := map[string]any{"agent_id": planner, "key_id": thumbprint(t, next), "jwks_uri": url, "agent_token": nextToken, "expires_in": 3600.0}
	if diff := cmp.Diff(want, a.json(t)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	added := w.clock.Now()
	w.wantAgent(w.whoami(next, nextToken), planner)
	w.wantAgent(w.whoami(old, oldToken), planner)
	w.wantError(w.whoami(old, nextToken), 401, "invalid_signature")
	w.wantPublished(planner, old, next)
	for _, key := range []crypto.Signer{old, next} {
		w.wantAgent(signed(key, ""), planner)
		w.wantAgent(signed(key, url), planner)
	}
	w.wantToken(w.later(old, agentauth.SignOptions{}))
	w.wantToken(w.later(newEd25519(t), agentauth.SignOptions{Durable: old}))
	again := w.rekey(old, next)
	want["agent_token"] = w.wantToken(again)
	if diff := cmp.Diff(want, again.json(t)); diff != "" || want["agent_token"] == nextToken {
		t.Errorf("asked again (-want +got):\n%s", diff)
	}
	w.wantAgentView(agentauth.Agent{Thumbprint: thumbprint(t, old), NextKey: thumbprint(t, next), NextKeyAdded: added})

	w.wantToken(w.later(next, agentauth.SignOptions{}))
	since := w.clock.Now()
	w.wantPublished(planner, next)
	w.wantStranger(old)
	w.wantError(w.tryEnroll(old, `{}`), 403, "denied")
	w.wantError(signed(old, ""), 403, "denied")
	w.wantError(signed(old, url), 401, "unknown_key")
	w.wantAgent(signed(next, url), planner)
	w.wantAgent(w.whoami(old, oldToken), planner) // until it ends
	w.wantAgent(w.whoami(next, nextToken), planner)
	w.wantAgentView(agentauth.Agent{Thumbprint: thumbprint(t, next), KeySince: since})
	w.wantToken(w.later(next, agentauth.SignOptions{}))
	if diff := cmp.Diff([]string{
		"agent.enrolled", "agent.key_switched", "agent.refreshed", "agent.refreshed", "agent.refreshed", "agent.rekeyed", "agent.rekeyed_again",
	}, w.eventNames()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// wantAgentView wants the one agent to be described so, by both calls.
func (w *world) wantAgentView(want agentauth.Agent) {
	w.t.Helper()
	want.ID, want.KeyID, want.AdmittedBy, want.Created = planner, want.Thumbprint, "anybody", time.Unix(1_767_225_600, 0)
	one, err := w.provider.Agent(w.t.Context(), planner)
	must(w.t, err)
	all, err := w.provider.Agents(w.t.Context(), "", 0)
	must(w.t, err)
	if diff := cmp.Diff([]agentauth.Agent{want, want}, append(all, one)); diff != "" {
		w.t.Errorf("agents (-want +got):\n%s", diff)
	}
}

// TestNextKeyIsReplaced: of two next keys the last counts, and the first is
// nobody's again. The tokens that it got are good until they end.
func TestNextKeyIsReplaced(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, first, second := newEd25519(t), newEd25519(t), newEd25519(t)
	w.enroll(key, `{"agent_id":"`+planner+`"}`)
	token := w.wantToken(w.rekey(key, first))
	w.wantToken(w.rekey(key, second))
	w.wantPublished(planner, key, second)
	w.wantStranger(first)
	w.wantAgent(w.whoami(first, token), planner)
	w.enroll(first, `{"agent_id":"aauth:b@ap.example"}`)
	w.wantError(w.rekey(key, first), 409, "conflict")
	w.wantToken(w.later(second, agentauth.SignOptions{}))
	w.wantStranger(key)
}

// TestFirstUseSwitches: whichever way the next key comes.
func TestFirstUseSwitches(t *testing.T) {
	for name, use := range map[string]func(w *world, next crypto.Signer) answer{
		"refresh": func(w *world, next crypto.Signer) answer { return w.refresh(next, agentauth.SignOptions{}) },
		"refresh by two keys": func(w *world, next crypto.Signer) answer {
			return w.refresh(newEd25519(w.t), agentauth.SignOptions{Durable: next})
		},
		"enrol":             func(w *world, next crypto.Signer) answer { return w.tryEnroll(next, `{}`) },
		"enrol by its name": func(w *world, next crypto.Signer) answer { return w.tryEnroll(next, `{"agent_id":"`+planner+`"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
				c.Limits.TokenLife = 2 * time.Hour
			}})
			old, next := newEd25519(t), newEd25519(t)
			oldToken := w.enroll(old, `{"agent_id":"`+planner+`","ps":"https://ps.example"}`)
			w.wantToken(w.rekey(old, next))
			w.clock.advance(10 * time.Minute)
			w.wantError(w.tryEnroll(next, `{"agent_id":"aauth:b@ap.example"}`), 409, "conflict")
			w.wantPublished(planner, old, next)
			a := use(w, next)
			_, claims := claimsOf(t, w.wantToken(a))
			if claims["sub"] != planner || claims["ps"] != "https://ps.example" {
				t.Errorf("claims: %v", claims)
			}
			w.wantPublished(planner, next)
			w.wantStranger(old)
			w.wantAgent(w.whoami(old, oldToken), planner)
			// The answer to /rekey may have been lost, and be asked for again.
			again := w.rekey(old, next)
			w.wantAgent(w.whoami(next, w.wantToken(again)), planner)
			if again.json(t)["key_id"] != thumbprint(t, next) {
				t.Errorf("answer: %s", again.body)
			}
			w.wantError(w.rekey(next, old), 409, "conflict") // not back to the key before
			third := newEd25519(t)
			w.wantToken(w.rekey(next, third))
			w.wantToken(w.later(third, agentauth.SignOptions{}))
			w.wantError(w.rekey(old, next), 403, "denied")
			w.wantAgent(w.whoami(old, oldToken), planner)
			w.wantPublished(planner, third)
		})
	}
}
