package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"
)

// A guided installation is one in whose directory the guide's reader works.
type guided struct {
	*installation
	*process
}

// guidedServer starts the server that the guide is about: the password is
// "yourpassword", and it has TLS.
func guidedServer(t *testing.T, more string) guided {
	t.Helper()
	in := newInstallation(t)
	in.configure(`{"admin":` + adminJSON(t, "yourpassword") + more + `}`)
	in.serveTLS()
	return guided{in, in.start()}
}

func adminJSON(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"username":"admin","password_hash":%q}`, hash)
}

// follow runs commands of the guide in one shell, with other texts where it
// leaves them to the reader.
func (g guided) follow(commands string, edits ...string) scripted {
	g.t.Helper()
	edits = append(edits, "https://localhost:8443", g.url)
	return g.bash(strings.NewReplacer(edits...).Replace(commands))
}

// documents reads one JSON object after the other.
func (s scripted) documents(t *testing.T) (all []map[string]any) {
	t.Helper()
	for dec := json.NewDecoder(strings.NewReader(s.out)); dec.More(); {
		var one map[string]any
		if err := dec.Decode(&one); err != nil {
			t.Fatalf("%v: %s", err, s.out)
		}
		all = append(all, one)
	}
	return all
}

var provisioningKey = regexp.MustCompile(`^ck_prov_[0-9A-Za-z]{45}$`)

// createKey logs in and creates a key, as the guide does.
func (g guided) createKey(id string) string {
	g.t.Helper()
	got := g.follow(guideLogin+"\n"+guideCSRF+"\n"+guideCreate, "ci-cd-pipeline", id)
	answers := got.documents(g.t)
	if got.statuses != "200 201" || len(answers) != 2 {
		g.t.Fatalf("login and create: got %s: %s", got.statuses, got.out)
	}
	key, _ := answers[1]["api_key"].(string)
	g.hide(key)
	want := []map[string]any{
		{"status": "authenticated", "totp_required": false, "initial_setup_required": false, "username": "admin"},
		{"key_id": id, "api_key": key, "description": "CI/CD runner deployment"},
	}
	if diff := cmp.Diff(want, answers); diff != "" || !provisioningKey.MatchString(key) {
		g.t.Errorf("login and create (-want +got):\n%s", diff)
	}
	return key
}

// wantConfig reads a configuration file with PyYAML and wants what the guide's
// runners need in it.
func (g guided) wantConfig(how, text, runner string) {
	g.t.Helper()
	needPython(g.t, "yaml")
	read := g.run(text, "python3", "-c", "import yaml, json, sys; print(json.dumps(yaml.safe_load(sys.stdin)))")
	var got struct {
		Runner map[string]any `json:"runner"`
		Radios struct {
			Models, Devices []map[string]any
		} `json:"radios"`
	}
	if err := json.Unmarshal([]byte(read.out), &got); err != nil {
		g.t.Fatalf("%s: %v: %s", how, err, read.out)
	}
	for _, name := range []string{"enrollment_token", "api_key"} {
		secret, _ := got.Runner[name].(string)
		g.hide(secret)
		if !regexp.MustCompile(`^ck_(runner|enroll)_[0-9A-Za-z]{45}$`).MatchString(secret) {
			g.t.Errorf("%s: runner.%s is no secret", how, name)
		}
		delete(got.Runner, name)
	}
	want := map[string]any{
		"runner_id": runner, "server_url": g.url, "ca_cert": "", "verify_ssl": true, "heartbeat_interval": 30.0,
		"poll_interval": 10.0, "cache_dir": "cache", "spectrum_paint_before_challenge": true,
	}
	if diff := cmp.Diff(want, got.Runner); diff != "" || len(got.Radios.Models) != 3 || len(got.Radios.Devices) != 1 {
		g.t.Errorf("%s: %d models, %d devices; runner (-want +got):\n%s", how, len(got.Radios.Models), len(got.Radios.Devices), diff)
	}
}

// savedConfig is runner-config.yml, which is deleted.
func (g guided) savedConfig() string {
	g.t.Helper()
	text, err := os.ReadFile(g.path("runner-config.yml"))
	g.check(err)
	g.check(os.Remove(g.path("runner-config.yml")))
	return string(text)
}

// TestGuideQuickStart logs in, creates a key, provisions a runner with it and
// looks at the list.
func TestGuideQuickStart(t *testing.T) {
	t.Parallel()
	g := guidedServer(t, "")
	key := g.createKey("ci-cd-pipeline")
	got := g.follow(guideProvision, "ck_prov_1234567890abcdef1234567890abcdef", key)
	answers := got.documents(t)
	if got.statuses != "201" || len(answers) != 1 || len(answers[0]) != 6 {
		t.Fatalf("provision: got %s: %s", got.statuses, got.out)
	}
	a := answers[0]
	if a["runner_name"] != "sdr-station-1" || a["runner_id"] != "sdr-station-1" || !strings.HasPrefix(fmt.Sprint(a["config_yaml"]), "---\n# ") {
		t.Errorf("provision: got %v", a)
	}
	if expires := fmt.Sprint(a["expires_at"]); !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`).MatchString(expires) {
		t.Errorf("expires_at: got %s", expires)
	}
	// A script of theirs looks for this text.
	if !strings.Contains(got.out, `"config_yaml":"`) || strings.Contains(got.out, `"error"`) {
		t.Errorf("not the JSON that scripts search with grep: %s", got.out)
	}
	g.wantConfig("quick start", a["config_yaml"].(string), "sdr-station-1")

	eventually(t, "the list shows when the key was used", func() bool {
		listed := g.follow(guideMonitoring)
		keys, _ := listed.documents(t)[0]["keys"].([]any)
		if listed.statuses != "200" || len(keys) != 1 {
			t.Fatalf("list: got %s: %s", listed.statuses, listed.out)
		}
		k := keys[0].(map[string]any)
		if k["key_id"] != "ci-cd-pipeline" || k["description"] != "CI/CD runner deployment" || k["created_by"] != "admin" || k["enabled"] != true || k["created_at"] == nil {
			t.Fatalf("list: got %v", k)
		}
		return k["last_used_at"] != nil
	})
}

