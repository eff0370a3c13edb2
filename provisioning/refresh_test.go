package provisioning_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

const badKey = "Invalid API key"

func TestARefreshGivesAKeyForAWhile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits provisioning.Limits
		life   time.Duration
	}{
		{"an hour", provisioning.Limits{}, time.Hour},
		{"as Limits say", provisioning.Limits{RunnerKey: 90 * time.Second}, 90 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, signer := newWorld(t, func(s *setup) { s.config.Limits = tt.limits }), newEd25519(t)
			w.want("enrol", w.enrollBound(w.provisionBound(w.makeKey("ci", `"scopes":["beat"]`, `"tags":["blue"]`), "sdr-1"), signer), 201, "")
			a := w.refresh("sdr-1", w.proof(signer, "sdr-1", 0))
			key := a.field("api_key")
			if a.status != 200 || !strings.HasPrefix(key, "ck_runner_") || a.field("runner_id") != "sdr-1" || a.sequence() != 1 || a.field("expires_at") != epoch.Add(tt.life).Format(time.RFC3339) || a.field("old_key_valid_until") != "" {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control: %q, want no-store", got)
			}
			var p keywright.Principal
			let := w.call("GET", "/runner", key, "")
			if err := json.Unmarshal([]byte(let.body), &p); err != nil || let.status != 200 || p.Subject != "sdr-1" || p.Method != keywright.MethodProvisioning || p.Issuer != base || !p.HasScope("beat") || p.Attrs["tags"] != "blue" {
				t.Errorf("the key is let in as %d %s", let.status, let.body)
			}
			if e := w.events("provisioning.runner_refreshed"); len(e) != 1 || e[0].Target != "sdr-1" || e[0].Attrs["key"] != p.Credential || e[0].Actor != e[0].Attrs["jkt"] {
				t.Errorf("the events are %+v", e)
			}
			w.clock.Advance(tt.life - time.Second)
			w.want("a second before its end", w.call("GET", "/runner", key, ""), 200, "")
			second := w.refresh("sdr-1", w.proof(signer, "sdr-1", 1)).field("api_key")
			w.clock.Advance(time.Second)
			w.want("at its end", w.call("GET", "/runner", key, ""), 401, badKey)
			w.want("the second", w.call("GET", "/runner", second, ""), 200, "")
			w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
			w.want("the second, disabled", w.call("GET", "/runner", second, ""), 401, badKey)
		})
	}
}

