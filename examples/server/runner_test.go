package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// provisioned is the answer to a provision request.
type provisioned struct {
	ID     string `json:"runner_id"`
	Token  string `json:"enrollment_token"`
	APIKey string `json:"api_key"`
	Config string `json:"config_yaml"`
}

// provision makes the credentials of a runner.
func (p *process) provision(key, body string) provisioned {
	p.in.t.Helper()
	a := p.requestJSON("POST", "/api/provisioning/provision", "Bearer "+key, body)
	made, err := readProvisioned(a)
	if err != nil {
		p.in.t.Fatalf("provision %s: %v", body, err)
	}
	p.in.hide(made.Token, made.APIKey)
	return made
}

func readProvisioned(a answer) (provisioned, error) {
	var made provisioned
	if err := json.Unmarshal([]byte(a.body), &made); a.status != 201 || err != nil || made.APIKey == "" || made.Token == "" {
		return made, fmt.Errorf("got %d %s", a.status, a.body)
	}
	return made, nil
}

// enrollBody is what a ChallengeCtl runner sends to be enrolled.
func (r provisioned) enrollBody() string {
	body, _ := json.Marshal(map[string]any{ // strings and nil only
		"enrollment_token": r.Token, "api_key": r.APIKey, "runner_id": r.ID, "hostname": "sdr-host",
		"devices":     []map[string]any{{"name": 0, "model": "hackrf"}},
		"mac_address": "02:42:ac:11:00:02", "machine_id": "4c4c4544004d3510",
	})
	return string(body)
}

func (p *process) enrollment(r provisioned) answer {
	p.in.t.Helper()
	return p.runnerCall("POST", "/api/enrollment/enroll", "", r.enrollBody())
}

func (p *process) enroll(r provisioned, want int) {
	p.in.t.Helper()
	if a := p.enrollment(r); a.status != want {
		p.in.t.Fatalf("enroll %s: got %d %s, want %d", r.ID, a.status, a.body, want)
	}
}

// runnerCall sends what a ChallengeCtl runner sends: its machine headers, and
// a content type where it has a body.
func (p *process) runnerCall(method, path, key, body string) answer {
	p.in.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.in.t.Fatal(err)
	}
	req.Header.Set("X-Runner-MAC", "02:42:ac:11:00:02")
	req.Header.Set("X-Runner-Machine-ID", "4c4c4544004d3510")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := client.Do(req)
	if err != nil {
		p.in.t.Fatalf("%s %s: %v; log:\n%s", method, path, err, p.stderr)
	}
	return answer{status: res.StatusCode, header: res.Header, body: readAll(p.in.t, res)}
}

// newKey makes a provisioning key for the holder of an admin key.
func (p *process) newKey(admin, settings string) string {
	p.in.t.Helper()
	a := p.requestJSON("POST", "/api/provisioning/keys", "Bearer "+admin, settings)
	if a.status != 201 || a.key() == "" {
		p.in.t.Fatalf("create key %s: got %d %s", settings, a.status, a.body)
	}
	p.in.hide(a.key())
	return a.key()
}

// A step is one request of a runner's life and the answer that it must get.
type step struct {
	name, method, path, body string
	status                   int
	want                     string // the whole body without the line's end
}

func (p *process) steps(key string, all ...step) {
	p.in.t.Helper()
	for _, s := range all {
		a := p.runnerCall(s.method, s.path, key, s.body)
		if got := strings.TrimSuffix(a.body, "\n"); a.status != s.status || got != s.want {
			p.in.t.Errorf("%s: got %d %s, want %d %s", s.name, a.status, got, s.status, s.want)
		}
	}
}

const registerBody = `{"hostname":"sdr-host","devices":[{"name":0,"model":"hackrf"}],"agent_type":"runner","later":{}}`

