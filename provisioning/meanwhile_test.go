package provisioning_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// An enrolment comes between the look at a token that is pending and the look at
// what it is: it is not replaced any more.
func TestEnrolledBetweenTwoLooks(t *testing.T) {
	s := new(spy)
	w := newWorld(t, spied(s))
	key := w.makeKey("ci")
	token, apiKey := w.provision(key, "sdr-1")
	s.onceAlone(provisioning.KindEnrollment, func() {
		w.want("meanwhile", w.enroll(token, apiKey, "sdr-1"), 201, "")
	})
	w.want("too late", w.call("POST", provisionPath, key, named("sdr-1")), 409, taken)
	w.want("the answer got lost", w.enroll(token, apiKey, "sdr-1"), 201, "")
	if n := len(w.dump(provisioning.KindPending)); n != 1 {
		t.Errorf("%d marks of the enrolment, want one for a minute", n)
	}
	again := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
	w.want("the answer got lost, and others are made", w.enroll(token, apiKey, "sdr-1"), 201, "")
	w.want("withdraw those", w.call("DELETE", "/api/enrollment/token/"+again.field("token"), w.admin, ""), 200, "")
	other, otherKey := w.provision(key, "sdr-2")
	w.want("enrol", w.enroll(other, otherKey, "sdr-2"), 201, "")
	w.want("delete at once", w.call("DELETE", "/api/runners/sdr-2", w.admin, ""), 200, "")
	w.want("a deleted runner", w.enroll(other, otherKey, "sdr-2"), 403, ended)
	third, thirdKey := w.provision(key, "sdr-3")
	w.want("enrol", w.enroll(third, thirdKey, "sdr-3"), 201, "")
	w.clock.Advance(time.Minute)
	if left := w.dump(provisioning.KindPending); len(left) != 0 {
		t.Errorf("a minute later: %v", left)
	}
}

// The same enrolment twice at once, or anew: whoever comes second by a moment is
// answered like the first.
func TestEnrolledTwiceAtOnce(t *testing.T) {
	for _, anew := range []bool{false, true} {
		s := new(spy)
		w := newWorld(t, spied(s))
		token, apiKey := w.provision(w.makeKey("ci"), "sdr-1")
		if anew {
			w.want("enrol", w.enroll(token, apiKey, "sdr-1"), 201, "")
			a := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
			token, apiKey = a.field("token"), a.field("api_key")
		}
		var first answer
		s.once("get", provisioning.KindPending, func() { first = w.enroll(token, apiKey, "sdr-1") })
		second := w.enroll(token, apiKey, "sdr-1")
		if first.status != 201 || second.status != 201 || first.body != second.body {
			t.Errorf("anew %v: got %d %s, then %d %s", anew, first.status, first.body, second.status, second.body)
		}
		w.want("the runner", w.call("GET", "/runner", apiKey, ""), 200, "")
	}
}

// A key is switched off between the look at it and the end of an enrolment.
func TestKeyEndsDuringAnEnrolment(t *testing.T) {
	for _, c := range []struct{ method, path, body string }{
		{"POST", keysPath + "/ci/toggle", `{"enabled":false}`}, {"DELETE", keysPath + "/ci", ""},
	} {
		s := new(spy)
		w := newWorld(t, spied(s))
		token, apiKey := w.provision(w.makeKey("ci"), "sdr-1")
		s.once("commit", provisioning.KindRunner, func() {
			w.want("meanwhile", w.call(c.method, c.path, w.admin, c.body), 200, "")
		})
		w.want(c.method, w.enroll(token, apiKey, "sdr-1"), 401, badToken)
		if n := len(w.dump(provisioning.KindRunner)); n != 0 {
			t.Errorf("%s: there is a runner", c.method)
		}
	}
}