func TestARefreshNeedsAGoodProof(t *testing.T) {
	w := newWorld(t, unlimited)
	signer, other, neighbour := newEd25519(t), newEd25519(t), newEd25519(t)
	w.bound("sdr-1", signer)
	w.bound("sdr-2", neighbour)
	ci := w.makeKey("ci")
	pending := w.provisionBound(ci, "sdr-3")
	token, apiKey := w.provision(ci, "sdr-4")
	w.want("enrol one with a bearer key", w.enroll(token, apiKey, "sdr-4"), 201, "")
	_, enrolment, err := provisioning.SignEnrollment(signer, provisioning.Provisioned{ServerURL: base, ID: "sdr-1", Challenge: pending.Challenge}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	now := epoch.Unix()
	type members = map[string]any
	with := func(change func(header, claims members)) string {
		header := members{"alg": "EdDSA", "typ": "runner-refresh+jwt"}
		claims := members{"aud": base, "sub": "sdr-1", "iat": now, "exp": now + 60, "jti": "one"}
		change(header, claims)
		return signed(header, claims, withEd25519(signer))
	}
	set := func(name string, v any) string { return with(func(_, c members) { c[name] = v }) }
	before := w.dump(kinds...)
	var body string
	for _, tt := range []struct{ name, id, proof string }{
		{"by another key", "sdr-1", w.proof(other, "sdr-1", 0)},
		{"by the neighbour's key", "sdr-1", w.proof(neighbour, "sdr-1", 0)},
		{"of the neighbour, for him", "sdr-2", w.proof(signer, "sdr-2", 0)},
		{"about the neighbour", "sdr-1", w.proof(signer, "sdr-2", 0)},
		{"before the enrolment", "sdr-3", w.proof(signer, "sdr-3", 0)},
		{"by a runner with a bearer key", "sdr-4", w.proof(signer, "sdr-4", 0)},
		{"by a runner that nobody knows", "sdr-5", w.proof(signer, "sdr-5", 0)},
		{"by a runner with no name", "../sdr-1", w.proof(signer, "../sdr-1", 0)},
		{"by a runner with a long name", strings.Repeat("a", 5000), w.proof(signer, "sdr-1", 0)},
		{"of an enrolment", "sdr-1", enrolment},
		{"of the type of any token", "sdr-1", with(func(h, _ members) { h["typ"] = "JWT" })},
		{"that has expired", "sdr-1", with(func(_, c members) { c["iat"], c["exp"] = now-300, now-60 })},
		{"for longer than ten minutes", "sdr-1", set("exp", now+601)},
		{"of the future", "sdr-1", with(func(_, c members) { c["iat"], c["exp"] = now+61, now+120 })},
		{"for another server", "sdr-1", set("aud", "https://other.example")},
		{"without an id", "sdr-1", with(func(_, c members) { delete(c, "jti") })},
		{"with an empty id", "sdr-1", set("jti", "")},
		{"with an id that is no text", "sdr-1", set("jti", 1)},
		{"with a long id", "sdr-1", set("jti", strings.Repeat("a", 256))},
		{"that is no token", "sdr-1", "proof"},
		{"that is too long", "sdr-1", set("more", strings.Repeat("a", jose.MaxToken))},
	} {
		a := w.refresh(tt.id, tt.proof)
		w.want("a proof "+tt.name, a, 401, badKey)
		if body == "" {
			body = a.body
		}
		if a.body != body || a.header.Get("Www-Authenticate") != "Bearer" {
			t.Errorf("a proof %s: got %s, want %s as for the others", tt.name, a.body, body)
		}
	}
	for body, text := range map[string]string{
		`{}`:                                  "Missing required field: runner_id",
		`{"runner_id":"sdr-1"}`:               "Missing required field: proof",
		`{"proof":"x"}`:                       "Missing required field: runner_id",
		`{"runner_id":1,"proof":"x"}`:         "runner_id: want a string, got number",
		`{"runner_id":"sdr-1","proof":["x"]}`: "proof: want a string, got array",
	} {
		w.want(body, w.call("POST", "/api/enrollment/refresh", "", body), 400, text)
	}
	w.unchanged("refused", before)
	w.want("as it should be", w.refresh("sdr-1", with(func(_, _ members) {})), 200, "")
	w.want("with a long id", w.refresh("sdr-1", set("jti", strings.Repeat("a", 255))), 200, "")
}

func TestARefreshOfARunnerThatHasEnded(t *testing.T) {
	w, signer := newWorld(t, unlimited), newEd25519(t)
	w.bound("sdr-1", signer)
	key := w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)).field("api_key")
	w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	w.want("disabled", w.refresh("sdr-1", w.proof(signer, "sdr-1", 1)), 403, "This runner is disabled")
	w.want("disabled, by another key", w.refresh("sdr-1", w.proof(newEd25519(t), "sdr-1", 1)), 401, badKey)
	w.want("enable", w.call("POST", "/api/runners/sdr-1/enable", w.admin, ""), 200, "")

	// Whoever manages agents may disable one too.
	w.setAgent(signer, func(a *agent.Record) { a.Disabled = true })
	w.want("a disabled agent", w.refresh("sdr-1", w.proof(signer, "sdr-1", 1)), 403, "This runner is disabled")
	w.want("a disabled agent, by another key", w.refresh("sdr-1", w.proof(newEd25519(t), "sdr-1", 1)), 401, badKey)
	w.want("its key", w.call("GET", "/runner", key, ""), 401, badKey)
	w.setAgent(signer, func(a *agent.Record) { a.Disabled = false })
	w.want("its key, enabled", w.call("GET", "/runner", key, ""), 200, "")
	w.want("enabled", w.refresh("sdr-1", w.proof(signer, "sdr-1", 1)), 200, "")

	w.setAgent(signer, nil)
	w.want("an agent that is gone", w.refresh("sdr-1", w.proof(signer, "sdr-1", 2)), 401, badKey)
	w.want("its key", w.call("GET", "/runner", key, ""), 401, badKey)
	w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("deleted", w.refresh("sdr-1", w.proof(signer, "sdr-1", 2)), 401, badKey)
}

