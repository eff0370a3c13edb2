package provisioning_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

const rotatePath = "/api/enrollment/rotate"

// runner enrols one with an API key.
func (w *world) runner(name string) (apiKey string) {
	w.t.Helper()
	token, apiKey := w.provision(w.makeKey("for-"+name), name)
	if a := w.enroll(token, apiKey, name); a.status != 201 {
		w.t.Fatalf("enrol %s: %d %s", name, a.status, a.body)
	}
	return apiKey
}

func TestARunnerRotatesItsKey(t *testing.T) {
	w := newWorld(t, unlimited)
	old := w.runner("sdr-1")
	lost := w.call("POST", rotatePath, old, "")
	if lost.status != 200 || lost.field("runner_id") != "sdr-1" || lost.field("old_key_valid_until") != "" || lost.field("expires_at") != "" {
		t.Errorf("got %d %s", lost.status, lost.body)
	}
	w.clock.Advance(3000 * time.Hour) // the old one works until the new one is used, and for an hour after that
	again := w.call("POST", rotatePath, old, "")
	w.want("its answer got lost", again, 200, "")
	w.want("the key that got lost", w.call("GET", "/runner", lost.field("api_key"), ""), 401, badKey)
	next := again.field("api_key")
	w.want("the new key", w.call("GET", "/runner", next, ""), 200, "")
	w.want("the old one meanwhile", w.call("GET", "/runner", old, ""), 200, "")
	w.want("rotated once more by the old one", w.call("POST", rotatePath, old, ""), 409, "the key has been rotated already, and the new one was used or has ended")
	id, _ := w.host.Keys.ID(next)
	if shown := w.call("GET", "/api/runners/sdr-1", w.admin, ""); shown.field("key_id") != id {
		t.Errorf("the runner is shown as %s, want key %s", shown.body, id)
	}
	if e := w.events("provisioning.runner_rotated"); len(e) != 2 || e[1].Target != "sdr-1" || e[1].Attrs["key"] != id {
		t.Errorf("the events are %+v", e)
	}
	w.clock.Advance(time.Hour)
	w.want("the old one at its end", w.call("GET", "/runner", old, ""), 401, badKey)
	w.want("the new key", w.call("GET", "/runner", next, ""), 200, "")
	w.want("rotated by it", w.call("POST", rotatePath, next, ""), 200, "")
	w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	w.want("disabled", w.call("POST", rotatePath, next, ""), 401, badKey)
}

func TestARotatedKeyEndsAsLimitsSay(t *testing.T) {
	short := func(s *setup) { s.config.Limits.RunnerKey = 40 * time.Minute }
	w := newWorld(t, unlimited, short)
	old := w.runner("sdr-1")
	var p keywright.Principal
	json.Unmarshal([]byte(w.call("GET", "/runner", old, "").body), &p)
	w.clock.Advance(p.Expires.Sub(epoch) - 10*time.Minute)
	a := w.call("POST", rotatePath, old, "")
	if want := w.clock.Now().Add(40 * time.Minute).Format(time.RFC3339); a.status != 200 || a.field("expires_at") != want {
		t.Errorf("got %d %s, want its end at %s", a.status, a.body, want)
	}
	// The overlap of an hour does not make the old key live longer.
	if want := p.Expires.Format(time.RFC3339); a.field("old_key_valid_until") != want {
		t.Errorf("got %s, want the old one's end at %s", a.body, want)
	}

	// Without a limit any more, a key that has an end passes it on, and says so.
	forever, err := provisioning.New(provisioning.Config{Host: w.host})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := w.host.Keys.ID(a.field("api_key"))
	r, err := forever.RotateRunner(t.Context(), keywright.Principal{Subject: "sdr-1", Credential: id})
	if err != nil || !r.Expires.Equal(w.clock.Now().Add(40*time.Minute)) {
		t.Errorf("got an end at %v, %v", r.Expires, err)
	}
}

func TestARunnerWithAKeyPairDoesNotRotate(t *testing.T) {
	w, signer := newWorld(t, unlimited), newEd25519(t)
	w.bound("sdr-1", signer)
	key := w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)).field("api_key")
	before := w.dump(kinds...)
	w.want("rotate", w.call("POST", rotatePath, key, ""), 409, "This runner has a key pair: it refreshes")
	w.unchanged("refused", before)
}

func TestRotationsInParallelLeaveOneNewKey(t *testing.T) {
	w := newWorld(t, unlimited)
	old := w.runner("sdr-1")
	before := len(w.dump(keywright.KindKey))
	got := parallel(20, func(int) answer { return w.call("POST", rotatePath, old, "") })
	if got[200] == 0 || got[200]+got[503] != 20 {
		t.Errorf("got %v, want 200, or 503 for those that came too thick", got)
	}
	if made := len(w.dump(keywright.KindKey)) - before; made != 1 {
		t.Errorf("%d new keys, want 1", made)
	}
}

// The other one replaces the new key when the first is about to look whether it was used.
func TestARotationBesideAnotherOfAnUnusedKey(t *testing.T) {
	st := new(spy)
	w := newWorld(t, unlimited, spied(st))
	old := w.runner("sdr-1")
	w.want("its answer gets lost", w.call("POST", rotatePath, old, ""), 200, "")
	var done atomic.Bool
	st.set(func(c storeCall) error {
		if c.method == "get" && len(c.kinds) == 3 && c.kinds[1] == keywright.KindKeyFirst && c.kinds[2] == keywright.KindKey && done.CompareAndSwap(false, true) {
			w.want("the other", w.call("POST", rotatePath, old, ""), 200, "")
		}
		return nil
	})
	a := w.call("POST", rotatePath, old, "")
	w.want("the one", a, 200, "")
	w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
	if !done.Load() {
		t.Error("the other did not come between")
	}
}

// A rotation that another change of the runner comes before is made again.
func TestARotationBesideAnotherChange(t *testing.T) {
	st := new(spy)
	w := newWorld(t, unlimited, spied(st))
	old := w.runner("sdr-1")
	st.once("commit", keywright.KindKey, func() {
		w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	})
	a := w.call("POST", rotatePath, old, "")
	w.want("rotate", a, 200, "")
	w.want("its key, disabled", w.call("GET", "/runner", a.field("api_key"), ""), 401, badKey)
	w.want("enable", w.call("POST", "/api/runners/sdr-1/enable", w.admin, ""), 200, "")
	w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")

	// Beside its end, it is refused.
	st.onceAlone(provisioning.KindRunner, func() {
		w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	})
	w.want("deleted meanwhile", w.call("POST", rotatePath, a.field("api_key"), ""), 401, badKey)
}
