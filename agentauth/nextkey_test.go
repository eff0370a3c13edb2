package agentauth_test

import (
	"context"
	"crypto"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
)

// A rotated is an agent with two keys, each with a token that a verifier knows and
// one that it does not.
type rotated struct {
	*world
	old, next crypto.Signer
	tokens    map[string]crypto.Signer // with their keys
}

// newRotated enrols an agent and notes its next key, which also takes the place of
// the old one where that is switched.
func newRotated(t *testing.T, switched bool) *rotated {
	t.Helper()
	r := &rotated{
		world: newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
			c.Limits = agentauth.ProviderLimits{PerMinute: -1, KeyPerMinute: -1}
		}}),
		old: newEd25519(t), next: newEd25519(t),
	}
	r.enroll(r.old, `{"agent_id":"`+planner+`"}`)
	r.tokens = map[string]crypto.Signer{r.wantToken(r.later(r.old, agentauth.SignOptions{})): r.old}
	r.tokens[r.wantToken(r.rekey(r.old, r.next))] = r.next
	r.use()
	r.tokens[r.wantToken(r.later(r.old, agentauth.SignOptions{}))] = r.old
	r.tokens[r.wantToken(r.rekey(r.old, r.next))] = r.next
	if switched {
		r.tokens[r.wantToken(r.later(r.next, agentauth.SignOptions{}))] = r.next
	}
	return r
}

// use signs with every token.
func (r *rotated) use() {
	r.t.Helper()
	for token, key := range r.tokens {
		r.wantAgent(r.whoami(key, token), planner)
	}
}

func (r *rotated) wantNoUse() {
	r.t.Helper()
	for token, key := range r.tokens {
		r.wantError(r.whoami(key, token), 403, "denied")
	}
}

// TestEndingReachesBothKeys: an agent that is disabled, banned or deleted is so with
// all the keys that it has or had, at once.
func TestEndingReachesBothKeys(t *testing.T) {
	for name, end := range map[string]func(p *agentauth.Provider, ctx context.Context, actor keywright.Principal, id string) error{
		"disabled": (*agentauth.Provider).DisableAgent, "banned": (*agentauth.Provider).BanAgent, "deleted": (*agentauth.Provider).DeleteAgent,
	} {
		for _, switched := range []bool{false, true} {
			r := newRotated(t, switched)
			must(t, end(r.provider, t.Context(), person, planner))
			r.wantNoUse()
			r.wantStranger(r.old)
			r.wantStranger(r.next)
			if name == "disabled" {
				must(t, r.provider.EnableAgent(t.Context(), person, planner))
				r.use()
				r.wantToken(r.later(r.next, agentauth.SignOptions{}))
				r.wantStranger(r.old)
				continue
			}
			if name == "banned" {
				r.wantError(r.tryEnroll(r.old, `{}`), 403, "denied")
				r.wantError(r.tryEnroll(r.next, `{}`), 403, "denied")
				continue
			}
			r.wantDeleted(switched)
		}
	}
}

// wantDeleted wants the durable key to be welcome again, under its identifier and
// without its tokens; and no key that was left.
func (r *rotated) wantDeleted(switched bool) {
	r.t.Helper()
	owner, other := r.old, r.next
	if switched {
		owner, other = r.next, r.old
	}
	r.clock.advance(time.Second)
	if switched {
		r.wantError(r.tryEnroll(other, `{}`), 403, "denied")
	} else {
		r.wantError(r.tryEnroll(other, `{"agent_id":"`+planner+`"}`), 409, "agent_id_in_use")
		r.enroll(other, `{"agent_id":"aauth:free@ap.example"}`)
	}
	token := r.enroll(owner, `{"agent_id":"`+planner+`"}`)
	r.wantAgent(r.whoami(owner, token), planner)
	r.wantNoUse()
}

// TestRevokingReachesBothKeys: tokens are revoked by the agent, whatever key they
// are bound to.
func TestRevokingReachesBothKeys(t *testing.T) {
	w, s, ps := newRevocation(t)
	old, next := newEd25519(t), newEd25519(t)
	const id = "aauth:x@127.0.0.1"
	w.enrollAt(s, old, `{"agent_id":"`+id+`","ps":"`+ps.url+`"}`)
	call := func(path string, key crypto.Signer, o agentauth.SignOptions) {
		r := httptest.NewRequest("POST", s.url+path, strings.NewReader("{}"))
		r.RequestURI = r.URL.RequestURI()
		r.Header.Set("Content-Type", "application/json")
		w.clock.advance(time.Second)
		w.wantToken(w.do(w.sign(r, key, o)))
	}
	call("/rekey", next, agentauth.SignOptions{Durable: old, Rekey: true})
	call("/refresh", next, agentauth.SignOptions{})
	must(t, w.provider.RevokeTokens(t.Context(), person, id))
	if len(ps.revoked) != 3 || w.count(agentauth.KindRevoked) != 3 {
		t.Errorf("revoked %v, want three tokens", ps.revoked)
	}
}