func TestAProofIsGoodForOneRefresh(t *testing.T) {
	w, signer := newWorld(t, unlimited), newP256(t)
	w.bound("sdr-1", signer)
	proof := w.proof(signer, "sdr-1", 0)
	w.want("the first time", w.refresh("sdr-1", proof), 200, "")
	w.want("the second time", w.refresh("sdr-1", proof), 401, badKey)
	w.clock.Advance(179 * time.Second) // two minutes of life and one of skew
	w.want("at the end of its life", w.refresh("sdr-1", proof), 401, badKey)
	w.clock.Advance(time.Second)
	w.want("after it", w.refresh("sdr-1", proof), 401, badKey)
	w.want("another", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 200, "")
	if n := len(w.events("provisioning.runner_refreshed")); n != 2 {
		t.Errorf("%d refreshes, want 2", n)
	}
}

// The ids of proofs are the runner's own: another may have chosen the same.
func TestProofsOfTwoKeyPairsMayHaveOneID(t *testing.T) {
	w := newWorld(t, unlimited)
	refresh := func(signer crypto.Signer, id string) answer {
		claims := map[string]any{"aud": base, "sub": id, "iat": epoch.Unix(), "exp": epoch.Unix() + 60, "jti": "one"}
		return w.refresh(id, signed(map[string]any{"alg": "EdDSA", "typ": "runner-refresh+jwt"}, claims, withEd25519(signer)))
	}
	first, second, third := newEd25519(t), newEd25519(t), newEd25519(t)
	w.bound("sdr-1", first)
	w.bound("sdr-2", second)
	w.want("the first", refresh(first, "sdr-1"), 200, "")
	w.want("the first again", refresh(first, "sdr-1"), 401, badKey)
	w.want("the second", refresh(second, "sdr-2"), 200, "")
	w.want("re-enrol", w.enrollBound(w.reEnroll("sdr-1"), third), 201, "")
	w.want("the first with another key pair", refresh(third, "sdr-1"), 200, "")
}

func TestARefreshBesideTheEndOfItsAgent(t *testing.T) {
	st := new(spy)
	w, signer := newWorld(t, spied(st)), newEd25519(t)
	w.bound("sdr-1", signer)
	before := len(w.dump(keywright.KindKey))
	st.once("commit", provisioning.KindProof, func() { w.setAgent(signer, func(a *agent.Record) { a.Disabled = true }) })
	w.want("refresh", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 403, "This runner is disabled")
	if keys := len(w.dump(keywright.KindKey)) - before; keys != 0 {
		t.Errorf("%d keys were made, want none", keys)
	}
}

func TestOneProofInParallelIsOneKey(t *testing.T) {
	for _, detect := range []bool{false, true} {
		w, signer := newWorld(t, unlimited, func(s *setup) { s.config.DetectClones = detect }), newEd25519(t)
		w.bound("sdr-1", signer)
		proof := w.proof(signer, "sdr-1", 0)
		before := len(w.dump(keywright.KindKey))
		w.tallied("refreshes", parallel(20, func(int) answer { return w.refresh("sdr-1", proof) }), tally{200: 1, 401: 19})
		if keys := len(w.dump(keywright.KindKey)) - before; keys != 1 {
			t.Errorf("clones are detected: %v: %d keys, want 1", detect, keys)
		}
		w.want("the next", w.refresh("sdr-1", w.proof(signer, "sdr-1", 1)), 200, "")
	}
}

func TestTroubleOfTheStoreIsNoRefusalOfAProof(t *testing.T) {
	st := new(spy)
	w, signer := newWorld(t, spied(st)), newEd25519(t)
	w.bound("sdr-1", signer)
	for _, kind := range []string{provisioning.KindRunner, agent.Kind} {
		st.set(func(c storeCall) error {
			if c.method == "get" && c.kinds[0] == kind {
				return errors.New("trouble")
			}
			return nil
		})
		w.want("no "+kind+" can be read", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 503, "")
	}
	st.set(func(c storeCall) error {
		if c.method == "commit" {
			return &store.OpError{Op: store.Insert(store.Record{Kind: provisioning.KindProof}), Err: store.ErrFull}
		}
		return nil
	})
	w.want("the store is full", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 503, "")
	st.set(nil)
	w.setAgent(signer, func(a *agent.Record) { a.JWK = json.RawMessage(`{}`) })
	w.want("the public key is broken", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 500, "")
	_, thumbprint := jwkOf(t, signer.Public())
	if err := w.db.Commit(t.Context(), store.Put(store.Record{Kind: agent.Kind, ID: thumbprint, Data: []byte("{")})); err != nil {
		t.Fatal(err)
	}
	w.want("the agent is broken", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 500, "")
}
