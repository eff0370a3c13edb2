package agentauth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
)

// TestDisablingIsImmediate: at every endpoint and route of this server, for a token
// that was accepted a moment before too. AGT-68.
func TestDisablingIsImmediate(t *testing.T) {
	for name, end := range map[string]func(p *agentauth.Provider, ctx context.Context, actor keywright.Principal, id string) error{
		"disabled": (*agentauth.Provider).DisableAgent, "banned": (*agentauth.Provider).BanAgent, "deleted": (*agentauth.Provider).DeleteAgent,
	} {
		admit := true
		w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
			c.Admission = func(ctx context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
				if admit {
					return agentauth.AdmitAnybody(ctx, a)
				}
				return agentauth.Admitted{}, fmt.Errorf("nobody any more")
			}
		}})
		key, fresh := newEd25519(t), newP256(t)
		token := w.enroll(key, `{"agent_id":"aauth:a@ap.example"}`)
		w.clock.advance(time.Second)
		freshToken := w.wantToken(w.refresh(fresh, agentauth.SignOptions{Durable: key}))
		w.wantAgent(w.whoami(key, token), "aauth:a@ap.example")
		w.wantAgent(w.whoami(fresh, freshToken), "aauth:a@ap.example")
		admit = false
		must(t, end(w.provider, t.Context(), person, "aauth:a@ap.example"))

		w.wantError(w.whoami(key, token), 403, "denied")
		w.wantError(w.whoami(fresh, freshToken), 403, "denied")
		w.clock.advance(time.Second)
		for what, pair := range map[string][2]answer{
			"refresh":             {w.refresh(key, agentauth.SignOptions{}), w.refresh(newEd25519(t), agentauth.SignOptions{})},
			"refresh by two keys": {w.refresh(newEd25519(t), agentauth.SignOptions{Durable: key}), w.refresh(newEd25519(t), agentauth.SignOptions{Durable: newEd25519(t)})},
			"enrol":               {w.tryEnroll(key, `{"agent_id":"aauth:a@ap.example"}`), w.tryEnroll(newEd25519(t), `{"agent_id":"aauth:a@ap.example"}`)},
		} {
			ended, unknown := pair[0], pair[1]
			w.wantError(ended, 403, "denied")
			if ended.body != unknown.body || !cmp.Equal(ended.header, unknown.header) {
				t.Errorf("%s, %s: %s %v, of one who is unknown %s %v", name, what, ended.body, ended.header, unknown.body, unknown.header)
			}
		}
	}
}

