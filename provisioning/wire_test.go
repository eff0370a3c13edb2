package provisioning_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning"
)

var (
	secretText = regexp.MustCompile(`ck_(prov|runner|enroll)_[0-9A-Za-z]{45}\b`)
	secretHead = regexp.MustCompile(`ck_(prov|runner|enroll)_[0-9A-Za-z]{12}\b`)
	publicID   = regexp.MustCompile(`"key_id":"[0-9A-Za-z]{12}"`)
)

// masked puts names in the place of what is random in a body.
func masked(body string) string {
	body = secretText.ReplaceAllString(body, "<$1>")
	body = secretHead.ReplaceAllString(body, "<$1 head>")
	return publicID.ReplaceAllString(body, `"key_id":"<id>"`)
}

// A golden is a call and its whole answer.
type golden struct {
	name, method, path, bearer, body string
	status                           int
	want                             string
}

func (w *world) goldens(all []golden) {
	w.t.Helper()
	for _, g := range all {
		a := w.call(g.method, g.path, g.bearer, g.body)
		if got := masked(a.body); a.status != g.status || got != g.want {
			w.t.Errorf("%s: got %d\n%s\nwant %d\n%s", g.name, a.status, got, g.status, g.want)
		}
		if got := a.header.Get("Content-Type"); got != "application/json" {
			w.t.Errorf("%s: Content-Type %q", g.name, got)
		}
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			w.t.Errorf("%s: Cache-Control %q", g.name, got)
		}
	}
}

// Table 1.2, rows "create status", "duplicate key_id", "list", "delete" and
// "toggle" of table 3a.
func TestWireOfKeys(t *testing.T) {
	w := newWorld(t)
	notFound := `{"error":"Key not found","code":"not_found"}`
	one := "/api/provisioning/keys/ci-cd-pipeline"
	w.goldens([]golden{
		{"none yet", "GET", keysPath, w.admin, "", 200, `{"keys":[]}`},
		{"create", "POST", keysPath, w.admin, `{"key_id":"ci-cd-pipeline","description":"CI/CD runner deployment"}`, 201,
			`{"key_id":"ci-cd-pipeline","api_key":"<prov>","description":"CI/CD runner deployment"}`},
		{"without a description", "POST", keysPath, w.admin, `{"key_id":"my_key-2"}`, 201, `{"key_id":"my_key-2","api_key":"<prov>","description":""}`},
		{"taken", "POST", keysPath, w.admin, `{"key_id":"my_key-2","description":"other"}`, 409,
			`{"error":"Failed to create provisioning key (key_id may already exist)","code":"conflict"}`},
		{"without key_id", "POST", keysPath, w.admin, `{"description":"x"}`, 400, `{"error":"Missing required field: key_id","code":"invalid_request"}`},
		{"a bad key_id", "POST", keysPath, w.admin, `{"key_id":"a b"}`, 400,
			`{"error":"key_id must contain only alphanumeric characters, hyphens, and underscores","code":"invalid_request"}`},
		{"disable", "POST", one + "/toggle", w.admin, `{"enabled":false}`, 200, `{"status":"disabled"}`},
		{"disable again", "POST", one + "/toggle", w.admin, `{"enabled":false}`, 200, `{"status":"disabled"}`},
		{"enable", "POST", one + "/toggle", w.admin, `{"enabled":true}`, 200, `{"status":"enabled"}`},
		{"{} enables", "POST", one + "/toggle", w.admin, `{}`, 200, `{"status":"enabled"}`},
		{"toggle of none", "POST", keysPath + "/none/toggle", w.admin, `{}`, 404, notFound},
		{"rotate", "POST", one + "/rotate", w.admin, "", 200,
			`{"key_id":"ci-cd-pipeline","api_key":"<prov>","description":"CI/CD runner deployment","old_key_valid_until":"2026-03-01T13:00:00Z"}`},
		{"rotate with an overlap", "POST", one + "/rotate", w.admin, `{"overlap_hours":0.5}`, 200,
			`{"key_id":"ci-cd-pipeline","api_key":"<prov>","description":"CI/CD runner deployment","old_key_valid_until":"2026-03-01T12:30:00Z"}`},
		{"rotate without", "POST", one + "/rotate", w.admin, `{"overlap_hours":0}`, 200, `{"key_id":"ci-cd-pipeline","api_key":"<prov>","description":"CI/CD runner deployment"}`},
		{"rotate none", "POST", keysPath + "/none/rotate", w.admin, "", 404, notFound},
		{"runners of one", "GET", one + "/runners", w.admin, "", 200, `{"runners":[]}`},
		{"runners of none", "GET", keysPath + "/none/runners", w.admin, "", 404, notFound},
		{"delete", "DELETE", keysPath + "/my_key-2", w.admin, "", 200, `{"status":"deleted"}`},
		{"delete again", "DELETE", keysPath + "/my_key-2", w.admin, "", 404, notFound},
		{"delete a look-alike", "DELETE", keysPath + "/..%2Fci-cd-pipeline", w.admin, "", 404, notFound},
		{"another method", "PUT", keysPath, w.admin, `{}`, 405, `{"error":"Method not allowed","code":"method_not_allowed"}`},
		{"another method", "GET", one, w.admin, "", 405, `{"error":"Method not allowed","code":"method_not_allowed"}`},
		{"no body", "POST", keysPath, w.admin, "", 400, `{"error":"Missing request body","code":"invalid_request"}`},
		{"too large", "POST", keysPath, w.admin, `{"key_id":"` + strings.Repeat("x", 1<<17) + `"}`, 413, `{"error":"the body is larger than 65536 bytes","code":"too_large"}`},
		{"no credential", "GET", keysPath, "", "", 401, `{"error":"No valid credential","code":"invalid_token"}`},
	})
}

