package provisioning_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/provisioning"
)

func TestChallengeCtl(t *testing.T) {
	gain, fine := 20.0, 3.5
	p := provisioning.Provisioned{
		Name: "sdr-1", ID: "sdr-one", Token: "ck_enroll_t", APIKey: "ck_runner_k", ServerURL: "https://server.example",
		Maker: "provisioning:ci", ExpiresAt: epoch,
	}
	got, err := provisioning.ChallengeCtl(t.Context(), p, provisioning.ProvisionRequest{Devices: []provisioning.Device{
		{Name: "0", Model: "hackrf", RFGain: &gain, IFGain: &fine, Limits: []string{"144000000-148000000"}},
		{Name: "serial-1", Model: "usrp", RFGain: &gain, IFGain: &gain},
	}})
	const want = `---
# Provisioned for sdr-1
# Provisioned by provisioning:ci
# Valid until 2026-03-01T12:00:00Z

runner:
    runner_id: "sdr-one"
    server_url: "https://server.example"
    enrollment_token: "ck_enroll_t"
    api_key: "ck_runner_k"
    ca_cert: ""
    verify_ssl: true
    heartbeat_interval: 30
    poll_interval: 10
    cache_dir: "cache"
    spectrum_paint_before_challenge: true
radios:
    models:
        - model: "hackrf"
          rf_gain: 14
          if_gain: 32
          bias_t: true
          rf_samplerate: 2000000
          ppm: 0
        - model: "bladerf"
          rf_gain: 43
          bias_t: true
          rf_samplerate: 2000000
          ppm: 0
        - model: "usrp"
          rf_gain: 20
          bias_t: false
          rf_samplerate: 2000000
          ppm: 0
    devices:
        - name: 0
          model: "hackrf"
          rf_gain: 20
          if_gain: 3.5
          frequency_limits:
            - "144000000-148000000"
        - name: "serial-1"
          model: "usrp"
          rf_gain: 20
`
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// python loads each line's document with PyYAML, as the real runner does, and
// reports those that are not exactly what the line wants.
const python = `
import json, sys, yaml
for number, line in enumerate(sys.stdin):
    case = json.loads(line)
    try:
        got = yaml.safe_load(case["document"])
    except Exception as e:
        got = repr(e)
    if got != case["want"]:
        print(number, json.dumps(case), json.dumps(got))
print("read", number + 1)
`

// What has broken out of YAML before.
var pieces = []string{
	"\n", "\r", "\r\n", "\t", " ", "\"", "'", "\\", ":", ": ", "#", " #", "- ", "---", "\n---\n", "...", "{", "}", "[", "]", "&a", "*a", "!", "!!python/object", "|", ">",
	"%", "@", "`", "~", "null", "true", "no", "on", "0", "0x1", "1e3", "1:2", "=", "<<", "?", ",", "${IFS}", "\x00", "\x1b", "\x7f", "\u0085", "\u00a0", "\u2028", "\u2029", "\ufeff",
	"\u202e", "😀", "é", "e\u0301", "\ufffd", "\U0010ffff", "  verify_ssl: false", "server_url: \"https://evil.example\"", "x",
}

func nasty(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(8) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// pythonWithYAML finds a Python that has PyYAML: the first in the path may be
// another than that of the system.
func pythonWithYAML(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import yaml").Run() == nil {
			return name
		}
	}
	if os.Getenv("KEYWRIGHT_REQUIRE_TOOLS") != "" {
		t.Fatal("no python3 with PyYAML")
	}
	t.Skip("no python3 with PyYAML")
	return ""
}

// An independent reader finds in the document exactly what was put into it, and
// nothing else changed by it.
func TestYAMLOfTenThousandNames(t *testing.T) {
	interpreter := pythonWithYAML(t)
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var in bytes.Buffer
	lines := json.NewEncoder(&in)
	for range 10_000 {
		document, want := render(t, r)
		if err := lines.Encode(map[string]any{"document": document, "want": want}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(interpreter, "-c", python)
	cmd.Stdin = &in
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "read 10000\n" {
		t.Errorf("%v\n%.4000s", err, out)
	}
}

// render returns a document full of nasty texts, and what a reader must find.
func render(t *testing.T, r *rand.Rand) (string, map[string]any) {
	t.Helper()
	p := provisioning.Provisioned{
		Name: nasty(r), ID: nasty(r), Token: nasty(r), APIKey: nasty(r), ServerURL: nasty(r), Maker: nasty(r), Challenge: nasty(r), ExpiresAt: time.Now(),
	}
	d := provisioning.Device{Name: provisioning.DeviceName("n" + nasty(r)), Model: nasty(r), Limits: []string{nasty(r), nasty(r)}}
	document, err := provisioning.ChallengeCtl(t.Context(), p, provisioning.ProvisionRequest{Devices: []provisioning.Device{d}})
	if err != nil {
		t.Fatal(err)
	}
	return document, map[string]any{
		"runner": map[string]any{
			"runner_id": p.ID, "server_url": p.ServerURL, "enrollment_token": p.Token, "api_key": p.APIKey, "enrollment_challenge": p.Challenge,
			"ca_cert": "", "verify_ssl": true, "heartbeat_interval": 30, "poll_interval": 10, "cache_dir": "cache", "spectrum_paint_before_challenge": true,
		},
		"radios": map[string]any{
			"models": []map[string]any{
				{"model": "hackrf", "rf_gain": 14, "if_gain": 32, "bias_t": true, "rf_samplerate": 2000000, "ppm": 0},
				{"model": "bladerf", "rf_gain": 43, "bias_t": true, "rf_samplerate": 2000000, "ppm": 0},
				{"model": "usrp", "rf_gain": 20, "bias_t": false, "rf_samplerate": 2000000, "ppm": 0},
			},
			"devices": []map[string]any{{"name": string(d.Name), "model": d.Model, "frequency_limits": d.Limits}},
		},
	}
}
