package provisioning_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning"
)

func perHour(n int) func(*setup) {
	return func(s *setup) { s.config.Limits.PerHour = n }
}

func named(name string) string { return `{"runner_name":"` + name + `"}` }

const (
	keysPath      = "/api/provisioning/keys"
	provisionPath = "/api/provisioning/provision"
	enrollPath    = "/api/enrollment/enroll"
)

// Row "single use" of table 3a; weakness 5: five enrolments at once made five
// runners, each with an id and a key of the enroller's choice. PRV-18 has 64 at once.
func TestPRV18OneTokenEnrolsOneRunner(t *testing.T) {
	for _, n := range []int{5, 64, 200} {
		w := newWorld(t, unlimited)
		key := w.makeKey("ci")
		token, apiKey := w.provision(key, "sdr-1")
		_, other := w.provision(key, "sdr-2")
		got := parallel(n, func(i int) answer {
			switch i % 5 {
			case 3:
				return w.enroll(token, apiKey, "sdr-"+strconv.Itoa(i+100))
			case 4:
				return w.enroll(token, other, "sdr-1")
			}
			return w.enroll(token, apiKey, "sdr-1")
		})
		w.tallied(fmt.Sprintf("%d at once", n), got, tally{201: n - n/5*2 - max(0, n%5-3), 401: n/5*2 + max(0, n%5-3)})
		if runners, events := w.dump(provisioning.KindRunner), w.events("provisioning.enrolled"); len(runners) != 1 || len(events) != 1 {
			t.Errorf("%d at once: %d runners and %d events, want one of each", n, len(runners), len(events))
		}
		w.want("the runner", w.call("GET", "/runner", apiKey, ""), 200, "")
	}
}

// PRV-25, and "exactly 100 of 200" of the issue.
func TestPRV25ExactlyAHundredPerHour(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	got := parallel(1000, func(i int) answer { return w.call("POST", provisionPath, key, named(fmt.Sprintf("sdr-%d", i))) })
	w.tallied("1,000 at once", got, tally{201: 100, 429: 900})
	other := w.makeKey("other", `"per_hour":150`)
	for i := range 50 {
		w.provision(other, fmt.Sprintf("early-%d", i))
	}
	got = parallel(200, func(i int) answer { return w.call("POST", provisionPath, other, named(fmt.Sprintf("late-%d", i))) })
	w.tallied("200 with a hundred left", got, tally{201: 100, 429: 100})
	w.clock.Advance(time.Hour)
	got = parallel(200, func(i int) answer { return w.call("POST", provisionPath, key, named(fmt.Sprintf("next-%d", i))) })
	w.tallied("200 in the next hour", got, tally{201: 100, 429: 100})
}

func TestUsesAndPendingAreCountedExactly(t *testing.T) {
	for _, tt := range []struct {
		setting string
		text    string
		kind    string
	}{
		{`"max_uses":30`, "This provisioning key has no uses left", provisioning.KindEnrollment},
		{`"max_pending":30`, "This provisioning key has as many enrollments pending as it may have", provisioning.KindSlot},
	} {
		w := newWorld(t)
		key := w.makeKey("ci", tt.setting)
		got := parallel(90, func(i int) answer {
			a := w.call("POST", provisionPath, key, named(fmt.Sprintf("sdr-%d", i)))
			if a.status != 201 && a.field("error") != tt.text {
				t.Errorf("%s: got %d %s", tt.setting, a.status, a.body)
			}
			return a
		})
		w.tallied(tt.setting, got, tally{201: 30, 403: 60})
		if n := len(w.dump(tt.kind)); n != 30 {
			t.Errorf("%s: %d records of kind %s, want 30", tt.setting, n, tt.kind)
		}
	}
}