// Row "list": the seed's members, newest first, and more only added.
func TestWireOfTheListOfKeys(t *testing.T) {
	w := newWorld(t)
	old := w.makeKey("a-old", `"description":"a"`)
	w.clock.Advance(time.Hour + 300*time.Millisecond)
	w.makeKey("z-new", `"expires_at":"2026-04-01T02:00:00.9+02:00"`, `"max_uses":5`, `"max_pending":2`, `"runner_pattern":"sdr-*"`,
		`"networks":["192.0.2.7/24","2001:db8::1/32"]`, `"per_hour":7`, `"scopes":["a","b"]`, `"tags":["t"]`)
	w.provision(old, "sdr-1")
	if err := w.host.Keys.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.call("POST", "/api/provisioning/keys/a-old/toggle", w.admin, `{"enabled":false}`)
	want := `{"keys":[` +
		`{"key_id":"z-new","description":"","expires_at":"2026-04-01T00:00:00Z","max_uses":5,"max_pending":2,"runner_pattern":"sdr-*",` +
		`"networks":["192.0.2.0/24","2001:db8::/32"],"per_hour":7,"scopes":["a","b"],"tags":["t"],` +
		`"created_by":"root","created_at":"2026-03-01T13:00:00Z","last_used_at":null,"enabled":true,"prefix":"<prov head>"},` +
		`{"key_id":"a-old","description":"a","created_by":"root","created_at":"2026-03-01T12:00:00Z","last_used_at":"2026-03-01T13:00:00Z","enabled":false,` +
		`"prefix":"<prov head>","last_used_ip":"127.0.0.1"}]}`
	w.goldens([]golden{{"list", "GET", keysPath, w.admin, "", 200, want}})
	if a := w.call("GET", keysPath, w.admin, ""); !strings.Contains(a.body, `"prefix":"`+old[:20]+`"`) {
		t.Errorf("the prefix is not how the key begins: %s", a.body)
	}
	k, err := w.prov.Key(t.Context(), "a-old")
	if err != nil || k.LastUsedIP != "127.0.0.1" || k.Enabled || k.LastUsedAt == nil {
		t.Errorf("one key: got %+v, %v", k, err)
	}
}

