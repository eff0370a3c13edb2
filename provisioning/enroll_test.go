package provisioning_test

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// From an administrator's key to a runner that works, and to its end.
func TestFromKeyToRunner(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci", `"description":"builds"`)
	if !strings.HasPrefix(key, "ck_prov_") {
		t.Errorf("the key begins with %.10q", key)
	}
	token, apiKey := w.provision(key, "sdr-1")
	if !strings.HasPrefix(token, "ck_enroll_") || !strings.HasPrefix(apiKey, "ck_runner_") {
		t.Errorf("the credentials begin with %.10q and %.10q", token, apiKey)
	}
	w.want("before its enrolment", w.call("GET", "/runner", apiKey, ""), 401, "Invalid API key")
	enrolled := w.enroll(token, apiKey, "sdr-1")
	if want := `{"success":true,"runner_id":"sdr-1","message":"Runner sdr-1 enrolled successfully"}`; enrolled.status != 201 || enrolled.body != want {
		t.Errorf("enrolment: got %d %s, want 201 %s", enrolled.status, enrolled.body, want)
	}
	if again := w.enroll(token, apiKey, "sdr-1"); again.status != 201 || again.body != enrolled.body {
		t.Errorf("the answer got lost: %d %s", again.status, again.body)
	}
	w.want("the runner", w.call("GET", "/runner", apiKey, ""), 200, "")
	w.want("again, after the first use", w.enroll(token, apiKey, "sdr-1"), 409, "Runner ID already enrolled")
	w.want("provisioned again", w.call("POST", "/api/provisioning/provision", key, `{"runner_name":"sdr-1"}`), 409, "Runner ID already enrolled")
	w.want("list", w.call("GET", "/api/runners", w.admin, ""), 200, "")
	w.want("what the key has made", w.call("GET", "/api/provisioning/keys/ci/runners", w.admin, ""), 200, "")
	w.want("the key is deleted", w.call("DELETE", "/api/provisioning/keys/ci", w.admin, ""), 200, "")
	w.want("the key", w.call("POST", "/api/provisioning/provision", key, `{"runner_name":"sdr-2"}`), 401, "Invalid provisioning API key")
	w.want("the runner lives on", w.call("GET", "/runner", apiKey, ""), 200, "")
	w.want("the runner is deleted", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("the runner", w.call("GET", "/runner", apiKey, ""), 401, "Invalid API key")
	w.want("it enrols again", w.enroll(token, apiKey, "sdr-1"), 403, "The credentials of this runner have ended: it must be provisioned again")
}

const (
	badProvKey = "Invalid provisioning API key"
	taken      = "Runner ID already enrolled"
	ended      = "The credentials of this runner have ended: it must be provisioned again"
)

// Rows "token ↔ key ↔ id" and "repeat by same runner" of table 3a, and PRV-18:
// the same request is answered in the same way until the key is used, then by
// 409 while the key is live, so that the runner's "go on" is true.
func TestEnrolmentIsLossless(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	token, apiKey := w.provision(key, "sdr-1")
	first := w.enroll(token, apiKey, "sdr-1")
	for range 3 {
		if a := w.enroll(token, apiKey, "sdr-1"); a.status != 201 || a.body != first.body {
			t.Errorf("before its first use: got %d %s", a.status, a.body)
		}
	}
	w.clock.Advance(48 * time.Hour)
	w.want("after the token's end", w.enroll(token, apiKey, "sdr-1"), 201, "")
	for _, step := range []struct {
		name, method, path, bearer string
		want                       int
		text                       string
	}{
		{"disabled before its first use", "POST", "/api/runners/sdr-1/disable", w.admin, 403, ended},
		{"enabled", "POST", "/api/runners/sdr-1/enable", w.admin, 201, ""},
		{"used", "GET", "/runner", apiKey, 409, taken},
		{"disabled", "POST", "/api/runners/sdr-1/disable", w.admin, 403, ended},
		{"enabled again", "POST", "/api/runners/sdr-1/enable", w.admin, 409, taken},
		{"rotated: the old key is live for its overlap", "POST", "/api/enrollment/rotate", apiKey, 409, taken},
		{"deleted", "DELETE", "/api/runners/sdr-1", w.admin, 403, ended},
	} {
		w.want(step.name, w.call(step.method, step.path, step.bearer, ""), 200, "")
		w.want(step.name, w.enroll(token, apiKey, "sdr-1"), step.want, step.text)
	}
	next, nextKey := w.provision(key, "sdr-1")
	w.want("another runner of that name", w.enroll(next, nextKey, "sdr-1"), 201, "")
	w.want("the first one's credentials", w.enroll(token, apiKey, "sdr-1"), 403, ended)
	w.clock.Advance(401 * 24 * time.Hour)
	w.want("forgotten", w.enroll(token, apiKey, "sdr-1"), 401, badToken)
}

// Row "expired/used/unknown": one answer, whatever is wrong, to the last byte.
func TestEveryBadEnrolmentHasOneAnswer(t *testing.T) {
	w := newWorld(t, unlimited)
	key := w.makeKey("ci")
	spent, spentKey := w.provision(key, "spent")
	w.enroll(spent, spentKey, "spent")
	pending, pendingKey := w.provision(key, "pending")
	short := w.call("POST", provisionPath, key, `{"runner_name":"short","expires_hours":1}`)
	replaced, replacedKey := w.provision(key, "replaced")
	w.provision(key, "replaced")
	withdrawn, withdrawnKey := w.provision(key, "withdrawn")
	w.call("DELETE", "/api/enrollment/token/"+withdrawn, w.admin, "")
	disabled, disabledKey := w.provision(w.makeKey("disabled"), "of-disabled")
	w.call("POST", "/api/provisioning/keys/disabled/toggle", w.admin, `{"enabled":false}`)
	deleted, deletedKey := w.provision(w.makeKey("deleted"), "of-deleted")
	w.call("DELETE", "/api/provisioning/keys/deleted", w.admin, "")
	anew, anewKey := w.provision(w.makeKey("anew"), "of-anew")
	w.call("DELETE", "/api/provisioning/keys/anew", w.admin, "")
	w.makeKey("anew")
	unknown := newWorld(t)
	foreign, foreignKey := unknown.provision(unknown.makeKey("ci"), "pending")
	w.clock.Advance(time.Hour)

	before := w.dump(kinds...)
	var want answer
	for _, tt := range []struct{ name, token, key, id string }{
		{"no token at all", "x", pendingKey, "pending"},
		{"unknown", foreign, foreignKey, "pending"},
		{"a wrong checksum", pending[:len(pending)-1] + flip(pending), pendingKey, "pending"},
		{"a wrong secret", pending[:len(pending)-10] + foreign[len(foreign)-10:], pendingKey, "pending"},
		{"the id of one, the text of another", foreign, pendingKey, "pending"},
		{"a key in place of the token", pendingKey, pendingKey, "pending"},
		{"the token in place of the key", pending, pending, "pending"},
		{"another key", pending, spentKey, "pending"},
		{"a key of nobody", pending, "12345678", "pending"},
		{"another id", pending, pendingKey, "other"},
		{"the id of a runner", pending, pendingKey, "spent"},
		{"the id in another case", pending, pendingKey, "Pending"},
		{"expired", short.field("enrollment_token"), short.field("api_key"), "short"},
		{"spent, with another key", spent, pendingKey, "spent"},
		{"spent, with another id", spent, spentKey, "pending"},
		{"replaced", replaced, replacedKey, "replaced"},
		{"withdrawn", withdrawn, withdrawnKey, "withdrawn"},
		{"of a disabled key", disabled, disabledKey, "of-disabled"},
		{"of a deleted key", deleted, deletedKey, "of-deleted"},
		{"of another key of its name", anew, anewKey, "of-anew"},
	} {
		a := w.enroll(tt.token, tt.key, tt.id)
		a.header.Del("Date")
		if want.header == nil {
			want = a
			w.want(tt.name, a, 401, badToken)
		}
		if diff := cmp.Diff([]any{want.status, want.body, want.header}, []any{a.status, a.body, a.header}); diff != "" {
			t.Errorf("%s: it can be told apart (-want +got):\n%s", tt.name, diff)
		}
	}
	w.unchanged("refused", before)
	w.want("the genuine one", w.enroll(pending, pendingKey, "pending"), 201, "")
	if causes := w.events("provisioning.enroll.refused"); len(causes) != 20 || causes[0].Detail == causes[8].Detail {
		t.Errorf("the audit does not tell the causes: %d events", len(causes))
	}
}

// flip is another last character than s has.
func flip(s string) string {
	if strings.HasSuffix(s, "0") {
		return "1"
	}
	return "0"
}

// Row "rotation": the four calls of the guide, which disables first. What is
// pending stops, and goes on when the key does; who is enrolled notices nothing.
func TestRotationOfTheGuide(t *testing.T) {
	w := newWorld(t)
	old := w.makeKey("old-key")
	token, runner := w.provision(old, "enrolled")
	w.enroll(token, runner, "enrolled")
	pending, pendingKey := w.provision(old, "pending")
	step := func(name, method, path, body string, status int) {
		t.Helper()
		w.want(name, w.call(method, path, w.admin, body), status, "")
		w.want(name+": the runner", w.call("GET", "/runner", runner, ""), 200, "")
	}
	step("disable the old key", "POST", "/api/provisioning/keys/old-key/toggle", `{"enabled":false}`, 200)
	w.want("the old key", w.call("POST", provisionPath, old, named("sdr-9")), 401, badProvKey)
	w.want("pending", w.enroll(pending, pendingKey, "pending"), 401, badToken)
	step("enable it", "POST", "/api/provisioning/keys/old-key/toggle", `{"enabled":true}`, 200)
	w.want("pending, enabled", w.enroll(pending, pendingKey, "pending"), 201, "")
	step("disable it again", "POST", "/api/provisioning/keys/old-key/toggle", `{"enabled":false}`, 200)
	step("a new key", "POST", keysPath, `{"key_id":"new-key","description":"Rotated key"}`, 201)
	step("delete the old one", "DELETE", "/api/provisioning/keys/old-key", "", 200)
	w.want("the old key", w.call("POST", provisionPath, old, named("sdr-9")), 401, badProvKey)
	w.want("the other runner", w.call("GET", "/runner", pendingKey, ""), 200, "")
	w.want("enrolled again", w.enroll(pending, pendingKey, "pending"), 409, taken)
}

// Row "re-enrol"; weakness 4: the new key was refused and the old, compromised
// one still worked. Here all that the runner ever had ends, the key that was
// rotated a moment ago too, and not before the new one is enrolled.
func TestReEnrolmentReplacesTheKey(t *testing.T) {
	w := newWorld(t)
	token, first := w.provision(w.makeKey("ci", `"scopes":["beat"]`, `"tags":["field"]`), "sdr-1")
	w.enroll(token, first, "sdr-1")
	second := w.call("POST", "/api/enrollment/rotate", first, "").field("api_key")
	again := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, `{"expires_hours":2}`)
	w.want("re-enroll", again, 201, "")
	third := again.field("api_key")
	w.want("its new key before the enrolment", w.call("GET", "/runner", third, ""), 401, badKey)
	for _, key := range []string{first, second} {
		w.want("the keys it has, meanwhile", w.call("GET", "/runner", key, ""), 200, "")
	}
	w.want("for another runner", w.enroll(again.field("token"), third, "sdr-2"), 401, badToken)
	w.want("with an old key", w.enroll(again.field("token"), second, "sdr-1"), 401, badToken)
	if a := w.enroll(again.field("token"), third, "sdr-1"); a.body != `{"success":true,"runner_id":"sdr-1","message":"Runner sdr-1 enrolled successfully"}` {
		t.Errorf("the enrolment: got %d %s", a.status, a.body)
	}
	for name, key := range map[string]string{"first": first, "second": second} {
		w.want("afterwards the "+name, w.call("GET", "/runner", key, ""), 401, badKey)
	}
	w.want("the answer got lost", w.enroll(again.field("token"), third, "sdr-1"), 201, "")
	a := w.call("GET", "/runner", third, "")
	if a.status != 200 || !strings.Contains(a.body, `"Scopes":["beat"]`) || !strings.Contains(a.body, `"tags":"field"`) {
		t.Errorf("the new key: got %d %s", a.status, a.body)
	}
	w.want("then", w.enroll(again.field("token"), third, "sdr-1"), 409, taken)
	w.want("the first token", w.enroll(token, first, "sdr-1"), 403, ended)
	if w.events("provisioning.re_enrolled") == nil || len(w.events("provisioning.enrolled")) != 1 {
		t.Error("no event of the re-enrolment, or one too many of the enrolment")
	}
	if made := w.call("GET", "/api/provisioning/keys/ci/runners", w.admin, ""); !strings.Contains(made.body, `"status":"enrolled"`) {
		t.Errorf("what the key has made: %s", made.body)
	}
}

