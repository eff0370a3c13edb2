package agentauth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// TestRotation goes the usual way, on two replicas.
func TestRotation(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := new(keystore.Memory)
	a, b := newKeys(t, w.host, memory), newKeys(t, w.host, memory)
	must(t, a.Sync(t.Context()))
	must(t, b.Sync(t.Context()))
	first := listKeys(t, a)[0].ID
	admin := principal("admin")
	if kid := kidOf(t, w.host, a); kid != first {
		t.Errorf("signs with %s", kid)
	}
	next, err := a.Add(t.Context(), admin, "")
	must(t, err)
	if kid := kidOf(t, w.host, b); kid != first {
		t.Errorf("another replica signs with %s as soon as there is a key", kid)
	}
	wantCode(t, b.Activate(t.Context(), admin, next), keywright.CodeConflict, "10m")
	w.clock.advance(agentauth.PublishedFor - time.Second)
	wantCode(t, b.Activate(t.Context(), admin, next), keywright.CodeConflict, "10m")
	w.clock.advance(time.Second)
	wantCode(t, b.Withdraw(t.Context(), admin, first), keywright.CodeConflict, "active")
	must(t, b.Activate(t.Context(), admin, next))
	must(t, b.Activate(t.Context(), admin, next))
	for name, keys := range map[string]*agentauth.SigningKeys{"one": a, "the other": b} {
		if stateOf(t, keys, first) != agentauth.KeyRetired || stateOf(t, keys, next) != agentauth.KeyActive || kidOf(t, w.host, keys) != next {
			t.Errorf("%s replica: %+v", name, listKeys(t, keys))
		}
	}
	ended := w.clock.Now()
	w.clock.advance(24*time.Hour - time.Second)
	wantCode(t, a.Retire(t.Context(), admin, first), keywright.CodeConflict, ended.Add(24*time.Hour).UTC().Format(time.RFC3339))
	w.clock.advance(time.Second)
	must(t, a.Retire(t.Context(), admin, first))
	if list := listKeys(t, b); len(list) != 1 || list[0].ID != next {
		t.Errorf("keys: %+v", list)
	}
	wantCode(t, a.Withdraw(t.Context(), admin, first), keywright.CodeNotFound, "")
	wantCode(t, a.ActivateNow(t.Context(), admin, first), keywright.CodeNotFound, "")

	// One that has never signed goes at any time.
	spare, err := a.Add(t.Context(), admin, "")
	must(t, err)
	must(t, a.Retire(t.Context(), admin, spare))
	var names []string
	for e, err := range w.host.Events(t.Context(), "") {
		must(t, err)
		if strings.HasPrefix(e.Name, "agent.signing_key_") && (e.Target == next || e.Target == spare) {
			names = append(names, strings.TrimPrefix(e.Name, "agent.signing_key_")+" by "+e.Actor)
		}
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"activated by admin", "added by admin", "added by admin", "retired by admin"}, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestRetiredKeySignsAgain is going back to it.
func TestRetiredKeySignsAgain(t *testing.T) {
	w := newWorld(t, worldConfig{})
	keys := newKeys(t, w.host, new(keystore.Memory))
	must(t, keys.Sync(t.Context()))
	first := listKeys(t, keys)[0].ID
	next, err := keys.Add(t.Context(), principal("admin"), "")
	must(t, err)
	w.clock.advance(agentauth.PublishedFor)
	must(t, keys.Activate(t.Context(), principal("admin"), next))
	must(t, keys.Activate(t.Context(), principal("admin"), first))
	for _, k := range listKeys(t, keys) {
		if ended := !k.Ended.IsZero(); ended != (k.ID == next) {
			t.Errorf("%+v", k)
		}
	}
	if kid := kidOf(t, w.host, keys); kid != first {
		t.Errorf("signs with %s", kid)
	}
}

// TestStolenKey takes the active key out at once: tokens that it has signed end
// where they were remembered, and the agents get others.
func TestStolenKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:a@ap.example"}`)
	w.wantAgent(w.whoami(key, token), "aauth:a@ap.example")
	stolen := listKeys(t, w.keys)[0].ID
	next, err := w.keys.Add(t.Context(), principal("admin"), "")
	must(t, err)
	wantCode(t, w.keys.Activate(t.Context(), principal("admin"), next), keywright.CodeConflict, "")
	must(t, w.keys.ActivateNow(t.Context(), principal("admin"), next))
	w.wantAgent(w.whoami(key, token), "aauth:a@ap.example")
	wantCode(t, w.keys.Retire(t.Context(), principal("admin"), stolen), keywright.CodeConflict, "may live")
	must(t, w.keys.Withdraw(t.Context(), principal("admin"), stolen))
	w.wantError(w.whoami(key, token), 401, "unknown_key")
	w.clock.advance(time.Second)
	w.wantAgent(w.whoami(key, w.wantToken(w.refresh(key, agentauth.SignOptions{}))), "aauth:a@ap.example")
}

