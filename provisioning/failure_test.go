package provisioning_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// A trial is a call in a world that is ready for it, and its status.
type trial struct {
	name    string
	prepare func(w *world) (method, path, bearer, body string)
	want    int
}

var trials = []trial{
	{"create", func(w *world) (_, _, _, _ string) { return "POST", keysPath, w.admin, `{"key_id":"new"}` }, 201},
	{"list", func(w *world) (_, _, _, _ string) {
		w.makeKey("ci", `"max_uses":3`)
		return "GET", keysPath, w.admin, ""
	}, 200},
	{"toggle", func(w *world) (_, _, _, _ string) {
		w.makeKey("ci")
		return "POST", keysPath + "/ci/toggle", w.admin, `{"enabled":false}`
	}, 200},
	{"rotate a key", func(w *world) (_, _, _, _ string) {
		w.makeKey("ci")
		return "POST", keysPath + "/ci/rotate", w.admin, ""
	}, 200},
	{"delete a key", func(w *world) (_, _, _, _ string) {
		w.makeKey("ci")
		return "DELETE", keysPath + "/ci", w.admin, ""
	}, 200},
	{"what a key has made", func(w *world) (_, _, _, _ string) {
		w.provision(w.makeKey("ci"), "sdr-1")
		return "GET", keysPath + "/ci/runners", w.admin, ""
	}, 200},
	{"provision", func(w *world) (_, _, _, _ string) {
		return "POST", provisionPath, w.makeKey("ci", `"max_pending":3`, `"max_uses":3`), named("sdr-1")
	}, 201},
	{"provision again", func(w *world) (_, _, _, _ string) {
		key := w.makeKey("ci", `"max_pending":3`)
		w.provision(key, "sdr-1")
		return "POST", provisionPath, key, named("sdr-1")
	}, 201},
	{"enrol", func(w *world) (_, _, _, _ string) {
		token, key := w.provision(w.makeKey("ci", `"max_pending":3`), "sdr-1")
		return "POST", enrollPath, "", enrollment(token, key, "sdr-1")
	}, 201},
	{"enrol again", func(w *world) (_, _, _, _ string) {
		token, key := w.provision(w.makeKey("ci"), "sdr-1")
		w.enroll(token, key, "sdr-1")
		return "POST", enrollPath, "", enrollment(token, key, "sdr-1")
	}, 201},
	{"enrol anew", func(w *world) (_, _, _, _ string) {
		w.enrolled("sdr-1")
		a := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
		return "POST", enrollPath, "", enrollment(a.field("token"), a.field("api_key"), "sdr-1")
	}, 201},
	{"make a token", func(w *world) (_, _, _, _ string) { return "POST", "/api/enrollment/token", w.admin, named("sdr-1") }, 201},
	{"make a token for a runner", func(w *world) (_, _, _, _ string) {
		w.enrolled("sdr-1")
		return "POST", "/api/enrollment/re-enroll/sdr-1", w.admin, ""
	}, 201},
	{"list tokens", func(w *world) (_, _, _, _ string) {
		w.provision(w.makeKey("ci"), "sdr-1")
		return "GET", "/api/enrollment/tokens", w.admin, ""
	}, 200},
	{"delete a token", func(w *world) (_, _, _, _ string) {
		token, _ := w.provision(w.makeKey("ci", `"max_pending":3`), "sdr-1")
		return "DELETE", "/api/enrollment/token/" + token, w.admin, ""
	}, 200},
	{"list runners", func(w *world) (_, _, _, _ string) {
		w.enrolled("sdr-1")
		return "GET", "/api/runners", w.admin, ""
	}, 200},
	{"a runner", func(w *world) (_, _, _, _ string) {
		w.enrolled("sdr-1")
		return "GET", "/api/runners/sdr-1", w.admin, ""
	}, 200},
	{"disable a runner", func(w *world) (_, _, _, _ string) {
		w.enrolled("sdr-1")
		return "POST", "/api/runners/sdr-1/disable", w.admin, ""
	}, 200},
	{"delete a runner", func(w *world) (_, _, _, _ string) {
		w.enrolled("sdr-1")
		w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
		return "DELETE", "/api/runners/sdr-1", w.admin, ""
	}, 200},
	{"rotate a runner's key", func(w *world) (_, _, _, _ string) { return "POST", "/api/enrollment/rotate", w.enrolled("sdr-1"), "" }, 200},
	{"a runner's request", func(w *world) (_, _, _, _ string) { return "GET", "/runner", w.enrolled("sdr-1"), "" }, 200},
}

// enrolled makes a runner and returns its key.
func (w *world) enrolled(id string) string {
	w.t.Helper()
	token, key := w.provision(w.makeKey("for-"+id), id)
	w.want("enrol "+id, w.enroll(token, key, id), 201, "")
	return key
}

// warned looks at the runner in each request: a world whose runners are looked at in each request.
func warned(s *setup) { s.config.Binding = provisioning.BindWarn }

// Whichever call of the store fails, and how: the answer is 503, nothing is
// half done, no cause is told, and the same request succeeds afterwards.
func TestStoreInTrouble(t *testing.T) {
	for _, tt := range trials {
		for _, failure := range []error{errors.New("the disk of db-7 is full"), store.ErrFull, store.ErrConflict} {
			for n := int64(1); ; n++ {
				s := new(spy)
				w := newWorld(t, spied(s), warned)
				method, path, bearer, body := tt.prepare(w)
				before := w.dump(kinds...)
				var seen atomic.Int64
				s.set(func(c storeCall) error {
					if failure == store.ErrConflict && c.method != "commit" {
						return nil // only a commit says so
					}
					if i := seen.Add(1); i == n || i > n && failure == store.ErrConflict {
						return failure
					}
					return nil
				})
				a := w.call(method, path, bearer, body)
				s.set(nil)
				if seen.Load() < n {
					w.want(tt.name, a, tt.want, "")
					break // all calls have had their turn
				}
				if a.status != 503 || a.field("code") != string(keywright.CodeUnavailable) || strings.Contains(a.body, "db-7") {
					t.Errorf("%s, call %d, %v: got %d %s", tt.name, n, failure, a.status, a.body)
				}
				w.unchanged(tt.name, before)
				w.want(tt.name+", afterwards", w.call(method, path, bearer, body), tt.want, "")
			}
		}
	}
}

