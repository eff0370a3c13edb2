// Package interop_test lets clients that others wrote meet the example server.
package interop_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// openAdmission lets everybody enrol, and agents and server speak http.
const openAdmission = `{"agents": {"admission": "open", "development": true}}`

// An answer is what the Node program says of one step.
type answer struct {
	Step           string
	Status         int
	ContentType    string
	CacheControl   string
	Body           json.RawMessage
	SignatureError struct {
		Error         string
		RequiredInput []string `json:"required_input"`
	}
	AcceptSignature *struct{ Components []string }
	AcceptScheme    []string
	AcceptAlg       []string
	Requirement     string
}

// The steps of the Node program, with what the server is to say of them: a
// status, the code of Signature-Error, and text in the body.
var steps = []struct {
	name   string
	status int
	code   string
	body   string
}{
	{"metadata", 200, "", `"enrol_endpoint"`},
	{"unsigned", 401, "", "invalid_token"}, // a key would have done too
	{"enrol", 200, "", `"agent_token"`},
	{"enrol-again", 200, "", `"agent_token"`},
	{"enrol-other-key", 409, "", "agent_id_in_use"},
	{"refresh", 200, "", `"agent_token"`},
	{"whoami", 200, "", "aauth:node-"},
	{"refresh-two-keys", 200, "", `"agent_token"`},
	{"whoami-two-keys", 200, "", "aauth:node-"},
	{"replayed-naming-jwt", 401, "invalid_jwt", ""},
	{"missing-digest", 401, "invalid_input", ""},
	{"altered-body", 401, "invalid_signature", ""},
	{"stale-created", 401, "invalid_signature", ""},
	{"whoami-other-key", 401, "invalid_signature", ""},
}

func TestAgentOnNode(t *testing.T) {
	dir := installNode(t)
	server := startServer(t, openAdmission)
	for _, algorithm := range []string{"Ed25519", "ES256"} {
		t.Run(algorithm, func(t *testing.T) {
			answers := runAgent[answer](t, dir, "--alg", algorithm, server)
			if len(answers) != len(steps) {
				t.Fatalf("%d steps, want %d", len(answers), len(steps))
			}
			for i, want := range steps {
				got := answers[i]
				if got.Step != want.name || got.Status != want.status || got.SignatureError.Error != want.code || !strings.Contains(string(got.Body), want.body) {
					t.Errorf("%s: got %d %q %s, want %s %d %q with %s", got.Step, got.Status, got.SignatureError.Error, got.Body, want.name, want.status, want.code, want.body)
				}
				if strings.Contains(string(got.Body), `"agent_token"`) && !strings.Contains(got.CacheControl, "no-store") {
					t.Errorf("%s: a token with Cache-Control %q, want no-store", got.Step, got.CacheControl)
				}
			}
			checkChallenges(t, answers)
			checkTokens(t, answers)
		})
	}
}

// checkChallenges looks at what the library has read of the fields that tell a
// client how to sign.
func checkChallenges(t *testing.T, answers []answer) {
	t.Helper()
	for _, a := range answers {
		switch a.Step {
		case "unsigned":
			if a.AcceptSignature == nil || !slices.Contains(a.AcceptSignature.Components, "signature-key") {
				t.Errorf("unsigned: Accept-Signature %v, want signature-key in it", a.AcceptSignature)
			}
			if !slices.Contains(a.AcceptScheme, "jwt") || !slices.Contains(a.AcceptAlg, "Ed25519") || !slices.Contains(a.AcceptAlg, "ES256") {
				t.Errorf("unsigned: schemes %q and algorithms %q, want jwt, Ed25519 and ES256 among them", a.AcceptScheme, a.AcceptAlg)
			}
		case "missing-digest":
			want := []string{"@authority", "@method", "@path", "content-digest", "content-type", "signature-key"}
			slices.Sort(a.SignatureError.RequiredInput)
			if diff := cmp.Diff(want, a.SignatureError.RequiredInput); diff != "" {
				t.Errorf("missing-digest: required_input (-want +got):\n%s", diff)
			}
		}
	}
}

// checkTokens wants a new token from each refresh.
func checkTokens(t *testing.T, answers []answer) {
	t.Helper()
	seen := map[string]string{}
	for _, a := range answers {
		var body struct {
			Token string `json:"agent_token"`
		}
		if a.Status != 200 || json.Unmarshal(a.Body, &body) != nil || body.Token == "" {
			continue
		}
		if before := seen[body.Token]; before != "" {
			t.Errorf("%s has the token of %s", a.Step, before)
		}
		seen[body.Token] = a.Step
	}
	if len(seen) != 4 {
		t.Errorf("tokens in %d steps, want 4", len(seen))
	}
}

// A key that was lost with the process would make the agent another one.
func TestAgentOnNodeComesBack(t *testing.T) {
	dir := installNode(t)
	server := startServer(t, openAdmission)
	state := []string{"--state", t.TempDir(), "--agent-id", "", server}
	first := runAgent[answer](t, dir, append(state, "enrol")...)
	second := runAgent[answer](t, dir, append(state, "whoami", "refresh", "whoami")...)
	for _, a := range append(first, second...) {
		if a.Status != 200 {
			t.Errorf("%s: got %d %s, want 200", a.Step, a.Status, a.Body)
		}
	}
}

// The client is worth something only as long as it sends what the specification
// shows.
func TestAgentOnNodeSendsPublishedRequests(t *testing.T) {
	dir := installNode(t)
	file, err := filepath.Abs("../../../shared/vectors/aauth/requests.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no published vectors beside the project")
	}
	lines := runAgent[struct {
		Vector string
		Equal  bool
	}](t, dir, "--vectors", file)
	for _, l := range lines {
		if !l.Equal {
			t.Errorf("%s differs", l.Vector)
		}
	}
	if len(lines) != 9 {
		t.Errorf("%d vectors, want 9", len(lines))
	}
}

func TestHTTPSign(t *testing.T) {
	program := build(t, "./httpsign")
	server := startServer(t, openAdmission)
	dir := t.TempDir()
	key, token := filepath.Join(dir, "key.pem"), filepath.Join(dir, "agent.token")
	writeKey(t, key)

	status, body := runHTTPSign(t, program, "-key", key, "-body", "{}", server+"/enrol")
	var enrolled struct {
		Token string `json:"agent_token"`
	}
	if err := json.Unmarshal([]byte(body), &enrolled); err != nil || status != "200" || enrolled.Token == "" {
		t.Fatalf("enrol: got %s %s, want 200 and a token", status, body)
	}
	if err := os.WriteFile(token, []byte(enrolled.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.pem")
	writeKey(t, other)
	for _, c := range []struct {
		name   string
		args   []string
		status string
		body   string
	}{
		{"its token", []string{"-key", key, "-token", token}, "200", "aauth:"},
		{"with alg and keyid", []string{"-key", key, "-token", token, "-spare"}, "200", "aauth:"},
		{"another's token", []string{"-key", other, "-token", token}, "401 error=invalid_signature", ""},
		{"its key alone", []string{"-key", key}, "200", "aauth:"},
		{"another key alone", []string{"-key", other}, "403", "denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := runHTTPSign(t, program, append(c.args, server+"/whoami")...)
			if status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("got %s %s, want %s with %s", status, body, c.status, c.body)
			}
		})
	}
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runHTTPSign returns the first line that the program prints, and the rest.
func runHTTPSign(t *testing.T, program string, args ...string) (status, body string) {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("httpsign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	status, body, _ = strings.Cut(string(out), "\n")
	return strings.TrimSpace(status), body
}