// A runner that is deleted and made anew is another one: what was meant for the
// first does not reach it.
func TestReEnrolmentIsForOneRunner(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	make := func() string {
		token, apiKey := w.provision(key, "sdr-1")
		w.want("enrol", w.enroll(token, apiKey, "sdr-1"), 201, "")
		return apiKey
	}
	make()
	older := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
	newer := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
	w.want("the older of two", w.enroll(older.field("token"), older.field("api_key"), "sdr-1"), 401, badToken)
	w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("a deleted runner", w.enroll(newer.field("token"), newer.field("api_key"), "sdr-1"), 401, badToken)
	w.want("a deleted runner", w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, ""), 404, "Runner not found")
	live := make()
	w.want("another of its name", w.enroll(newer.field("token"), newer.field("api_key"), "sdr-1"), 401, badToken)
	w.want("which lives on", w.call("GET", "/runner", live, ""), 200, "")
}

// A runner in Python sends null for what it does not have.
func TestMembersThatAreNullAreAbsent(t *testing.T) {
	w := newWorld(t)
	token, key := w.provision(w.makeKey("ci"), "sdr-1")
	body := `{"enrollment_token":"` + token + `","api_key":"` + key + `","runner_id":"sdr-1","hostname":"h","devices":[],"mac_address":null,"agent_id":null,"public_key":null,"proof":null}`
	w.want("enrol", w.call("POST", "/api/enrollment/enroll", "", body), 201, "")
}

func TestServerURLInAnotherCase(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.host.URL = &url.URL{Scheme: "https", Host: "Server.Example:8443", Path: "/Prefix/"} })
	key := w.makeKey("ci")
	for _, u := range []string{"https://server.example:8443/Prefix", "https://SERVER.example:8443/Prefix/", ""} {
		a := w.call("POST", "/api/provisioning/provision", key, `{"runner_name":"sdr-1","server_url":"`+u+`"}`)
		if a.status != 201 || !strings.Contains(a.field("config_yaml"), `server_url: "https://server.example:8443/Prefix"`) {
			t.Errorf("%q: got %d %s", u, a.status, a.body)
		}
	}
	standard := newWorld(t)
	for u, status := range map[string]int{"https://server.example:443": 201, "https://server.example": 201, "https://server.example:444": 400, "http://server.example:443": 400} {
		standard.want(u, standard.call("POST", "/api/provisioning/provision", standard.makeKey(rand.Text()), `{"runner_name":"sdr-1","server_url":"`+u+`"}`), status, "")
	}
	w.want("another path", w.call("POST", "/api/provisioning/provision", key, `{"runner_name":"sdr-1","server_url":"https://server.example:8443/prefix"}`), 400, "server_url: not an address of this server")
}