// Whatever is in flight while a key is switched or deleted: once the call that
// did so is answered, nothing of it works.
func TestKeyEndsWhileItIsUsed(t *testing.T) {
	for _, end := range []struct{ name, method, path, body string }{
		{"disabled", "POST", "/api/provisioning/keys/ci/toggle", `{"enabled":false}`},
		{"deleted", "DELETE", "/api/provisioning/keys/ci", ""},
	} {
		w := newWorld(t)
		key := w.makeKey("ci")
		made := make([]answer, 60)
		got := parallel(len(made)+1, func(i int) answer {
			if i == len(made) {
				a := w.call(end.method, end.path, w.admin, end.body)
				w.want("at once", w.call("POST", provisionPath, key, named("late")), 401, "Invalid provisioning API key")
				return a
			}
			made[i] = w.call("POST", provisionPath, key, named(fmt.Sprintf("sdr-%d", i)))
			return made[i]
		})
		if got[200] != 1 || got[201]+got[401] != len(made) {
			t.Errorf("%s: got %v", end.name, got)
		}
		for i, a := range made {
			if a.status == 201 {
				w.want(end.name, w.enroll(a.field("enrollment_token"), a.field("api_key"), fmt.Sprintf("sdr-%d", i)), 401, "Invalid or expired enrollment token")
			}
		}
		if n := len(w.dump(provisioning.KindRunner)); n != 0 {
			t.Errorf("%s: %d runners", end.name, n)
		}
	}
}

func TestManySwitchAKey(t *testing.T) {
	w := newWorld(t)
	w.makeKey("ci")
	got := parallel(60, func(i int) answer {
		return w.call("POST", "/api/provisioning/keys/ci/toggle", w.admin, fmt.Sprintf(`{"enabled":%v}`, i%2 == 0))
	})
	if got[200]+got[503] != 60 || got[200] == 0 {
		t.Errorf("got %v, want 200, and 503 for those who were crowded out", got)
	}
	w.want("afterwards", w.call("POST", "/api/provisioning/keys/ci/toggle", w.admin, `{"enabled":true}`), 200, "")
}

// Row "existing runner": either the enrolment comes first, then the name is
// taken; or its token is replaced, then it is dead.
func TestProvisionedAgainWhileItEnrols(t *testing.T) {
	w := newWorld(t, unlimited, perHour(1000))
	key := w.makeKey("ci")
	for i := range 60 {
		name := fmt.Sprintf("sdr-%d", i)
		token, apiKey := w.provision(key, name)
		var again answer
		got := parallel(2, func(j int) answer {
			if j == 0 {
				return w.enroll(token, apiKey, name)
			}
			again = w.call("POST", provisionPath, key, named(name))
			return again
		})
		if got[201] != 1 || got[401]+got[409] != 1 {
			t.Errorf("%s: got %v", name, got)
		}
		if again.status != 201 {
			continue
		}
		w.want("the token that was replaced", w.enroll(token, apiKey, name), 401, "Invalid or expired enrollment token")
		w.want("the new one", w.enroll(again.field("enrollment_token"), again.field("api_key"), name), 201, "")
	}
}

// A request that has seen no runner of that name finds that there is one by now.
func TestProvisionedBetweenItsLookAndItsCommit(t *testing.T) {
	s := new(spy)
	w := newWorld(t, spied(s))
	one, two := w.makeKey("one"), w.makeKey("two")
	s.once("commit", provisioning.KindEnrollment, func() {
		token, apiKey := w.provision(two, "sdr-1")
		w.want("meanwhile", w.enroll(token, apiKey, "sdr-1"), 201, "")
	})
	w.want("too late", w.call("POST", provisionPath, one, named("sdr-1")), 409, "Runner ID already enrolled")
	for path, want := range map[string]string{"/api/provisioning/keys/one/runners": `{"runners":[]}`, "/api/provisioning/keys/two/runners": "enrolled"} {
		if a := w.call("GET", path, w.admin, ""); !strings.Contains(a.body, want) {
			t.Errorf("%s: got %s, want %s", path, a.body, want)
		}
	}
}