// Table 1.3, rows "provision", "expires_at" and "runs on compact JSON".
func TestWireOfProvision(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	a := w.call("POST", provisionPath, key, `{"runner_name":"sdr-station-1"}`)
	body, yaml, found := strings.Cut(masked(a.body), `"config_yaml":"`)
	want := `{"runner_name":"sdr-station-1","runner_id":"sdr-station-1","enrollment_token":"<enroll>","api_key":"<runner>","expires_at":"2026-03-02T12:00:00Z",`
	if a.status != 201 || !found || body != want || !strings.HasPrefix(yaml, `---\n# Provisioned for sdr-station-1\n# Provisioned by provisioning:ci\n`) || !strings.HasSuffix(yaml, `\n"}`) {
		t.Errorf("got %d\n%s...%.100s\nwant 201\n%s", a.status, body, yaml, want)
	}
	if strings.Contains(a.body, `"error"`) || strings.Contains(a.body, "\n") || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("what the scripts look for: %v %.80q", a.header, a.body)
	}
	w.clock.Advance(1500 * time.Millisecond)
	a = w.call("POST", provisionPath, key, `{"runner_name":"Station 1","runner_id":"sdr-2","expires_hours":24,"server_url":"https://SERVER.example/","verify_ssl":true}`)
	w.want("a name with a space", a, 400, "")
	a = w.call("POST", provisionPath, key, `{"runner_name":"Station.1","runner_id":"sdr-2","expires_hours":1.5,"server_url":"https://SERVER.example/","verify_ssl":false}`)
	if a.field("runner_name") != "Station.1" || a.field("runner_id") != "sdr-2" || a.field("expires_at") != "2026-03-01T13:30:01Z" {
		t.Errorf("all that may be asked: got %d %s", a.status, a.body)
	}
	if yaml := a.field("config_yaml"); !strings.Contains(yaml, `server_url: "https://server.example"`) || !strings.Contains(yaml, "verify_ssl: false") || !strings.Contains(yaml, `runner_id: "sdr-2"`) {
		t.Errorf("the file:\n%s", yaml)
	}
	w.goldens([]golden{
		{"no name", "POST", provisionPath, key, `{}`, 400, `{"error":"Missing required field: runner_name","code":"invalid_request"}`},
		{"an empty name", "POST", provisionPath, key, `{"runner_name":""}`, 400, `{"error":"Missing required field: runner_name","code":"invalid_request"}`},
		{"no body", "POST", provisionPath, key, ``, 400, `{"error":"Missing request body","code":"invalid_request"}`},
		{"no header", "POST", provisionPath, "", `{"runner_name":"a"}`, 401, `{"error":"Missing or invalid authorization header","code":"invalid_token"}`},
		{"a wrong key", "POST", provisionPath, "ck_prov_x", `{"runner_name":"a"}`, 401, `{"error":"Invalid provisioning API key","code":"invalid_token"}`},
		{"another method", "GET", provisionPath, key, "", 405, `{"error":"Method not allowed","code":"method_not_allowed"}`},
	})
}

