package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/store"
)

// A ringState is what the records say of the keys of one agent.
type ringState struct {
	Durable, Next string
	Left          int
}

// ring reads the keys of the one agent, and wants the records to agree: every key is
// the durable one, its next, or one that was left for the key after it.
func (w *world) ring() ringState {
	w.t.Helper()
	records := make(map[string]map[string]any)
	for r, err := range w.store.List(w.t.Context(), store.Query{Kind: agent.Kind}) {
		must(w.t, err)
		a, err := agent.Read(r)
		must(w.t, err)
		var own struct{ Keys map[string]any }
		must(w.t, json.Unmarshal(a.Own, &own))
		if a.Name != planner {
			w.t.Errorf("a record of %s", a.Name)
		}
		records[r.ID] = own.Keys
	}
	var state ringState
	for r, err := range w.store.List(w.t.Context(), store.Query{Kind: agentauth.KindAgentID}) {
		must(w.t, err)
		var o struct {
			Durable string `json:"jkt"`
		}
		must(w.t, json.Unmarshal(r.Data, &o))
		state.Durable = o.Durable
	}
	durable, stands := records[state.Durable]
	if next, ok := durable["next"].(map[string]any); ok {
		state.Next = next["jkt"].(string)
	}
	for id, keys := range records {
		successor, left := keys["successor"].(string)
		switch _, known := records[successor]; {
		case id == state.Durable && keys["successor"] == nil && keys["next_of"] == nil:
		case id == state.Next && keys["next_of"] == state.Durable:
		case left && (known || !stands):
			state.Left++
		default:
			w.t.Errorf("key %s: %v, of the agent %+v", id, keys, state)
		}
	}
	if _, ok := records[state.Next]; state.Next != "" && !ok {
		w.t.Errorf("no record of the next key %s", state.Next)
	}
	return state
}

// replicas are two providers on the store of w, which answer in turns.
func (w *world) replicas() func(i int, r *http.Request) answer {
	w.t.Helper()
	second := *w
	p, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: agentauth.AdmitAnybody})
	must(w.t, err)
	second.mux = http.NewServeMux()
	p.Register(second.mux, "")
	return func(i int, r *http.Request) answer { return []*world{w, &second}[i%2].do(r) }
}

// atOnce sends the requests at the same time and returns the answers.
func (w *world) atOnce(requests []*http.Request) []answer {
	w.t.Helper()
	do := w.replicas()
	answers := make([]answer, len(requests))
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() { answers[i] = do(i, r) })
	}
	wg.Wait()
	return answers
}

func statuses(answers []answer) map[int]int {
	n := make(map[int]int)
	for _, a := range answers {
		n[a.status]++
	}
	return n
}

// TestOneNextKeyOfMany: of many that are asked for at once in two replicas, one is
// the next; and of all that then come, it alone switches, however often it comes.
func TestOneNextKeyOfMany(t *testing.T) {
	w := newWorld(t, worldConfig{})
	old := newEd25519(t)
	w.enroll(old, `{"agent_id":"`+planner+`"}`)
	keys := make(map[string]crypto.Signer)
	var rekeys, refreshes []*http.Request
	for range 12 {
		next := newEd25519(t)
		keys[thumbprint(t, next)] = next
		rekeys = append(rekeys, w.sign(w.request("POST", "/rekey", "{}"), next, agentauth.SignOptions{Durable: old, Rekey: true}))
	}
	got := statuses(w.atOnce(rekeys))
	state := w.ring()
	if keys[state.Next] == nil || state.Durable != thumbprint(t, old) || state.Left != 0 || got[200] == 0 || got[200]+got[503] != 12 {
		t.Fatalf("answers %v, keys %+v", got, state)
	}
	w.clock.advance(time.Second)
	for jkt, next := range keys {
		refreshes = append(refreshes, w.sign(w.request("POST", "/refresh", "{}"), next, agentauth.SignOptions{}))
		if jkt == state.Next {
			for i := range 4 {
				refreshes = append(refreshes, w.sign(w.request("POST", "/refresh", "{}"), next, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Duration(i+1) * time.Second)}))
			}
		}
	}
	if got := statuses(w.atOnce(refreshes)); got[403] != 11 || got[200] == 0 || got[200]+got[503] != 5 {
		t.Errorf("answers %v", got)
	}
	if diff := cmp.Diff(ringState{Durable: state.Next, Left: 1}, w.ring()); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

// TestAllAtOnce: the old key, its next, another next and an administrator at the same
// moment leave one durable key, whose agent stands or does not as was said.
func TestAllAtOnce(t *testing.T) {
	for range 20 {
		w := newWorld(t, worldConfig{})
		old, next, other := newEd25519(t), newEd25519(t), newEd25519(t)
		w.enroll(old, `{"agent_id":"`+planner+`"}`)
		w.wantToken(w.rekey(old, next))
		w.clock.advance(time.Second)
		requests := []*http.Request{
			w.sign(w.request("POST", "/refresh", "{}"), old, agentauth.SignOptions{}),
			w.sign(w.request("POST", "/refresh", "{}"), next, agentauth.SignOptions{}),
			w.sign(w.request("POST", "/enrol", `{"agent_id":"`+planner+`"}`), next, agentauth.SignOptions{}),
			w.sign(w.request("POST", "/rekey", "{}"), other, agentauth.SignOptions{Durable: old, Rekey: true}),
		}
		done := make(chan error)
		go func() { done <- w.provider.DisableAgent(t.Context(), person, planner) }()
		w.atOnce(requests)
		err := <-done
		w.ring()
		if a, trouble := w.provider.Agent(t.Context(), planner); trouble != nil || a.Disabled != (err == nil) {
			t.Errorf("disabling: %v, agent %+v, %v", err, a, trouble)
		}
	}
}