// TestGuideAutomation runs the scripts for Bash, Python, Terraform and GitHub
// Actions, each of which saves a configuration.
func TestGuideAutomation(t *testing.T) {
	t.Parallel()
	needTool(t, "jq")
	needTool(t, "python3")
	g := guidedServer(t, "")
	key := g.createKey("ci-cd-pipeline")
	if missing := g.pythonStandIn("requests"); missing {
		t.Log("Python has no module requests: a stand-in makes its request")
	}
	inputs := strings.NewReplacer("${{ github.event.inputs.runner_name }}", "my-runner")
	variables := strings.NewReplacer("${var.provisioning_key}", key, "${var.runner_name}", "my-runner", "${var.server_url}", g.url)
	fill := strings.NewReplacer("ck_prov_abc123...", key, "https://localhost:8443", g.url)
	for _, script := range []struct {
		name, program string
		args          []string
		want          string
	}{
		{"Bash", "bash", []string{g.save("provision.sh", fill.Replace(guideBash))}, "Config saved to runner-config.yml\n"},
		{"Python", "python3", []string{g.save("provision.py", fill.Replace(guidePython))}, "Runner 'my-runner' provisioned!\nConfig saved to runner-config.yml\n"},
		{"Terraform", "sh", []string{"-c", variables.Replace(guideTerraform)}, ""},
		{"GitHub Actions", "env", []string{"PROV_KEY=" + key, "SERVER=" + g.url, "bash", "-e", g.save("step.sh", inputs.Replace(guideActions))}, ""},
	} {
		if got := g.run("", script.program, script.args...); got.out != script.want {
			t.Errorf("%s: got %q, want %q", script.name, got.out, script.want)
		}
		g.wantConfig(script.name, g.savedConfig(), "my-runner")
	}
}

func (in *installation) save(name, text string) string {
	in.t.Helper()
	in.check(os.WriteFile(in.path(name), []byte(text), 0o600))
	return in.path(name)
}

