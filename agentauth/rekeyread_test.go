package agentauth_test

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/store"
)

// beforeGet does something before the next Get of an agent, once.
type beforeGet struct {
	store.Store
	do func()
}

func (s *beforeGet) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if do := s.do; do != nil && keys[0].Kind == agent.Kind {
		s.do = nil
		do()
	}
	return s.Store.Get(ctx, keys...)
}

// TestSwitchedBetweenTwoReads: who finds the owner of an identifier first, and the
// agent then, finds the agent.
func TestSwitchedBetweenTwoReads(t *testing.T) {
	for name, look := range map[string]func(w *world) (string, error){
		"one": func(w *world) (string, error) {
			a, err := w.provider.Agent(w.t.Context(), planner)
			return a.Thumbprint, err
		},
		"list": func(w *world) (string, error) {
			list, err := w.provider.Agents(w.t.Context(), "", 0)
			return list[0].Thumbprint, err
		},
		"keys": func(w *world) (string, error) { return w.published(planner)[0], nil },
	} {
		hooked := &beforeGet{Store: &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}}
		w := newWorld(t, worldConfig{store: hooked})
		old, next := newEd25519(t), newEd25519(t)
		w.enroll(old, `{"agent_id":"`+planner+`"}`)
		w.wantToken(w.rekey(old, next))
		w.clock.advance(time.Second)
		hooked.do = func() { w.wantToken(w.refresh(next, agentauth.SignOptions{})) }
		if jkt, err := look(w); err != nil || jkt != thumbprint(t, next) {
			t.Errorf("%s: %s, %v", name, jkt, err)
		}
	}
}

// TestDeletedBetweenTwoReads: the next key of an agent that has gone is nobody's.
func TestDeletedBetweenTwoReads(t *testing.T) {
	hooked := &beforeGet{Store: &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}}
	w := newWorld(t, worldConfig{store: hooked})
	old, next := newEd25519(t), newEd25519(t)
	w.enroll(old, `{"agent_id":"`+planner+`"}`)
	w.wantToken(w.rekey(old, next))
	w.clock.advance(time.Second)
	hooked.do = func() {
		hooked.do = func() { must(t, w.provider.DeleteAgent(t.Context(), person, planner)) }
	}
	w.wantError(w.refresh(next, agentauth.SignOptions{}), 403, "denied")
}

// TestNextKeyComesTwiceAtOnce: whoever comes second is the agent already.
func TestNextKeyComesTwiceAtOnce(t *testing.T) {
	hooked := &beforeGet{Store: &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}}
	w := newWorld(t, worldConfig{store: hooked})
	old, next := newEd25519(t), newEd25519(t)
	w.enroll(old, `{"agent_id":"`+planner+`"}`)
	w.wantToken(w.rekey(old, next))
	w.clock.advance(time.Second)
	hooked.do = func() {
		hooked.do = func() { w.wantToken(w.refresh(next, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Minute)})) }
	}
	w.wantToken(w.refresh(next, agentauth.SignOptions{}))
}

// TestSwitchedWhileTheNextKeySigns: a request by the next key is that of the agent
// before and after.
func TestSwitchedWhileTheNextKeySigns(t *testing.T) {
	hooked := &beforeGet{Store: &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}}
	w := newWorld(t, worldConfig{store: hooked})
	w.mux.Handle("/signed", w.verifier.Require(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK}})(whoami))
	old, next := newEd25519(t), newEd25519(t)
	w.enroll(old, `{"agent_id":"`+planner+`"}`)
	w.wantToken(w.rekey(old, next))
	w.clock.advance(time.Second)
	hooked.do = func() { // the first look, at the next key, is over when this one begins
		hooked.do = func() { w.wantToken(w.refresh(next, agentauth.SignOptions{})) }
	}
	w.wantAgent(w.do(w.sign(w.request("GET", "/signed", ""), next, agentauth.SignOptions{})), planner)
	if w.ring().Durable != thumbprint(t, next) {
		t.Error("the key was not switched meanwhile")
	}
}