// TestBetweenReadAndCommit does one thing right before another is written, which then
// sees what has become of the agent.
func TestBetweenReadAndCommit(t *testing.T) {
	disable := func(w *world, _ [3]crypto.Signer) { must(w.t, w.provider.DisableAgent(w.t.Context(), person, planner)) }
	remove := func(w *world, _ [3]crypto.Signer) { must(w.t, w.provider.DeleteAgent(w.t.Context(), person, planner)) }
	rekey := func(w *world, k [3]crypto.Signer) { w.rekey(k[0], k[2]) }
	change := func(w *world, k [3]crypto.Signer) { w.later(k[1], agentauth.SignOptions{}) }
	refresh := func(i int) func(*world, [3]crypto.Signer) int {
		return func(w *world, k [3]crypto.Signer) int { return w.refresh(k[i], agentauth.SignOptions{}).status }
	}
	byAdmin := func(do func(*agentauth.Provider, context.Context, keywright.Principal, string) error) func(*world, [3]crypto.Signer) int {
		return func(w *world, _ [3]crypto.Signer) int {
			if err := do(w.provider, w.t.Context(), person, planner); err != nil {
				return keywright.AsError(err).Code.Status()
			}
			return 200
		}
	}
	again := func(w *world, k [3]crypto.Signer) int { return w.rekey(k[0], k[1]).status }
	both := func(then func(*world, [3]crypto.Signer) int) func(*world, [3]crypto.Signer) int {
		return func(w *world, k [3]crypto.Signer) int {
			hooked, _ := w.store.(*beforeCommit)
			do := hooked.do
			hooked.do = nil
			change(w, k)
			hooked.do = do
			return then(w, k)
		}
	}
	another := func(w *world, k [3]crypto.Signer) int { return w.rekey(k[0], k[2]).status }
	for name, tt := range map[string]struct {
		before  func(*world, [3]crypto.Signer)
		do      func(*world, [3]crypto.Signer) int
		status  int
		durable int // index of the key; -1: the agent has gone
		next    int // -1: none
		left    int
		stands  bool
	}{
		"disabled before a switch":         {disable, refresh(1), 403, 0, 1, 0, false},
		"deleted before a switch":          {remove, refresh(1), 403, -1, -1, 0, false},
		"replaced before a switch":         {rekey, refresh(1), 403, 0, 2, 0, true},
		"switched before a switch":         {change, refresh(1), 200, 1, -1, 1, true},
		"switched before the old one":      {change, refresh(0), 403, 1, -1, 1, true},
		"disabled before another next key": {disable, another, 403, 0, 1, 0, false},
		"deleted before another next key":  {remove, another, 403, -1, -1, 0, false},
		"switched before another next key": {change, another, 403, 1, -1, 1, true},
		"replaced before asking again":     {rekey, again, 200, 0, 1, 0, true},
		"disabled before asking again":     {disable, again, 403, 0, 1, 0, false},
		"switched before asking again":     {change, again, 200, 1, -1, 1, true},
		"disabled after the switch":        {disable, both(again), 403, 1, -1, 1, false},
		"deleted after the switch":         {remove, both(again), 403, -1, -1, 1, false},
		"switched before disabling":        {change, byAdmin((*agentauth.Provider).DisableAgent), 200, 1, -1, 1, false},
		"switched before deleting":         {change, byAdmin((*agentauth.Provider).DeleteAgent), 200, -1, -1, 1, false},
		"replaced before deleting":         {rekey, byAdmin((*agentauth.Provider).DeleteAgent), 200, -1, -1, 0, false},
		"replaced before disabling":        {rekey, byAdmin((*agentauth.Provider).DisableAgent), 200, 0, 2, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			hooked := &beforeCommit{}
			w := newWorld(t, worldConfig{store: hooked.around()})
			k := [3]crypto.Signer{newEd25519(t), newEd25519(t), newEd25519(t)}
			w.enroll(k[0], `{"agent_id":"`+planner+`"}`)
			w.wantToken(w.rekey(k[0], k[1]))
			w.clock.advance(time.Second)
			hooked.do = func() { tt.before(w, k) }
			if got := tt.do(w, k); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			want := ringState{Left: tt.left}
			if tt.durable >= 0 {
				want.Durable = thumbprint(t, k[tt.durable])
			} else {
				want.Durable = w.ring().Durable // whose it stays
			}
			if tt.next >= 0 {
				want.Next = thumbprint(t, k[tt.next])
			}
			if diff := cmp.Diff(want, w.ring()); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			a, err := w.provider.Agent(t.Context(), planner)
			if (err != nil) != (tt.durable < 0) || err == nil && a.Disabled == tt.stands {
				t.Errorf("agent %+v, %v", a, err)
			}
		})
	}
}

// around makes a store for a world of its own, with the world's first time.
func (s *beforeCommit) around() *beforeCommit {
	s.Store = &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}
	return s
}