// TestSubAgentsSurviveTheSwitch, and are made by tokens of the key that was left
// while they last.
func TestSubAgentsSurviveTheSwitch(t *testing.T) {
	w := newWorld(t, worldConfig{})
	old, next, sub := newEd25519(t), newEd25519(t), newEd25519(t)
	token := w.enroll(old, `{"agent_id":"`+planner+`"}`)
	made := func(key crypto.Signer, name string) string {
		t.Helper()
		w.clock.advance(time.Second)
		return w.wantToken(w.subAgent(old, token, subAgentBody(t, key, "Ed25519", name)))
	}
	before := made(sub, "a")
	const id = "aauth:planner+a@ap.example"
	w.wantAgent(w.whoami(sub, before), id)
	w.wantToken(w.rekey(old, next))
	w.wantError(w.subAgent(old, token, subAgentBody(t, next, "Ed25519", "b")), 400, "invalid_request")
	w.wantToken(w.later(next, agentauth.SignOptions{}))
	w.wantAgent(w.whoami(sub, before), id)
	after := made(sub, "a")
	w.wantAgent(w.whoami(sub, after), id)
	w.wantError(w.subAgent(old, token, subAgentBody(t, next, "Ed25519", "b")), 400, "invalid_request")
	must(t, w.provider.DisableAgent(t.Context(), person, planner))
	w.wantError(w.whoami(sub, before), 403, "denied")
	w.wantError(w.whoami(sub, after), 403, "denied")
	w.wantError(w.subAgent(old, token, subAgentBody(t, newEd25519(t), "Ed25519", "b")), 403, "denied")
}

// TestNameOfTheFirstKeyStays: an agent that is called like its first key is so with
// the next one too, and nobody else is.
func TestNameOfTheFirstKeyStays(t *testing.T) {
	w := newWorld(t, worldConfig{})
	old, next, other := newEd25519(t), newEd25519(t), newEd25519(t)
	w.enroll(old, `{}`)
	w.enroll(other, `{}`)
	id := "aauth:" + thumbprint(t, old) + "@ap.example"
	w.wantToken(w.rekey(old, next))
	w.clock.advance(time.Second)
	w.wantAgent(w.whoami(next, w.enroll(next, `{"agent_id":"`+id+`"}`)), id)
	w.wantError(w.tryEnroll(newEd25519(t), `{"agent_id":"`+id+`"}`), 400, "invalid_request")
	w.wantError(w.tryEnroll(other, `{"agent_id":"`+id+`"}`), 409, "conflict")
	must(t, w.provider.DeleteAgent(t.Context(), person, id))
	w.clock.advance(time.Second)
	w.wantError(w.tryEnroll(newEd25519(t), `{"agent_id":"`+id+`"}`), 400, "invalid_request")
	w.wantAgent(w.whoami(next, w.enroll(next, `{"agent_id":"`+id+`"}`)), id)
}

// TestThiefRekeysFirst: whoever has a copy of the durable key can take the agent, but
// not without a trace: the owner is refused, and sees why; and until the thief
// switches, the owner's own next key ends the thief's.
func TestThiefRekeysFirst(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, thief, mine := newEd25519(t), newEd25519(t), newEd25519(t)
	w.enroll(key, `{"agent_id":"`+planner+`"}`)
	w.wantToken(w.rekey(key, thief))
	if a, err := w.provider.Agent(t.Context(), planner); err != nil || a.NextKey != thumbprint(t, thief) {
		t.Errorf("agent %+v, %v", a, err)
	}
	w.wantToken(w.rekey(key, mine))
	w.wantError(w.later(thief, agentauth.SignOptions{}), 403, "denied")
	w.wantToken(w.rekey(key, thief))
	w.wantToken(w.later(thief, agentauth.SignOptions{}))
	w.wantStranger(key)
	w.wantError(w.later(mine, agentauth.SignOptions{}), 403, "denied")
	var told []string // the latest first
	for e, err := range w.host.Events(t.Context(), "") {
		must(t, err)
		if e.Target == planner && (e.Attrs["next"] != "" || e.Attrs["retired"] != "") {
			told = append(told, e.Name+" "+e.Actor+" "+e.Attrs["next"]+e.Attrs["retired"])
		}
	}
	k, th, m := thumbprint(t, key), thumbprint(t, thief), thumbprint(t, mine)
	if diff := cmp.Diff([]string{"agent.key_switched " + th + " " + k, "agent.rekeyed " + k + " " + th, "agent.rekeyed " + k + " " + m, "agent.rekeyed " + k + " " + th}, told); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestLeftKeysStayNobodys: no provider of the host enrols a key that an agent has left
// or is to have, nor takes it for a next key.
func TestLeftKeysStayNobodys(t *testing.T) {
	for _, switched := range []bool{false, true} {
		r := newRotated(t, switched)
		other := r.anotherProvider("https://other.example")
		elsewhere := *r.world
		elsewhere.mux = http.NewServeMux()
		other.Register(elsewhere.mux, "")
		mine := newEd25519(t)
		at := func(path string, key crypto.Signer, o agentauth.SignOptions) answer {
			r.clock.advance(time.Second)
			return elsewhere.do(r.sign(r.request("POST", path, "{}"), key, o))
		}
		r.wantToken(at("/enrol", mine, agentauth.SignOptions{}))
		for _, key := range []crypto.Signer{r.old, r.next} {
			r.wantError(at("/enrol", key, agentauth.SignOptions{}), 409, "conflict")
			r.wantError(at("/refresh", key, agentauth.SignOptions{}), 403, "denied")
			r.wantError(at("/rekey", key, agentauth.SignOptions{Durable: mine, Rekey: true}), 409, "conflict")
			r.wantError(at("/rekey", newEd25519(t), agentauth.SignOptions{Durable: key, Rekey: true}), 403, "denied")
		}
		r.use()
		if a := r.agentRecord(r.old); a.Disabled != switched {
			t.Errorf("record of the first key: %+v", a)
		}
		if _, _, err := agent.Find(t.Context(), r.store, thumbprint(t, r.next)); (err == nil) != switched {
			t.Errorf("the next key to others: %v", err)
		}
	}
}