func TestAgentsAreDisabledEnabledAndBanned(t *testing.T) {
	w := newWorld(t, worldConfig{})
	p, ctx, id := w.provider, t.Context(), "aauth:a@ap.example"
	key := newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:a@ap.example"}`)
	state := func(disabled, banned bool) {
		t.Helper()
		if a, err := p.Agent(ctx, id); err != nil || a.Disabled != disabled || a.Banned != banned {
			t.Errorf("got %+v, %v, want disabled %v, banned %v", a, err, disabled, banned)
		}
	}
	must(t, p.EnableAgent(ctx, person, id)) // changes nothing, as the events say
	state(false, false)
	must(t, p.DisableAgent(ctx, person, id))
	must(t, p.DisableAgent(ctx, person, id))
	state(true, false)
	must(t, p.EnableAgent(ctx, person, id))
	state(false, false)
	w.wantAgent(w.whoami(key, token), id)
	w.clock.advance(time.Second)
	w.wantToken(w.refresh(key, agentauth.SignOptions{}))
	must(t, p.BanAgent(ctx, person, id))
	must(t, p.BanAgent(ctx, person, id))
	must(t, p.DisableAgent(ctx, person, id))
	state(true, true)
	if err := p.EnableAgent(ctx, person, id); keywright.AsError(err).Code != keywright.CodeConflict {
		t.Errorf("a banned agent is enabled: %v", err)
	}
	state(true, true)
	if !w.agentRecord(key).Disabled {
		t.Error("the record of a banned agent does not say that it is disabled, which all look at")
	}
	must(t, p.DeleteAgent(ctx, person, id))
	if diff := cmp.Diff([]string{"agent.banned", "agent.deleted", "agent.disabled", "agent.enabled", "agent.enrolled", "agent.refreshed"}, w.eventNames()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for e, err := range w.host.Events(ctx, "") {
		must(t, err)
		if e.Name == "agent.deleted" && (e.Actor != "admin-key" || e.Target != id || e.Attrs["by"] != "alice" || e.Attrs["jkt"] != thumbprint(t, key)) {
			t.Errorf("event: %+v", e)
		}
	}
}

func TestUnknownAgents(t *testing.T) {
	w := newWorld(t, worldConfig{})
	gone := newEd25519(t)
	w.enroll(gone, `{"agent_id":"aauth:gone@ap.example"}`)
	must(t, w.provider.DeleteAgent(t.Context(), person, "aauth:gone@ap.example"))
	before := w.dump()
	for _, id := range []string{"aauth:gone@ap.example", "aauth:never@ap.example", "", "x", "a\x00b", "\xff", strings.Repeat("a", 5000), thumbprint(t, gone)} {
		_, err := w.provider.Agent(t.Context(), id)
		errs := []error{err, w.provider.DisableAgent(t.Context(), person, id), w.provider.EnableAgent(t.Context(), person, id), w.provider.BanAgent(t.Context(), person, id), w.provider.DeleteAgent(t.Context(), person, id)}
		for i, err := range errs {
			if keywright.AsError(err).Code != keywright.CodeNotFound {
				t.Errorf("%d of %.30q: %v, want not_found", i, id, err)
			}
		}
	}
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
}

// TestDeletedIdentifierIsNotGivenAway: it stays that of its key, which may enrol
// again as it was or under another one.
func TestDeletedIdentifierIsNotGivenAway(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	old := w.enroll(key, `{"agent_id":"aauth:a@ap.example"}`)
	must(t, w.provider.DeleteAgent(t.Context(), person, "aauth:a@ap.example"))
	w.wantError(w.tryEnroll(newEd25519(t), `{"agent_id":"aauth:a@ap.example"}`), 409, "agent_id_in_use")

	w.clock.advance(time.Second)
	renamed := w.enroll(key, `{"agent_id":"aauth:b@ap.example"}`)
	w.wantAgent(w.whoami(key, renamed), "aauth:b@ap.example")
	w.wantError(w.whoami(key, old), 403, "denied")
	if _, err := w.provider.Agent(t.Context(), "aauth:a@ap.example"); keywright.AsError(err).Code != keywright.CodeNotFound {
		t.Errorf("the agent that was deleted: %v", err)
	}
	w.wantError(w.tryEnroll(newEd25519(t), `{"agent_id":"aauth:a@ap.example"}`), 409, "agent_id_in_use")

	if list, err := w.provider.Agents(t.Context(), "", 0); err != nil || len(list) != 1 || list[0].ID != "aauth:b@ap.example" {
		t.Errorf("listed: %v, %v", list, err)
	}

	must(t, w.provider.DeleteAgent(t.Context(), person, "aauth:b@ap.example"))
	w.clock.advance(time.Second)
	again := w.enroll(key, `{"agent_id":"aauth:a@ap.example"}`)
	w.wantAgent(w.whoami(key, again), "aauth:a@ap.example")
	for _, id := range []string{"aauth:a@ap.example", "aauth:b@ap.example"} {
		w.wantError(w.tryEnroll(newEd25519(t), `{"agent_id":"`+id+`"}`), 409, "agent_id_in_use")
	}
}

// TestAgentsAreListed in the order of their identifiers, without those that have
// gone, those of another provider and runners.
func TestAgentsAreListed(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Limits = agentauth.ProviderLimits{PerMinute: -1, AllPerMinute: -1}
	}})
	w.putAgent(newEd25519(t), agent.Record{Name: "runner", JWK: []byte(jwkOf(t, newEd25519(t), "Ed25519"))})
	other, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Issuer: "https://other.example", Admission: agentauth.AdmitAnybody})
	must(t, err)
	long := "aauth:" + strings.Repeat("l", 255) + "@ap.example" // its record has a hash for an ID
	want := []string{long}
	w.enroll(newEd25519(t), `{"agent_id":"`+long+`"}`)
	for i := range 230 {
		id := fmt.Sprintf("aauth:n%03d@ap.example", i)
		w.enroll(newEd25519(t), `{"agent_id":"`+id+`"}`)
		if i < 210 && i%2 == 0 {
			must(t, w.provider.DeleteAgent(t.Context(), person, id))
			continue
		}
		want = append(want, id)
	}
	if list, err := other.Agents(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("another provider lists %d, %v", len(list), err)
	}
	for _, limit := range []int{0, 1, 7, 50, 126, 1000} {
		var got []string
		for after := ""; ; {
			list, err := w.provider.Agents(t.Context(), after, limit)
			must(t, err)
			for _, a := range list {
				got = append(got, a.ID)
			}
			if limit == 0 || len(list) < limit {
				break
			}
			if len(list) > limit {
				t.Fatalf("%d of %d", len(list), limit)
			}
			after = list[len(list)-1].ID
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by %d (-want +got):\n%s", limit, diff)
		}
	}
	if list, err := w.provider.Agents(t.Context(), "aauth:n100", 1); err != nil || len(list) != 1 || list[0].ID != "aauth:n101@ap.example" {
		t.Errorf("behind one that is not there: %v, %v", list, err)
	}
}

// TestEndedWhileRefreshing: who is disabled or deleted while it refreshes gets
// either a token before that or none, and a deleted agent does not come back.
func TestEndedWhileRefreshing(t *testing.T) {
	w := newWorld(t, worldConfig{})
	for range 10 {
		key := newEd25519(t)
		w.enroll(key, `{}`)
		id := "aauth:" + thumbprint(t, key) + "@ap.example"
		w.clock.advance(time.Second)
		r := w.sign(w.request("POST", "/refresh", "{}"), key, agentauth.SignOptions{})
		var wg sync.WaitGroup
		wg.Go(func() {
			if a := w.do(r); a.status != 200 && a.status != 403 {
				t.Errorf("refresh: %d %s", a.status, a.body)
			}
		})
		wg.Go(func() {
			if err := w.provider.DisableAgent(t.Context(), person, id); err != nil && keywright.AsError(err).Code != keywright.CodeNotFound {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := w.provider.DeleteAgent(t.Context(), person, id); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if _, ok := w.agents()[thumbprint(t, key)]; ok {
			t.Error("the agent is still there")
		}
	}
}
