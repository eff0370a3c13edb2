package provisioning_test

import (
	"strings"
	"testing"
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