// What happens to a key between its authentication and its look at the key, and
// between that and the commit, counts. Nothing is made in vain, and nothing refused.
func TestKeyChangesDuringARequest(t *testing.T) {
	type call struct{ method, path, body string }
	remove := call{"DELETE", "/api/provisioning/keys/ci", ""}
	for _, tt := range []struct {
		name  string
		calls []call
		want  int
	}{
		{"disabled", []call{{"POST", "/api/provisioning/keys/ci/toggle", `{"enabled":false}`}}, 401},
		{"deleted", []call{remove}, 401},
		{"rotated", []call{{"POST", "/api/provisioning/keys/ci/rotate", ""}}, 201},
		{"disabled and enabled", []call{{"POST", "/api/provisioning/keys/ci/toggle", `{"enabled":false}`}, {"POST", "/api/provisioning/keys/ci/toggle", `{}`}}, 201},
		{"made anew", []call{remove, {"POST", "/api/provisioning/keys", `{"key_id":"ci"}`}}, 401},
	} {
		for _, early := range []bool{true, false} {
			if early && tt.name == "made anew" {
				continue // between two reads: whoever had the old key meets the new one once
			}
			s := new(spy)
			w := newWorld(t, spied(s))
			key := w.makeKey("ci")
			w.provision(key, "sdr-1") // so the key is remembered, and asked for together with its parent
			var before map[string]string
			meanwhile := func() {
				for _, c := range tt.calls {
					if a := w.call(c.method, c.path, w.admin, c.body); a.status >= 300 {
						t.Errorf("%s: meanwhile: %d %s", tt.name, a.status, a.body)
					}
				}
				before = w.dump(kinds...)
			}
			if early {
				s.onceAlone(provisioning.KindKey, meanwhile)
			} else {
				s.once("commit", provisioning.KindEnrollment, meanwhile)
			}
			a := w.call("POST", provisionPath, key, named("sdr-2"))
			if a.status != tt.want || before == nil {
				t.Errorf("%s, early %v: got %d %s, want %d", tt.name, early, a.status, a.body, tt.want)
			}
			if tt.want == 401 {
				w.unchanged(tt.name, before)
			}
		}
	}
}

func TestRunnerIsDeletedWhileItEnrols(t *testing.T) {
	w := newWorld(t, unlimited, perHour(1000))
	key := w.makeKey("ci")
	for i := range 30 {
		name := fmt.Sprintf("sdr-%d", i)
		token, old := w.provision(key, name)
		w.enroll(token, old, name)
		again := w.call("POST", "/api/enrollment/re-enroll/"+name, w.admin, "")
		got := parallel(2, func(j int) answer {
			if j == 0 {
				return w.enroll(again.field("token"), again.field("api_key"), name)
			}
			return w.call("DELETE", "/api/runners/"+name, w.admin, "")
		})
		if got[200] != 1 || got[201]+got[401]+got[403] != 1 {
			t.Errorf("%s: got %v", name, got)
		}
		for _, dead := range []string{old, again.field("api_key")} {
			w.want("after it was deleted", w.call("GET", "/runner", dead, ""), 401, "Invalid API key")
		}
	}
	if left := w.dump(provisioning.KindRunner, provisioning.KindPending, provisioning.KindMade); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestKeyIsRotatedWhileItIsUsed(t *testing.T) {
	w := newWorld(t, perHour(1000))
	key := w.makeKey("ci")
	got := parallel(61, func(i int) answer {
		if i == 60 {
			a := w.call("POST", "/api/provisioning/keys/ci/rotate", w.admin, "")
			w.provision(a.field("api_key"), "by-the-new-key")
			return a
		}
		return w.call("POST", provisionPath, key, named(fmt.Sprintf("sdr-%d", i)))
	})
	w.tallied("rotated once", got, tally{200: 1, 201: 60})
	got = parallel(20, func(i int) answer {
		a := w.call("POST", "/api/provisioning/keys/ci/rotate", w.admin, "")
		if a.status == 200 {
			now := w.call("POST", provisionPath, a.field("api_key"), named(fmt.Sprintf("rotated-%d", i)))
			if now.status != 201 && now.status != 503 { // 503: crowded out
				t.Errorf("the key of rotation %d: got %d %s", i, now.status, now.body)
			}
		}
		return a
	})
	if got[200]+got[503] != 20 || got[200] == 0 {
		t.Errorf("rotated by many: got %v", got)
	}
}

func TestOneOfTwoMakesAKey(t *testing.T) {
	w := newWorld(t)
	got := parallel(20, func(int) answer { return w.call("POST", keysPath, w.admin, `{"key_id":"ci"}`) })
	w.tallied("20 at once", got, tally{201: 1, 409: 19})
	if n := len(w.dump(provisioning.KindKey)); n != 1 {
		t.Errorf("%d keys", n)
	}
}