// Table 1.4: enrolment and its admin calls.
func TestWireOfEnrolment(t *testing.T) {
	w := newWorld(t)
	missing := func(field string) string {
		return fmt.Sprintf(`{"error":"Missing required field: %s","code":"invalid_request"}`, field)
	}
	w.goldens([]golden{
		{"no body", "POST", enrollPath, "", ``, 400, `{"error":"Missing request body","code":"invalid_request"}`},
		{"nothing", "POST", enrollPath, "", `{}`, 400, missing("enrollment_token")},
		{"no key", "POST", enrollPath, "", `{"enrollment_token":"t"}`, 400, missing("api_key")},
		{"no id", "POST", enrollPath, "", `{"enrollment_token":"t","api_key":"k"}`, 400, missing("runner_id")},
		{"no host", "POST", enrollPath, "", `{"enrollment_token":"t","api_key":"k","runner_id":"r"}`, 400, missing("hostname")},
		{"no devices", "POST", enrollPath, "", `{"enrollment_token":"t","api_key":"k","runner_id":"r","hostname":"h"}`, 400, missing("devices")},
		{"unknown", "POST", enrollPath, "", enrollment("t", "k", "r"), 401, `{"error":"Invalid or expired enrollment token","code":"invalid_token"}`},
		{"no tokens yet", "GET", provisioning.TokensPath, w.admin, "", 200, `{"tokens":[]}`},
		{"a token", "POST", provisioning.TokenPath, w.admin, `{"runner_name":"sdr-1"}`, 201,
			`{"token":"<enroll>","api_key":"<runner>","runner_name":"sdr-1","runner_id":"sdr-1","expires_at":"2026-03-02T12:00:00Z","expires_hours":24}`},
		{"with hours", "POST", provisioning.TokenPath, w.admin, `{"runner_name":"sdr-1","runner_id":"id-1","expires_hours":0.5}`, 201,
			`{"token":"<enroll>","api_key":"<runner>","runner_name":"sdr-1","runner_id":"id-1","expires_at":"2026-03-01T12:30:00Z","expires_hours":0.5}`},
		{"no name", "POST", provisioning.TokenPath, w.admin, `{"expires_hours":1}`, 400, `{"error":"Missing runner_name","code":"invalid_request"}`},
		{"re-enrol nobody", "POST", provisioning.ReEnrollPath + "/sdr-1", w.admin, "", 404, `{"error":"Runner not found","code":"not_found"}`},
		{"delete no token", "DELETE", provisioning.TokenPath + "/x", w.admin, "", 404, `{"error":"Token not found","code":"not_found"}`},
		{"another method", "GET", enrollPath, "", "", 405, `{"error":"Method not allowed","code":"method_not_allowed"}`},
	})
	a := w.call("POST", provisioning.TokenPath, w.admin, `{"runner_name":"Station","runner_id":"sdr-2","expires_hours":48}`)
	w.clock.Advance(90 * time.Second)
	enrol := golden{"enrol", "POST", enrollPath, "", enrollment(a.field("token"), a.field("api_key"), "sdr-2"), 201,
		`{"success":true,"runner_id":"sdr-2","message":"Runner Station enrolled successfully"}`}
	again := golden{"re-enrol", "POST", provisioning.ReEnrollPath + "/sdr-2", w.admin, `{"expires_hours":1}`, 201,
		`{"token":"<enroll>","api_key":"<runner>","runner_name":"Station","runner_id":"sdr-2","expires_at":"2026-03-01T13:01:30Z","expires_hours":1}`}
	w.goldens([]golden{enrol, again})
	b := w.call("GET", provisioning.TokensPath, w.admin, "")
	for _, want := range []string{
		`{"token":"<enroll head>","runner_name":"sdr-1","runner_id":"sdr-1","created_by":"root","created_at":"2026-03-01T12:00:00Z","expires_at":"2026-03-02T12:00:00Z","used":false,"used_at":null}`,
		`{"token":"<enroll head>","runner_name":"Station","runner_id":"sdr-2","created_by":"root","created_at":"2026-03-01T12:00:00Z","expires_at":"2026-03-03T12:00:00Z","used":true,"used_at":"2026-03-01T12:01:30Z","used_by_runner_id":"sdr-2"}`,
		`{"token":"<enroll head>","runner_name":"Station","runner_id":"sdr-2","created_by":"root","created_at":"2026-03-01T12:01:30Z","expires_at":"2026-03-01T13:01:30Z","used":false,"used_at":null,"re_enrollment_for":"sdr-2"}`,
	} {
		if !strings.Contains(masked(b.body), want) {
			t.Errorf("tokens: got\n%s\nwithout\n%s", masked(b.body), want)
		}
	}
}