// life is what a runner asks for from its start to its end.
func life(stem, id string) []step {
	one := stem + "/" + id
	return []step{
		{"register", "POST", stem + "/register", registerBody, 200, `{"status":"registered","runner_id":"` + id + `"}`},
		{"heartbeat", "POST", one + "/heartbeat", "", 200, `{"status":"ok"}`},
		{"task", "GET", one + "/task", "", 200, `{"task":null,"message":"No challenges available"}`},
		{"log", "POST", one + "/log", `{"log":{"level":"INFO","message":"up","timestamp":"2026-01-15T10:00:00Z"}}`, 200, `{"status":"received"}`},
		{"complete", "POST", one + "/complete", `{"challenge_id":"c1","success":true,"error_message":null,"device_id":"0","frequency":144000000}`, 200, `{"status":"recorded"}`},
	}
}

// TestRunner lives as a ChallengeCtl runner does, an old one and a new one: it
// starts, enrols, works, stops and starts again.
func TestRunner(t *testing.T) {
	t.Parallel()
	for _, stem := range []string{"/api/runners", "/api/agents"} {
		t.Run(stem, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			p := in.start()
			admin := p.claim()
			key := p.newKey(admin, `{"key_id":"fleet"}`)
			r := p.provision(key, `{"runner_name":"sdr-1"}`)
			one := stem + "/sdr-1"
			refused := step{"register before it is enrolled", "POST", stem + "/register", registerBody, 401, `{"error":"Invalid API key","code":"invalid_token"}`}
			p.steps(r.APIKey, refused)
			p.steps("", step{"enroll", "POST", "/api/enrollment/enroll", r.enrollBody(), 201, `{"success":true,"runner_id":"sdr-1","message":"Runner sdr-1 enrolled successfully"}`})
			p.steps(r.APIKey, life(stem, "sdr-1")...)
			p.wantShown(admin, stem, "online")
			p.steps(r.APIKey, step{"signout", "POST", one + "/signout", "", 200, `{"status":"signed_out"}`})
			p.wantShown(admin, stem, "offline")
			p.kill()
			p = in.start()
			p.steps(r.APIKey, life(stem, "sdr-1")...)
			p.wantShown(admin, stem, "online")
			p.wantLogged("runner says runner=sdr-1 level=INFO message=up")
			if a := p.requestJSON("DELETE", one, "Bearer "+admin, ""); a.status != 200 {
				t.Fatalf("delete: got %d %s", a.status, a.body)
			}
			p.steps(r.APIKey, refused)
		})
	}
}

// wantShown looks at the runner in the list and alone.
func (p *process) wantShown(admin, stem, status string) {
	p.in.t.Helper()
	list := p.get(stem, "Bearer "+admin)
	var got map[string][]map[string]any
	if err := json.Unmarshal([]byte(list.body), &got); err != nil || list.status != 200 || strings.Contains(list.body, "hash") {
		p.in.t.Fatalf("list: got %d %s", list.status, list.body)
	}
	all := got[strings.TrimPrefix(stem, "/api/")]
	if len(all) != 1 {
		p.in.t.Fatalf("list: got %s, want one runner", list.body)
	}
	for what, want := range map[string]any{"runner_id": "sdr-1", "status": status, "enabled": true, "hostname": "sdr-host", "mac_address": "02:42:ac:11:00:02"} {
		if all[0][what] != want {
			p.in.t.Errorf("%s: got %v, want %v", what, all[0][what], want)
		}
	}
	if all[0]["last_heartbeat"] == nil {
		p.in.t.Errorf("no last_heartbeat: %s", list.body)
	}
	var alone map[string]any
	one := p.get(stem+"/sdr-1", "Bearer "+admin)
	if err := json.Unmarshal([]byte(one.body), &alone); err != nil || one.status != 200 {
		p.in.t.Fatalf("one: got %d %s", one.status, one.body)
	}
	delete(alone, "last_used_at") // it is written in its own time
	delete(all[0], "last_used_at")
	delete(alone, "last_used_ip")
	delete(all[0], "last_used_ip")
	if diff := cmp.Diff(all[0], alone); diff != "" {
		p.in.t.Errorf("in the list and alone (-list +alone):\n%s", diff)
	}
}

