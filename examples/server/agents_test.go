package main_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/provisioning"
)

// TestAgentLife follows an agent that meets another process with each request.
func TestAgentLife(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, openAgents)
	all := in.startAll(4)
	key, other, id := newKeyPair(t), newKeyPair(t), agentName("planner")
	token := all[0].enrolAgent(key, id)
	kids := all[3].kids()
	header, claims := readToken(t, token)
	if header.Algorithm != "Ed25519" || !slices.Equal(kids, []string{header.KeyID}) || claims.Issuer != agentURL || claims.Subject != id || claims.Expires-claims.Issued != 3600 {
		t.Errorf("the token says %+v %+v, and the keys are %q", header, claims, kids)
	}
	again := all[1].token("refresh", all[1].call(refreshment(key)))
	byOther := all[2].token("refresh with two keys", all[2].call(refreshmentBy(key, other)))
	for i, p := range all {
		at := fmt.Sprintf("whoami at process %d ", i)
		for what, c := range map[string]signedCall{
			"by token":           whoamiBy(key, agentauth.SignOptions{Token: token}),
			"by the later token": whoamiBy(key, agentauth.SignOptions{Token: again}),
			"by the other key":   whoamiBy(other, agentauth.SignOptions{Token: byOther}),
			"by key":             whoamiBy(key, agentauth.SignOptions{}),
		} {
			p.wantCaller(at+what, p.call(c), "agent", id)
		}
		p.wantRefused(at+"by the other key alone", p.call(whoamiBy(other, agentauth.SignOptions{})), 403, "denied")
		p.wantRefused(at+"by another's token", p.call(whoamiBy(other, agentauth.SignOptions{Token: token})), 401, "invalid_signature")
		if got := p.token("enrol again", p.call(enrolment(key, id, ""))); got == token {
			t.Error("the second enrolment got the token of the first")
		}
		p.wantRefused("enrol another key", p.call(enrolment(other, id, "")), 409, "agent_id_in_use")
		if !slices.Equal(p.kids(), kids) {
			t.Errorf("process %d publishes %q, the others %q", i, p.kids(), kids)
		}
	}
}

// document reads a JSON object that anybody may.
func (p *process) document(path string) map[string]any {
	p.in.t.Helper()
	var d map[string]any
	a := p.get(path, "")
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status != 200 || !strings.HasPrefix(a.header.Get("Cache-Control"), "max-age=") {
		p.in.t.Fatalf("%s: got %d %s %v", path, a.status, a.body, a.header)
	}
	return d
}

// TestAgentDocuments reads what the server says of itself and of its agents.
func TestAgentDocuments(t *testing.T) {
	t.Parallel()
	p := newAgentServer(t, openAgents).start()
	e := p.newEnrolled("planner")
	for path, want := range map[string]map[string]string{
		agentauth.MetadataPath: {
			"issuer": agentURL, "jwks_uri": agentURL + "/jwks.json",
			"enrol_endpoint": agentURL + "/enrol", "refresh_endpoint": agentURL + "/refresh", "rekey_endpoint": agentURL + "/rekey", "subagent_endpoint": agentURL + "/subagent",
		},
		agentauth.ResourceMetadataPath: {
			"issuer": agentURL, "jwks_uri": agentURL + "/resource/jwks.json", "access_mode": "agent-token", "revocation_endpoint": agentURL + "/resource/revoke",
		},
	} {
		got := p.document(path)
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s: %s: got %v, want %s", path, name, got[name], value)
			}
		}
	}
	if diff := cmp.Diff(p.document("/jwks.json"), p.document("/resource/jwks.json")); diff != "" {
		t.Errorf("the keys of provider and resource (-provider +resource):\n%s", diff)
	}
	path := strings.TrimPrefix(e.keyURL, agentURL)
	for _, path := range []string{path, strings.NewReplacer(":", "%3A", "@", "%40").Replace(path)} {
		keys, _ := p.document(path)["keys"].([]any)
		if key, ok := keys[0].(map[string]any); len(keys) != 1 || !ok || key["kid"] != e.keyID || key["d"] != nil {
			t.Errorf("%s: got %v, want one public key %s", path, keys, e.keyID)
		}
	}
	if a := p.get("/agents/"+agentName("nobody")+"/jwks.json", ""); a.status != 404 {
		t.Errorf("keys of nobody: got %d %s, want 404", a.status, a.body)
	}
}