// A runner is deleted, and one of its name made, while it gets new credentials:
// they are nobody's.
func TestRunnerEndsDuringAReEnrolment(t *testing.T) {
	for _, anew := range []bool{false, true} {
		s := new(spy)
		w := newWorld(t, spied(s))
		key := w.makeKey("ci")
		enrol := func() string {
			token, apiKey := w.provision(key, "sdr-1")
			w.want("enrol", w.enroll(token, apiKey, "sdr-1"), 201, "")
			return apiKey
		}
		enrol()
		w.clock.Advance(2 * time.Minute)
		live := ""
		s.once("commit", provisioning.KindEnrollment, func() {
			w.want("meanwhile", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
			if anew {
				live = enrol()
			}
		})
		a := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
		w.want("credentials for a runner that was there", a, 201, "")
		w.want("and is not", w.enroll(a.field("token"), a.field("api_key"), "sdr-1"), 401, badToken)
		if anew {
			w.want("the one of its name", w.call("GET", "/runner", live, ""), 200, "")
		}
	}
}

// Many who want the same place among those for pending enrolments get another.
func TestPlaceIsTakenAgainAndAgain(t *testing.T) {
	s := new(spy)
	w := newWorld(t, spied(s))
	key := w.makeKey("ci", `"max_pending":2`)
	for _, tt := range []struct{ taken, status int }{{0, 201}, {50, 201}, {1000, 503}} {
		left := tt.taken
		s.set(func(c storeCall) error {
			if c.method != "commit" || !strings.Contains(strings.Join(c.kinds, " "), provisioning.KindSlot) || left == 0 {
				return nil
			}
			left--
			return &store.OpError{Op: store.Insert(store.Record{Kind: provisioning.KindSlot}), Err: store.ErrExists}
		})
		w.want("taken again and again", w.call("POST", provisionPath, key, named("sdr-1")), tt.status, "")
		s.set(nil)
	}
}

// Whoever knows the public ids, from a list, a log or the database, but not the
// secrets has nothing: their checksums are right.
func TestPublicIDsProveNothing(t *testing.T) {
	w := newWorld(t, unlimited)
	key := w.makeKey("ci")
	token, apiKey := w.provision(key, "sdr-1")
	forged := func(kind, text string) string {
		id, _ := w.host.Keys.ID(text)
		forgery, err := w.host.Keys.Derive(kind, id, bytes.Repeat([]byte{7}, 36))
		if err != nil {
			t.Fatal(err)
		}
		return forgery
	}
	before := w.dump(kinds...)
	w.want("the token", w.enroll(forged("enrollment", token), apiKey, "sdr-1"), 401, badToken)
	w.want("the runner's key", w.enroll(token, forged("runner", apiKey), "sdr-1"), 401, badToken)
	w.want("the provisioning key", w.call("POST", provisionPath, forged("provisioning", key), named("sdr-2")), 401, badProvKey)
	w.unchanged("forged", before)
	w.want("enrol", w.enroll(token, apiKey, "sdr-1"), 201, "")
	w.want("the token, spent", w.enroll(forged("enrollment", token), apiKey, "sdr-1"), 401, badToken)
	w.want("the runner's key, spent", w.enroll(token, forged("runner", apiKey), "sdr-1"), 401, badToken)
	w.want("the runner", w.call("GET", "/runner", forged("runner", apiKey), ""), 401, badKey)
}

// A record that somebody has spoiled is a defect and is told as one, once to the
// operator and not to the caller.
func TestSpoiledRecords(t *testing.T) {
	for _, tt := range trials {
		for _, kind := range []string{provisioning.KindKey, provisioning.KindEnrollment, provisioning.KindRunner, provisioning.KindMade} {
			w := newWorld(t)
			method, path, bearer, body := tt.prepare(w)
			spoilt := false
			for r, err := range w.db.List(t.Context(), store.Query{Kind: kind}) {
				if err != nil {
					t.Fatal(err)
				}
				r.Data = []byte("{")
				spoilt = true
				if err := w.db.Commit(t.Context(), store.Replace(r)); err != nil {
					t.Fatal(err)
				}
			}
			before := w.dump(kinds...)
			a := w.call(method, path, bearer, body)
			switch {
			case a.status == tt.want: // it has not looked at that kind
			case !spoilt || a.status != 500 || a.field("error") != "Internal error":
				t.Errorf("%s without its %s: got %d %s", tt.name, kind, a.status, a.body)
			case !strings.Contains(w.log.String(), "level=ERROR"):
				t.Errorf("%s without its %s: no log", tt.name, kind)
			default:
				w.unchanged(tt.name, before)
			}
			if reads[tt.name] == kind && a.status != 500 {
				t.Errorf("%s without its %s: got %d %s", tt.name, kind, a.status, a.body)
			}
		}
	}
}

// reads is what calls cannot do without.
var reads = map[string]string{
	"list": provisioning.KindKey, "toggle": provisioning.KindKey, "rotate a key": provisioning.KindKey, "delete a key": provisioning.KindKey,
	"what a key has made": provisioning.KindMade, "provision": provisioning.KindKey, "provision again": provisioning.KindEnrollment, "enrol": provisioning.KindEnrollment,
	"list tokens": provisioning.KindEnrollment, "enrol again": provisioning.KindRunner, "enrol anew": provisioning.KindRunner, "make a token for a runner": provisioning.KindRunner, "delete a token": provisioning.KindEnrollment,
	"list runners": provisioning.KindRunner, "a runner": provisioning.KindRunner, "disable a runner": provisioning.KindRunner, "delete a runner": provisioning.KindRunner,
}