// TestRunnerErrors has a row for each answer to a runner that does something wrong.
func TestRunnerErrors(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	admin := p.claim()
	key := p.newKey(admin, `{"key_id":"fleet"}`)
	r := p.provision(key, `{"runner_name":"sdr-1"}`)
	p.enroll(r, 201)
	other := p.provision(key, `{"runner_name":"sdr-2"}`)
	p.enroll(other, 201)
	for _, tt := range []struct {
		name, method, path, key, body string
		status                        int
		text                          string
	}{
		{"no key", "POST", "/sdr-1/heartbeat", "", "", 401, "Missing or invalid authorization header"},
		{"a provisioning key", "POST", "/sdr-1/heartbeat", key, "", 401, "Invalid API key"},
		{"an admin key", "POST", "/sdr-1/heartbeat", admin, "", 401, "Invalid API key"},
		{"another's heartbeat", "POST", "/sdr-1/heartbeat", other.APIKey, "", 403, "Unauthorized"},
		{"another's task", "GET", "/sdr-1/task", other.APIKey, "", 403, "Unauthorized"},
		{"another's log", "POST", "/sdr-1/log", other.APIKey, `{"log":{}}`, 403, "Unauthorized"},
		{"nobody's task", "GET", "/sdr-9/task", other.APIKey, "", 403, "Unauthorized"},
		{"no hostname", "POST", "/register", r.APIKey, `{"devices":[]}`, 400, "Missing required field: hostname"},
		{"no devices", "POST", "/register", r.APIKey, `{"hostname":"h"}`, 400, "Missing required field: devices"},
		{"devices no list", "POST", "/register", r.APIKey, `{"hostname":"h","devices":{}}`, 400, `Field "devices" must be a list`},
		{"hostname a number", "POST", "/register", r.APIKey, `{"hostname":1,"devices":[]}`, 400, "hostname: wrong type"},
		{"not JSON", "POST", "/register", r.APIKey, `{`, 400, "want a JSON object"},
		{"too long", "POST", "/register", r.APIKey, `{"hostname":"` + strings.Repeat("x", 100_000) + `"}`, 413, "The request is too large"},
		{"no log", "POST", "/sdr-1/log", r.APIKey, `{}`, 400, "Missing required field: log"},
		{"no challenge", "POST", "/sdr-1/complete", r.APIKey, `{}`, 400, "Missing required field: challenge_id"},
		{"a wrong method", "GET", "/sdr-1/heartbeat", r.APIKey, "", 405, "Method not allowed"},
		{"no such call", "POST", "/sdr-1/reboot", r.APIKey, "", 404, "Not found"},
		{"a list by a runner", "GET", "", r.APIKey, "", 403, "this kind of key is not accepted here"},
		{"a list by a provisioning key", "GET", "", key, "", 403, "this kind of key is not accepted here"},
	} {
		for _, stem := range []string{"/api/runners", "/api/agents"} {
			p.wantError(tt.name+" at "+stem, p.runnerCall(tt.method, stem+tt.path, tt.key, tt.body), tt.status, tt.text)
		}
	}
	if a := p.runnerCall("POST", "/api/runners/sdr-1/log", r.APIKey, `{"log":{"level":"x\ny","message":"one\ntime=now level=ERROR msg=forged `+strings.Repeat("z", 10_000)+`"}}`); a.status != 200 {
		t.Errorf("log: got %d %s", a.status, a.body)
	}
	p.wantLogged("msg=forged")
	for line := range strings.Lines(p.stderr.String()) {
		if strings.HasPrefix(line, "time=now") || len(line) > 4<<10 {
			t.Errorf("a runner has written its own line into the log: %.100q", line)
		}
	}
}