// TestTokensEndElsewhereWithTheirKey has a server elsewhere remember a token. It
// forgets it when it sees the issuer's keys without that of the token.
func TestTokensEndElsewhereWithTheirKey(t *testing.T) {
	w, s := newRemoteWorld(t, nil)
	key := newEd25519(t)
	token, _ := w.enrollAt(s, key, `{}`)
	e := newFarWorld(t, s, agentauth.Policy{}, nil)
	if a := e.whoami(key, agentauth.SignOptions{Token: token}); a.status != 200 {
		t.Fatalf("%d %s %v", a.status, a.body, a.header)
	}
	old := listKeys(t, w.keys)[0].ID
	next, err := w.keys.Add(t.Context(), principal("admin"), "")
	must(t, err)
	must(t, w.keys.ActivateNow(t.Context(), principal("admin"), next))
	w.clock.advance(time.Minute)
	// A token of the new key makes it look again; the old one is still published.
	fresh := w.wantToken(w.do(w.sign(w.at(s, "POST", "/refresh", "{}"), key, agentauth.SignOptions{})))
	for _, text := range []string{fresh, token} {
		if a := e.whoami(key, agentauth.SignOptions{Token: text}); a.status != 200 {
			t.Fatalf("through a rotation: %d %s %v", a.status, a.body, a.header)
		}
	}
	must(t, w.keys.Withdraw(t.Context(), principal("admin"), old))
	w.clock.advance(5*time.Minute + time.Second) // max-age has passed
	refused := func() bool {
		return e.whoami(key, agentauth.SignOptions{Token: token}).status != 200
	}
	for until := time.Now().Add(5 * time.Second); !refused(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("a token of a key that was withdrawn is accepted")
		}
	}
	(&world{t: t}).wantError(e.whoami(key, agentauth.SignOptions{Token: token}), 401, "unknown_key")
	if a := e.whoami(key, agentauth.SignOptions{Token: fresh}); a.status != 200 {
		t.Errorf("of the new key: %d %s %v", a.status, a.body, a.header)
	}
}

func TestAddRefuses(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := new(keystore.Memory)
	keys := newKeys(t, w.host, memory)
	add := func(handle string) error {
		kid, err := keys.Add(t.Context(), principal("admin"), handle)
		if err == nil && kid == "" {
			t.Error("no kid")
		}
		return err
	}
	if err := add("nobody"); !errors.Is(err, keystore.ErrKeyNotFound) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("unknown handle: %v", err)
	}
	_, err := memory.Generate(t.Context(), keystore.KeyOptions{Handle: "a"})
	must(t, err)
	must(t, add("a"))
	if list := listKeys(t, keys); len(list) != 1 || list[0].State != agentauth.KeyActive || list[0].Handle != "a" {
		t.Errorf("the first key: %+v", list)
	}
	wantCode(t, add("a"), keywright.CodeConflict, "already")
	must(t, memory.Delete(t.Context(), "a"))
	_, err = memory.Generate(t.Context(), keystore.KeyOptions{Handle: "a"})
	must(t, err)
	wantCode(t, add("a"), keywright.CodeConflict, "handle")
	for range 49 {
		must(t, add(""))
	}
	before := handlesIn(t, memory)
	wantCode(t, add(""), keywright.CodeConflict, "too many")
	if diff := cmp.Diff(before, handlesIn(t, memory)); diff != "" {
		t.Errorf("a key was left in the key store:\n%s", diff)
	}
	if n := len(listKeys(t, keys)); n != 50 {
		t.Errorf("%d keys", n)
	}
}

// TestActivateLooksFirst does not change over to a key that is not there.
func TestActivateLooksFirst(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := new(keystore.Memory)
	keys := newKeys(t, w.host, memory)
	must(t, keys.Sync(t.Context()))
	first := listKeys(t, keys)[0].ID
	next, err := keys.Add(t.Context(), principal("admin"), "")
	must(t, err)
	must(t, memory.Delete(t.Context(), next))
	w.clock.advance(agentauth.PublishedFor)
	wantCode(t, keys.Activate(t.Context(), principal("admin"), next), keywright.CodeUnavailable, next)
	if kid := kidOf(t, w.host, keys); kid != first {
		t.Errorf("signs with %s", kid)
	}
}

// TestLostAnswers is of commits of which nobody can tell whether they were made: the
// private key of a record that stands must not be deleted.
func TestLostAnswers(t *testing.T) {
	lost := errors.New("the connection was lost")
	for _, tt := range []struct {
		name      string
		first     bool // Sync, and not Add
		commit    bool // and then the answer is lost
		err       error
		published bool
		kept      int // keys in the key store
	}{
		{"first key, written", true, true, lost, true, 1},
		{"first key, perhaps written", true, false, lost, false, 1},
		{"first key, written and reported as there", true, true, exists, true, 1},
		{"another key, written", false, true, lost, true, 2},
		{"another key, perhaps written", false, false, lost, false, 2},
		{"another key, refused", false, false, full, false, 1},
		{"another key, written and reported as changed", false, true, changed, true, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := new(trap)
			w := newWorld(t, worldConfig{store: s})
			memory := new(keystore.Memory)
			keys := newKeys(t, w.host, memory)
			if !tt.first {
				must(t, keys.Sync(t.Context()))
			}
			before := len(listKeys(t, keys))
			s.before = func(ops []store.Op) error {
				s.before = nil
				if tt.commit {
					must(t, s.Memory.Commit(t.Context(), ops...))
				}
				return tt.err
			}
			var err error
			if tt.first {
				err = keys.Sync(t.Context())
			} else {
				_, err = keys.Add(t.Context(), principal("admin"), "")
			}
			if retried := errors.Is(tt.err, store.ErrExists) || errors.Is(tt.err, store.ErrConflict); retried == (err != nil) {
				t.Errorf("error: %v", err)
			}
			if got := len(listKeys(t, keys)) - before; (got == 1) != tt.published {
				t.Errorf("%d keys more", got)
			}
			if n := len(handlesIn(t, memory)); n != tt.kept {
				t.Errorf("%d keys in the key store, want %d", n, tt.kept)
			}
			must(t, keys.Sync(t.Context()))
		})
	}
}

// What a store says of a commit that it has not made.
var (
	exists  error = &store.OpError{Err: store.ErrExists}
	changed error = &store.OpError{Err: store.ErrConflict}
	full    error = &store.OpError{Err: store.ErrFull}
)