// The newer runners' names for the same (row "paths"), and what they send beside.
func TestWireOfAgents(t *testing.T) {
	w := newWorld(t)
	token, key := w.provision(w.makeKey("ci"), "sdr-1")
	w.clock.Advance(time.Minute)
	runner := `{"runner_id":"sdr-1","name":"sdr-1","hostname":"h","mac_address":"aa:bb:cc:dd:ee:ff","machine_id":"m1","devices":[{"name":0}],"enabled":true,` +
		`"created_by":"provisioning:ci","created_at":"2026-03-01T12:01:00Z","updated_at":"2026-03-01T12:01:00Z","key_id":"<id>","last_used_at":null}`
	w.goldens([]golden{
		{"enrol", "POST", enrollPath, "", `{"enrollment_token":"` + token + `","api_key":"` + key + `","agent_id":"sdr-1","agent_type":"listener","hostname":"h","devices":[ {"name": 0} ],"mac_address":"aa:bb:cc:dd:ee:ff","machine_id":"m1","newer":true}`, 201,
			`{"success":true,"runner_id":"sdr-1","agent_id":"sdr-1","agent_type":"listener","message":"Runner sdr-1 enrolled successfully"}`},
		{"two ids", "POST", enrollPath, "", `{"enrollment_token":"t","api_key":"k","runner_id":"sdr-1","agent_id":"sdr-2","hostname":"h","devices":[]}`, 400,
			`{"error":"agent_id: not the runner_id beside it","code":"invalid_request"}`},
		{"runners", "GET", "/api/runners", w.admin, "", 200, `{"runners":[` + runner + `]}`},
		{"agents", "GET", "/api/agents", w.admin, "", 200, `{"agents":[` + runner + `]}`},
		{"a runner", "GET", "/api/runners/sdr-1", w.admin, "", 200, runner},
		{"an agent", "GET", "/api/agents/sdr-1", w.admin, "", 200, runner},
		{"no runner", "GET", "/api/runners/none", w.admin, "", 404, `{"error":"Runner not found","code":"not_found"}`},
		{"no agent", "GET", "/api/agents/none", w.admin, "", 404, `{"error":"Agent not found","code":"not_found"}`},
		{"what the key has made", "GET", keysPath + "/ci/runners", w.admin, "", 200, `{"runners":[{"runner_id":"sdr-1","status":"enrolled","provisioned_at":"2026-03-01T12:00:00Z"}]}`},
		{"disable", "POST", "/api/agents/sdr-1/disable", w.admin, "", 200, `{"status":"disabled"}`},
		{"what the key has made", "GET", keysPath + "/ci/runners", w.admin, "", 200, `{"runners":[{"runner_id":"sdr-1","status":"disabled","provisioned_at":"2026-03-01T12:00:00Z"}]}`},
		{"enable", "POST", "/api/runners/sdr-1/enable", w.admin, "", 200, `{"status":"enabled"}`},
		{"disable nobody", "POST", "/api/agents/none/disable", w.admin, "", 404, `{"error":"Agent not found","code":"not_found"}`},
		{"enable nobody", "POST", "/api/runners/none/enable", w.admin, "", 404, `{"error":"Runner not found","code":"not_found"}`},
		{"delete", "DELETE", "/api/agents/sdr-1", w.admin, "", 200, `{"status":"deleted"}`},
		{"delete again", "DELETE", "/api/runners/sdr-1", w.admin, "", 404, `{"error":"Runner not found","code":"not_found"}`},
		{"no runners", "GET", "/api/runners", w.admin, "", 200, `{"runners":[]}`},
		{"no agents", "GET", "/api/agents", w.admin, "", 200, `{"agents":[]}`},
		{"what the key has made", "GET", keysPath + "/ci/runners", w.admin, "", 200, `{"runners":[]}`},
	})
}