// What other changes of the same records come in between is seen: each of them
// succeeds, up to the third time.
func TestChangesInBetweenAreTriedAgain(t *testing.T) {
	for _, tt := range trials {
		if slices.Contains([]string{"create", "list", "list tokens", "list runners", "a runner", "a runner's request", "enrol again", "what a key has made"}, tt.name) {
			continue // they change nothing that was there
		}
		for fails := int64(1); fails <= 2; fails++ {
			s := new(spy)
			w := newWorld(t, spied(s))
			method, path, bearer, body := tt.prepare(w)
			w.call("GET", "/runner", bearer, "") // whose first use is a commit of its own
			var seen atomic.Int64
			s.set(func(c storeCall) error {
				if c.method == "commit" && slices.Contains(c.kinds, keywright.KindEvent) && seen.Add(1) <= fails {
					return &store.OpError{Err: store.ErrConflict}
				}
				return nil
			})
			w.want(tt.name, w.call(method, path, bearer, body), tt.want, "")
			if seen.Load() != fails+1 {
				t.Errorf("%s: %d tries, want %d", tt.name, seen.Load(), fails+1)
			}
		}
	}
}

// Row "rate limit" and weakness 14, "shared by all replicas": what one server
// does the next request to another sees, and a restart forgets nothing.
func TestReplicas(t *testing.T) {
	one := newWorld(t)
	two := newWorld(t, func(s *setup) {
		s.host.Store, s.host.Hooks.Now = one.db, one.clock.Now
	})
	key := one.makeKey("ci", `"per_hour":4`)
	token, runner := two.provision(key, "sdr-1")
	one.provision(key, "sdr-2")
	two.want("enrol", two.enroll(token, runner, "sdr-1"), 201, "")
	for _, w := range []*world{one, two} {
		w.want("the runner", w.call("GET", "/runner", runner, ""), 200, "")
		w.want("again", w.enroll(token, runner, "sdr-1"), 409, taken)
	}
	one.want("disable", one.call("POST", "/api/runners/sdr-1/disable", one.admin, ""), 200, "")
	two.want("disabled", two.call("GET", "/runner", runner, ""), 401, badKey)
	one.want("enable", one.call("POST", "/api/runners/sdr-1/enable", one.admin, ""), 200, "")
	two.want("enabled", two.call("GET", "/runner", runner, ""), 200, "")
	one.want("disable", one.call("POST", keysPath+"/ci/toggle", one.admin, `{"enabled":false}`), 200, "")
	two.want("disabled", two.call("POST", provisionPath, key, named("sdr-3")), 401, badProvKey)
	two.want("enable", two.call("POST", keysPath+"/ci/toggle", one.admin, `{}`), 200, "")
	one.want("the third", one.call("POST", provisionPath, key, named("sdr-3")), 201, "")
	two.want("the fourth", two.call("POST", provisionPath, key, named("sdr-3")), 201, "")
	one.want("the fifth", one.call("POST", provisionPath, key, named("sdr-3")), 429, "")
	two.want("the sixth", two.call("POST", provisionPath, key, named("sdr-3")), 429, "")
	one.clock.Advance(time.Hour)
	two.want("an hour later", two.call("POST", provisionPath, key, named("sdr-3")), 201, "")
}

// Row "duplicate key_id" and weakness 3: the 409 left a write lock behind.
func TestDuplicateKeyLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	for range 20 {
		before := w.dump(kinds...)
		w.want("taken", w.call("POST", keysPath, w.admin, `{"key_id":"ci","max_uses":1}`), 409, "Failed to create provisioning key (key_id may already exist)")
		w.unchanged("taken", before)
		start := time.Now()
		w.want("another writer", w.call("POST", keysPath, w.admin, `{"key_id":"other"}`), 201, "")
		w.provision(key, "sdr-1")
		w.want("another writer", w.call("DELETE", keysPath+"/other", w.admin, ""), 200, "")
		if took := time.Since(start); took > 4*time.Second { // there it was 5 s and a 500
			t.Errorf("the next writers waited %v", took)
		}
	}
}

// Names that nothing can have are not looked for.
func TestNamesThatAreNoneCostNoLookUp(t *testing.T) {
	st := new(spy)
	w := newWorld(t, spied(st))
	asked := 0
	st.set(func(c storeCall) error {
		if slices.Contains(c.kinds, provisioning.KindKey) || slices.Contains(c.kinds, provisioning.KindRunner) {
			asked++
		}
		return nil
	})
	for _, bad := range []string{"", "a b", "\x00", strings.Repeat("x", 65), "../x"} {
		_, keyErr := w.prov.Key(t.Context(), bad)
		_, runnerErr := w.prov.Runner(t.Context(), bad)
		for _, err := range []error{keyErr, runnerErr} {
			if keywright.AsError(err).Code != keywright.CodeNotFound {
				t.Errorf("%q: got %v", bad, err)
			}
		}
	}
	if asked != 0 {
		t.Errorf("%d look-ups, want none", asked)
	}
}