// TestAgentSettings looks at what members of the configuration change.
func TestAgentSettings(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, `{"admission":"open","token_life":"10m","hide_agent_keys":true,"compat":{"allow_unsigned_enrol":true}}`)
	p := in.start()
	key, id := newKeyPair(t), agentName("planner")
	a := p.requestJSON("POST", "/enrol", "", `{"agent_id":"`+id+`","jwk":`+publicJWK(key)+`}`)
	_, claims := readToken(t, p.token("enrol without a signature", a))
	if life := claims.Expires - claims.Issued; life != 600 {
		t.Errorf("the token lives %d seconds, want 600", life)
	}
	if path := "/agents/" + id + "/jwks.json"; strings.Contains(a.body, "jwks_uri") || p.get(path, "").status != 404 {
		t.Errorf("a hidden agent: got %s, and %d for its keys", a.body, p.get(path, "").status)
	}
	strict := newAgentServer(t, openAgents).start()
	strict.wantRefused("enrol without a signature", strict.requestJSON("POST", "/enrol", "", `{"jwk":`+publicJWK(key)+`}`), 401, "invalid_signature")
}

// TestAgentBesideKeys shows that /whoami still knows keys, and one credential of
// each caller.
func TestAgentBesideKeys(t *testing.T) {
	t.Parallel()
	p := newAgentServer(t, openAgents).start()
	admin := p.claim()
	key := newKeyPair(t)
	token := p.enrolAgent(key, "")
	if !p.accepts(admin) {
		t.Error("an admin key is not accepted beside signatures")
	}
	both := whoamiBy(key, agentauth.SignOptions{Token: token})
	both.bearer = admin
	if a := p.call(both); a.status != 400 {
		t.Errorf("two credentials: got %d %s, want 400", a.status, a.body)
	}
	a := p.get("/whoami", "")
	if challenge := a.header.Get("Www-Authenticate"); a.status != 401 || challenge != "Bearer" || a.header.Get("Accept-Signature-Scheme") != "jwt, hwk, jwks" {
		t.Errorf("no credential: got %d %v, want 401 and how to do better", a.status, a.header)
	}
}

// TestAgentSurvivesRestart restarts the server: its keys and its agents are there.
func TestAgentSurvivesRestart(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, openAgents)
	p := in.start()
	key, id := newKeyPair(t), agentName("planner")
	token, kids := p.enrolAgent(key, id), p.kids()
	for _, end := range []func(){p.kill, func() { p.stop(startLimit) }} {
		end()
		p = in.start()
		if got := p.kids(); !slices.Equal(got, kids) {
			t.Errorf("the keys changed from %q to %q", kids, got)
		}
		p.wantCaller("the token from before", p.call(whoamiBy(key, agentauth.SignOptions{Token: token})), "agent", id)
		if header, _ := readToken(t, p.token("refresh", p.call(refreshment(key)))); header.KeyID != kids[0] {
			t.Errorf("a token by key %q, want %q", header.KeyID, kids[0])
		}
	}
	p.kill()
	in.wantPrivate(in.db + ".agentkeys")
	// Without the private key the public ones are a promise that nobody keeps.
	in.check(os.RemoveAll(in.db + ".agentkeys"))
	in.wantRefusedStart("agents.keys: ", kids[0])
}

// wantPrivate wants a directory that is its owner's, with files that are.
func (in *installation) wantPrivate(dir string) {
	in.t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	in.check(err)
	if len(files) != 1 {
		in.t.Fatalf("in %s: %q, want one key", dir, files)
	}
	for _, path := range append(files, dir) {
		info, err := os.Stat(path)
		in.check(err)
		if info.Mode().Perm()&0o077 != 0 {
			in.t.Errorf("%s: others may read it: %v", path, info.Mode())
		}
	}
}

// TestAgentsStartTogether starts processes at one instant where there is no
// signing key yet: they agree on one.
func TestAgentsStartTogether(t *testing.T) {
	t.Parallel()
	for range rounds(3, 50) {
		in := newAgentServer(t, `{"admission":"open","keys":"`+filepath.ToSlash(t.TempDir())+`/keys"}`)
		all := in.startAll(4)
		kids := all[0].kids()
		for i, p := range all {
			header, _ := readToken(t, p.enrolAgent(newKeyPair(t), ""))
			if got := p.kids(); len(got) != 1 || got[0] != kids[0] || header.KeyID != kids[0] {
				t.Errorf("process %d: publishes %q and signs by %q, process 0 publishes %q", i, got, header.KeyID, kids)
			}
			p.kill()
		}
	}
}

