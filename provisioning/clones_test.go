package provisioning_test

import (
	"crypto"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/provisioning"
)

const locked = "This runner is locked: its key pair was used twice"

func detecting(s *setup) { s.config.DetectClones = true }

// unlocked checks that a runner is as good as ever.
func (w *world) unlocked(name, id string) {
	w.t.Helper()
	if a := w.call("GET", "/api/runners/"+id, w.admin, ""); a.status != 200 || !strings.Contains(a.body, `"enabled":true`) || strings.Contains(a.body, `"locked":true`) || len(w.events("provisioning.clone_detected")) > 0 {
		w.t.Errorf("%s: the runner is %d %s", name, a.status, a.body)
	}
}

// A step is a refresh that names seq, after a while, and the use of the key.
type step struct {
	after  time.Duration
	seq    int64
	use    bool
	status int
	number int64 // of the answer
}

func TestTheNumbersOfRefreshes(t *testing.T) {
	const second, hour = time.Second, time.Hour
	for _, tt := range []struct {
		name   string
		steps  []step
		locked bool
	}{
		{"go up", []step{{0, 0, true, 200, 1}, {0, 1, true, 200, 2}, {0, 2, true, 200, 3}}, false},
		{"go up without a use", []step{{0, 0, false, 200, 1}, {0, 1, false, 200, 2}, {0, 2, false, 200, 3}}, false},
		{"two back", []step{{0, 0, true, 200, 1}, {0, 1, true, 200, 2}, {0, 0, false, 403, 0}}, true},
		{"two back, and no key was used", []step{{0, 0, false, 200, 1}, {0, 1, false, 200, 2}, {0, 0, false, 403, 0}}, true},
		{"three back, hours later", []step{{0, 0, true, 200, 1}, {0, 1, true, 200, 2}, {0, 2, true, 200, 3}, {9 * hour, 0, false, 403, 0}}, true},
		{"one back, and the last key was used", []step{{0, 0, true, 200, 1}, {0, 0, false, 403, 0}}, true},
		{"one back, and the last key was used, later", []step{{0, 0, true, 200, 1}, {hour - second, 0, false, 403, 0}}, true},
		{"one back, and the last key was not used", []step{{0, 0, false, 200, 1}, {0, 0, true, 200, 1}, {0, 1, true, 200, 2}}, false},
		{"one back, again and again", []step{{0, 0, true, 200, 1}, {0, 1, false, 200, 2}, {9, 1, false, 200, 2}, {9, 1, false, 200, 2}, {0, 2, true, 200, 3}}, false},
		{"one back, and the key given again was used", []step{{0, 0, false, 200, 1}, {0, 0, true, 200, 1}, {0, 0, false, 403, 0}}, true},
		{"one back, and the last key has expired without a use", []step{{0, 0, false, 200, 1}, {hour, 0, true, 200, 1}, {0, 1, true, 200, 2}}, false},
		{"one back, and the last key has expired, who knows whether it was used", []step{{0, 0, true, 200, 1}, {hour, 0, true, 200, 1}, {0, 1, true, 200, 2}}, false},
		{"that nobody was given", []step{{0, 1, false, 401, 0}, {0, 0, true, 200, 1}, {0, 2, false, 401, 0}, {0, 1 << 60, false, 401, 0}, {0, 1, true, 200, 2}}, false},
		{"below zero", []step{{0, -1, false, 401, 0}, {0, 0, true, 200, 1}, {0, -1, false, 401, 0}, {0, 1, true, 200, 2}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, signer := newWorld(t, unlimited, detecting), newEd25519(t)
			w.bound("sdr-1", signer)
			var before string
			for i, s := range tt.steps {
				w.clock.Advance(s.after)
				a := w.refresh("sdr-1", w.proof(signer, "sdr-1", s.seq))
				name := fmt.Sprintf("step %d", i)
				w.want(name, a, s.status, map[int]string{401: badKey, 403: locked}[s.status])
				if s.status == 200 && a.sequence() != s.number {
					t.Errorf("%s: got %s, want the number %d", name, a.body, s.number)
				}
				if s.use {
					w.want(name+": its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
				}
				if i > 0 && s.status == 200 && s.number == tt.steps[i-1].number {
					w.want(name+": the key before", w.call("GET", "/runner", before, ""), 401, badKey)
				}
				before = a.field("api_key")
			}
			if !tt.locked {
				w.unlocked("at the end", "sdr-1")
			}
		})
	}
}

func TestARefreshNamesANumber(t *testing.T) {
	w, signer := newWorld(t, unlimited, detecting), newEd25519(t)
	w.bound("sdr-1", signer)
	for i, seq := range []any{nil, "0", 0.5, true, []int{0}, 1e30} {
		claims := map[string]any{"aud": base, "sub": "sdr-1", "iat": epoch.Unix(), "exp": epoch.Unix() + 60, "jti": fmt.Sprint(i), "seq": seq}
		proof := signed(map[string]any{"alg": "EdDSA", "typ": "runner-refresh+jwt"}, claims, withEd25519(signer))
		w.want(fmt.Sprint(seq), w.refresh("sdr-1", proof), 401, badKey)
	}
	claims := map[string]any{"aud": base, "sub": "sdr-1", "iat": epoch.Unix(), "exp": epoch.Unix() + 60, "jti": "none"}
	w.want("no number", w.refresh("sdr-1", signed(map[string]any{"alg": "EdDSA", "typ": "runner-refresh+jwt"}, claims, withEd25519(signer))), 401, badKey)
	w.unlocked("at the end", "sdr-1")
	w.want("a number", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 200, "")
}

func TestNumbersAreIgnoredUnlessClonesAreDetected(t *testing.T) {
	w, signer := newWorld(t, unlimited), newEd25519(t)
	w.bound("sdr-1", signer)
	for i, seq := range []int64{0, 0, 7, -1, 2} {
		a := w.refresh("sdr-1", w.proof(signer, "sdr-1", seq))
		if a.status != 200 || a.sequence() != int64(i+1) {
			t.Errorf("%d: got %d %s, want the number %d", seq, a.status, a.body, i+1)
		}
		w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
	}
	w.unlocked("at the end", "sdr-1")
}

// cloned makes a runner that is locked, with the keys of both parties.
func (w *world) cloned(id string, signer crypto.Signer) (keys []string) {
	w.t.Helper()
	w.bound(id, signer)
	for seq := range int64(2) {
		a := w.refresh(id, w.proof(signer, id, seq))
		w.want("refresh", a, 200, "")
		w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
		keys = append(keys, a.field("api_key"))
	}
	w.want("the clone", w.refresh(id, w.proof(signer, id, 0)), 403, locked)
	return keys
}

func TestACloneLocksTheRunner(t *testing.T) {
	w, signer, next := newWorld(t, unlimited, detecting), newEd25519(t), newEd25519(t)
	keys := w.cloned("sdr-1", signer)
	refused := func(name string) {
		t.Helper()
		for _, key := range keys {
			w.want(name+": a key", w.call("GET", "/runner", key, ""), 401, badKey)
		}
		for _, seq := range []int64{0, 1, 2, 3} {
			w.want(name+": a refresh", w.refresh("sdr-1", w.proof(signer, "sdr-1", seq)), 403, locked)
		}
		if _, err := w.find(signer); err != agent.ErrRefused {
			t.Errorf("%s: the agent: %v", name, err)
		}
		if a := w.call("GET", "/api/runners/sdr-1", w.admin, ""); !strings.Contains(a.body, `"enabled":false`) || !strings.Contains(a.body, `"locked":true`) {
			t.Errorf("%s: the runner is shown as %s", name, a.body)
		}
	}
	refused("locked")
	_, thumbprint := jwkOf(t, signer.Public())
	if e := w.events("provisioning.clone_detected"); len(e) != 1 || e[0].Target != "sdr-1" || e[0].Attrs["jkt"] != thumbprint || e[0].Remote == "" {
		t.Errorf("the events are %+v, want one", e)
	}
	if lines := w.log.String(); strings.Count(lines, "level=WARN") != 1 || !strings.Contains(lines, "runner locked\" runner=sdr-1") {
		t.Errorf("the log is %s", lines)
	}
	const text = "This runner is locked, for its key pair was used twice: re-enroll it with a new one"
	w.want("enable", w.call("POST", "/api/runners/sdr-1/enable", w.admin, ""), 409, text)
	w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	w.want("enable", w.call("POST", "/api/agents/sdr-1/enable", w.admin, ""), 409, text)
	refused("as before")
	p := w.reEnroll("sdr-1")
	refused("before the re-enrolment")
	w.want("with the old key pair", w.enrollBound(p, signer), 409, "")
	w.want("re-enrol", w.enrollBound(p, next), 201, "")
	if a := w.call("GET", "/api/runners/sdr-1", w.admin, ""); !strings.Contains(a.body, `"enabled":true`) || strings.Contains(a.body, "locked") {
		t.Errorf("re-enrolled: the runner is shown as %s", a.body)
	}
	for _, key := range keys {
		w.want("an old key", w.call("GET", "/runner", key, ""), 401, badKey)
	}
	w.want("an old key pair", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 401, badKey)
	a := w.refresh("sdr-1", w.proof(next, "sdr-1", 0))
	w.want("the numbers begin anew", a, 200, "")
	w.want("the new key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
	w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	w.want("enable", w.call("POST", "/api/runners/sdr-1/enable", w.admin, ""), 200, "")
}

func TestALockedRunnerIsDeletedLikeAnother(t *testing.T) {
	w, signer := newWorld(t, unlimited, detecting), newEd25519(t)
	w.cloned("sdr-1", signer)
	w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("provisioned anew", w.enrollBound(w.provisionBound(w.makeKey("ci"), "sdr-1"), signer), 201, "")
	w.want("its refresh", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 200, "")
}

// What a network does to requests is no sign of a clone.
func TestRequestsThatComeTwiceOrLateLockNothing(t *testing.T) {
	w, signer := newWorld(t, unlimited, detecting), newEd25519(t)
	w.bound("sdr-1", signer)
	late := w.proof(signer, "sdr-1", 0)
	w.clock.Advance(time.Second)
	proof := w.proof(signer, "sdr-1", 0)
	a := w.refresh("sdr-1", proof)
	w.want("refresh", a, 200, "")
	w.want("held up, before the key is used", w.refresh("sdr-1", late), 401, badKey)
	w.want("twice, before the key is used", w.refresh("sdr-1", proof), 401, badKey)
	w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
	w.want("held up", w.refresh("sdr-1", late), 401, badKey)
	w.want("twice", w.refresh("sdr-1", proof), 401, badKey)
	w.want("the next", w.refresh("sdr-1", w.proof(signer, "sdr-1", 1)), 200, "")
	w.want("held up, two back", w.refresh("sdr-1", late), 401, badKey)
	w.want("twice, two back", w.refresh("sdr-1", proof), 401, badKey)
	w.unlocked("at the end", "sdr-1")
	w.want("signed in the second of the last", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 403, locked)
}

func TestAFirstUseBesideARefreshIsSeen(t *testing.T) {
	st := new(spy)
	w, signer := newWorld(t, unlimited, detecting, spied(st)), newEd25519(t)
	w.bound("sdr-1", signer)
	key := w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)).field("api_key")
	st.once("commit", provisioning.KindProof, func() {
		w.want("the first use", w.call("GET", "/runner", key, ""), 200, "")
	})
	w.want("one back", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 403, locked)
	if n := len(w.events("provisioning.clone_detected")); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// What marks the use of a key goes when the key would have ended.
func TestAKeyThatIsGivenAgainLeavesNothing(t *testing.T) {
	st := new(spy)
	w, signer := newWorld(t, unlimited, detecting, spied(st)), newEd25519(t)
	w.bound("sdr-1", signer)
	w.want("refresh", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 200, "")
	st.set(func(c storeCall) error {
		if c.method == "get" && c.kinds[0] == keywright.KindKeyFirst {
			return errors.New("trouble")
		}
		return nil
	})
	w.want("nobody can tell whether it was used", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 503, "")
	st.set(nil)
	w.want("again", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 200, "")
	w.clock.Advance(time.Hour)
	if left := w.dump(keywright.KindKeyFirst, provisioning.KindProof); len(left) != 0 {
		t.Errorf("an hour later is left: %v", left)
	}
	w.unlocked("at the end", "sdr-1")
}

func TestRefreshesInParallel(t *testing.T) {
	w, signer := newWorld(t, unlimited, detecting), newEd25519(t)
	w.bound("sdr-1", signer)
	before := len(w.dump(keywright.KindKey))
	got := parallel(20, func(int) answer { return w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)) })
	if got[200] == 0 || got[200]+got[503] != 20 {
		t.Errorf("got %v, want 200, or 503 for those that came too thick", got)
	}
	if keys := len(w.dump(keywright.KindKey)) - before; keys != 1 {
		t.Errorf("%d keys, want that of the last", keys)
	}
	w.unlocked("nobody has used a key", "sdr-1")
	a := w.refresh("sdr-1", w.proof(signer, "sdr-1", 1))
	w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
	w.tallied("old numbers", parallel(20, func(i int) answer { return w.refresh("sdr-1", w.proof(signer, "sdr-1", int64(i%2))) }), tally{403: 20})
	if n := len(w.events("provisioning.clone_detected")); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}