// pythonStandIn puts a stand-in where Python finds it if the module is missing.
func (in *installation) pythonStandIn(module string) bool {
	in.t.Helper()
	probe := in.run("", "sh", "-c", "python3 -c 'import "+module+"' 2>/dev/null && echo yes || true")
	if probe.out != "" {
		return false
	}
	in.save(module+".py", standIn)
	return true
}

// TestGuideRotation runs the rotation as it is written: with bodies that curl
// declares to be forms. What the old key has enrolled lives on.
func TestGuideRotation(t *testing.T) {
	t.Parallel()
	g := guidedServer(t, "")
	old := g.createKey("old-key")
	runner := g.provision(old, `{"runner_name":"sdr-1"}`)
	g.enroll(runner, 201)
	pending := g.provision(old, `{"runner_name":"sdr-2"}`)

	got := g.follow(guideCSRF + "\n" + guideRotation)
	answers := got.documents(t)
	if got.statuses != "200 201 200" || len(answers) != 3 {
		t.Fatalf("rotation: got %s: %s", got.statuses, got.out)
	}
	key, _ := answers[1]["api_key"].(string)
	g.hide(key)
	want := []map[string]any{{"status": "disabled"}, {"key_id": "new-key", "api_key": key, "description": "Rotated key"}, {"status": "deleted"}}
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Errorf("rotation (-want +got):\n%s", diff)
	}
	g.wantError("the old key", g.requestJSON("POST", "/api/provisioning/provision", "Bearer "+old, `{"runner_name":"x"}`), 401, "Invalid provisioning API key")
	g.provision(key, `{"runner_name":"sdr-3"}`)
	if a := g.runnerCall("POST", "/api/runners/sdr-1/heartbeat", runner.APIKey, ""); a.status != 200 {
		t.Errorf("a runner of the old key: got %d %s", a.status, a.body)
	}
	g.wantError("pending with the old key", g.enrollment(pending), 401, "Invalid or expired enrollment token")
}

// wantError wants ChallengeCtl's kind of error.
func (p *process) wantError(when string, a answer, status int, text string) {
	p.in.t.Helper()
	var got struct{ Error string }
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != status || got.Error != text {
		p.in.t.Errorf("%s: got %d %s, want %d %q", when, a.status, a.body, status, text)
	}
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		p.in.t.Errorf("%s: Content-Type %q", when, ct)
	}
}

// TestGuideTroubles brings about the errors that the guide explains.
func TestGuideTroubles(t *testing.T) {
	t.Parallel()
	g := guidedServer(t, "")
	key := g.createKey("ci-cd-pipeline")
	post := func(key, body string) answer {
		return g.requestJSON(http.MethodPost, "/api/provisioning/provision", "Bearer "+key, body)
	}
	const invalid = "Invalid provisioning API key"
	g.wantError("not a key", post("ck_prov_1234567890abcdef1234567890abcdef", `{"runner_name":"x"}`), 401, invalid)
	g.wantError("modified", post(key[:len(key)-1]+string('0'+(key[len(key)-1]+1)%10), `{"runner_name":"x"}`), 401, invalid)
	g.wantError("no header", g.request("POST", "/api/provisioning/provision", "", nil), 401, "Missing or invalid authorization header")
	g.wantError("no name", post(key, `{}`), 400, "Missing required field: runner_name")

	// It takes the certificate for good, with no -k.
	if got := g.follow(guideCorrect, "$KEY", key); got.statuses != "201" {
		t.Errorf("correct request: got %s: %s", got.statuses, got.out)
	}
	used := 2 // in this hour: the refusal for its body counts too
	for ; used < 100; used++ {
		if a := post(key, `{"runner_name":"my-runner"}`); a.status != 201 {
			t.Fatalf("request %d of the hour: got %d %s", used+1, a.status, a.body)
		}
	}
	a := post(key, `{"runner_name":"my-runner"}`)
	g.wantError("101st request", a, 429, "Too many requests by this provisioning key")
	if a.header.Get("Retry-After") == "" || a.header.Get("RateLimit") == "" || a.header.Get("RateLimit-Policy") == "" {
		t.Errorf("101st request: got %v, want Retry-After and RateLimit", a.header)
	}
	another := g.createKey("second")
	g.provision(another, `{"runner_name":"my-runner"}`)
}