// TestRunnerSigns has a runner that provisioning has bound to a key call /whoami
// by that key.
func TestRunnerSigns(t *testing.T) {
	t.Parallel()
	in := newAgentServer(t, `{}`)
	p := in.start()
	admin := p.claim()
	provisioner := p.newKey(admin, `{"key_id":"fleet","scopes":["tasks"]}`)
	key := newKeyPair(t)
	whoami := func() answer { return p.call(whoamiBy(key, agentauth.SignOptions{})) }
	p.wantRefused("before", whoami(), 403, "denied")
	p.enrolKeyPair(provisioner, "sdr-1", key)
	if got := p.wantCaller("enrolled", whoami(), "agent", "sdr-1"); got.Attrs["runner"] != "sdr-1" || got.Attrs["scheme"] != "hwk" || !slices.Equal(got.Scopes, []string{"tasks"}) {
		t.Errorf("the caller is %+v", got)
	}
	p.wantRefused("refresh", p.call(refreshment(key)), 403, "denied")
	if a := p.call(enrolment(key, "", "")); a.status == 200 {
		t.Errorf("a runner became an agent: %s", a.body)
	}
	for _, step := range []struct {
		method, path string
		status       int
	}{{"POST", "/sdr-1/disable", 403}, {"POST", "/sdr-1/enable", 200}, {"DELETE", "/sdr-1", 403}} {
		if a := p.requestJSON(step.method, provisioning.RunnersPath+step.path, "Bearer "+admin, ""); a.status != 200 {
			t.Fatalf("%s %s: got %d %s", step.method, step.path, a.status, a.body)
		}
		if a := whoami(); a.status != step.status {
			t.Errorf("after %s %s: got %d %s, want %d", step.method, step.path, a.status, a.body, step.status)
		}
	}
}

// enrolKeyPair enrols a runner that has a key pair in place of an API key.
func (p *process) enrolKeyPair(provisioner, id string, key crypto.Signer) {
	p.in.t.Helper()
	a := p.requestJSON("POST", provisioning.ProvisionPath, "Bearer "+provisioner, `{"runner_name":"`+id+`","use_public_key":true}`)
	made := provisioning.Provisioned{ServerURL: agentURL}
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != 201 {
		p.in.t.Fatalf("provision: got %d %s", a.status, a.body)
	}
	p.in.hide(made.Token)
	public, proof, err := provisioning.SignEnrollment(key, made, time.Now())
	p.in.check(err)
	body, err := json.Marshal(map[string]any{
		"enrollment_token": made.Token, "runner_id": id, "hostname": "sdr-host", "devices": []any{}, "public_key": public, "proof": proof,
	})
	p.in.check(err)
	if a := p.runnerCall("POST", provisioning.EnrollPath, "", string(body)); a.status != 201 {
		p.in.t.Fatalf("enrol the runner: got %d %s", a.status, a.body)
	}
}

// TestNoAgents wants nothing of agents in a server that is not configured for
// them.
func TestNoAgents(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.flags = []string{"-url", agentURL}
	p := in.start()
	for _, path := range []string{agentauth.MetadataPath, agentauth.ResourceMetadataPath, "/jwks.json", "/resource/jwks.json", "/agents/aauth:x@agents.example/jwks.json", agentsAPI, agentsAPI + "/secrets", "/person", "/auth"} {
		if a := p.get(path, ""); a.status != 404 {
			t.Errorf("GET %s: got %d %s, want 404", path, a.status, a.body)
		}
	}
	key := newKeyPair(t)
	for _, c := range []signedCall{enrolment(key, "", ""), refreshment(key), {method: "POST", path: "/subagent", body: "{}", key: key}} {
		if a := p.call(c); a.status != 404 {
			t.Errorf("%s: got %d %s, want 404", c.path, a.status, a.body)
		}
	}
	a := p.call(whoamiBy(key, agentauth.SignOptions{}))
	if unsigned := p.get("/whoami", ""); a.status != 401 || a.body != unsigned.body || strings.Contains(fmt.Sprint(a.header), "Signature") {
		t.Errorf("a signature: got %d %s %v, want the answer to a request without one", a.status, a.body, a.header)
	}
	if _, err := os.Stat(in.db + ".agentkeys"); err == nil {
		t.Error("there is a directory of signing keys")
	}
}
