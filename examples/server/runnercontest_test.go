package main_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

// jsonLines is a POST with a body, as it goes over the wire.
func (p *process) jsonLines(path, authorization, body string) string {
	lines := []string{
		"POST " + path + " HTTP/1.1", "Host: " + p.addr, "Connection: close", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)),
	}
	if authorization != "" {
		lines = append(lines, "Authorization: "+authorization)
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// startAll starts processes at one instant.
func (in *installation) startAll(n int) []*process {
	in.t.Helper()
	var all []*process
	for range n {
		all = append(all, in.launch())
	}
	for _, p := range all {
		p.awaitListening()
	}
	return all
}

// race sends n requests at one instant, spread over the processes, and returns
// the answers.
func race(t *testing.T, all []*process, n int, request func(p *process, i int) string) []answer {
	t.Helper()
	answers, failed := make([]answer, n), make([]error, n)
	release := make(chan struct{})
	var done sync.WaitGroup
	for i := range answers {
		p := all[i%len(all)]
		conn := p.dial()
		done.Go(func() {
			<-release
			if _, failed[i] = io.WriteString(conn, request(p, i)); failed[i] == nil {
				var a rawAnswer
				a, failed[i] = readRaw(conn)
				answers[i] = a.answer
			}
		})
	}
	close(release)
	done.Wait()
	for _, err := range failed {
		if err != nil {
			t.Errorf("a request got no answer: %v", err)
		}
	}
	return answers
}

// count counts the records of a kind.
func (in *installation) count(kind string) int {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	return len(ids(in.t.Context(), in.t, host.Store, kind))
}

// TestProvisioningContest is "exactly 100 of 200": requests to four processes
// with one key, which has 100 in its hour.
func TestProvisioningContest(t *testing.T) {
	t.Parallel()
	for range rounds(1, 10) {
		in := newInstallation(t)
		all := in.startAll(4)
		key := all[0].newKey(all[0].claim(), `{"key_id":"fleet"}`)
		answers := race(t, all, 200, func(p *process, i int) string {
			return p.jsonLines(provisioning.ProvisionPath, "Bearer "+key, fmt.Sprintf(`{"runner_name":"sdr-%d"}`, i))
		})
		made := 0
		for _, a := range answers {
			switch {
			case a.status == 201:
				r, err := readProvisioned(a)
				if err != nil {
					t.Error(err)
				}
				in.hide(r.Token, r.APIKey)
				made++
			case a.status != 429 || a.header.Get("Retry-After") == "":
				t.Errorf("got %d %s, want 201, or 429 with Retry-After", a.status, a.body)
			}
		}
		if stored := in.count(provisioning.KindEnrollment); made != 100 || stored != 100 {
			t.Errorf("%d answers with credentials and %d enrolments in the store, want 100", made, stored)
		}
		for _, p := range all {
			p.kill()
		}
	}
}

// TestEnrollmentContest presents one token 200 times at one instant to four
// processes: one runner with one key, whoever asks.
func TestEnrollmentContest(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	all := in.startAll(4)
	admin := all[0].claim()
	key := all[0].newKey(admin, `{"key_id":"fleet"}`)
	for round := range rounds(2, 20) {
		r := all[0].provision(key, fmt.Sprintf(`{"runner_name":"sdr-%d"}`, round))
		answers := race(t, all, 200, func(p *process, _ int) string {
			return p.jsonLines(provisioning.EnrollPath, "", r.enrollBody())
		})
		enrolled := 0
		for _, a := range answers {
			switch {
			case a.status == 201:
				enrolled++
			case a.status != 409: // runners are counted, not answers
				t.Errorf("got %d %s, want 201 or 409", a.status, a.body)
			}
		}
		if enrolled == 0 {
			t.Error("nobody was told that the runner is enrolled")
		}
		// The admin key, and one for each runner.
		if runners, keys := in.count(provisioning.KindRunner), in.count(keywright.KindKey); runners != round+1 || keys != round+3 {
			t.Fatalf("%d runners and %d keys after round %d, want %d and %d", runners, keys, round, round+1, round+3)
		}
		for _, p := range all {
			if a := p.runnerCall("POST", "/api/runners/"+r.ID+"/heartbeat", r.APIKey, ""); a.status != 200 {
				t.Errorf("heartbeat: got %d %s", a.status, a.body)
			}
		}
		if a := all[1].enrollment(r); a.status != 409 {
			t.Errorf("once more: got %d %s, want 409", a.status, a.body)
		}
	}
}

// TestDisabledEverywhere disables a key, and a runner, in one process: the next
// request in every other is refused.
func TestDisabledEverywhere(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	all := in.startAll(4)
	admin := all[0].claim()
	key := all[0].newKey(admin, `{"key_id":"fleet","per_hour":100000}`)
	r := all[0].provision(key, `{"runner_name":"sdr-1"}`)
	all[0].enroll(r, 201)
	want := func(when string, provision, heartbeat int) {
		t.Helper()
		for i, p := range all {
			if a := p.requestJSON("POST", provisioning.ProvisionPath, "Bearer "+key, `{"runner_name":"sdr-2"}`); a.status != provision {
				t.Errorf("%s: provision at process %d: got %d %s, want %d", when, i, a.status, a.body, provision)
			}
			if a := p.runnerCall("POST", "/api/agents/sdr-1/heartbeat", r.APIKey, ""); a.status != heartbeat {
				t.Errorf("%s: heartbeat at process %d: got %d %s, want %d", when, i, a.status, a.body, heartbeat)
			}
		}
	}
	do := func(p *process, method, path, body string) {
		t.Helper()
		if a := p.requestJSON(method, path, "Bearer "+admin, body); a.status != 200 {
			t.Fatalf("%s %s: got %d %s", method, path, a.status, a.body)
		}
	}
	want("before", 201, 200)
	for i, p := range all {
		do(p, "POST", provisioning.KeysPath+"/fleet/toggle", `{"enabled":false}`)
		want(fmt.Sprint("key disabled at ", i), 401, 200)
		do(p, "POST", provisioning.KeysPath+"/fleet/toggle", `{"enabled":true}`)
		do(p, "POST", provisioning.RunnersPath+"/sdr-1/disable", "")
		want(fmt.Sprint("runner disabled at ", i), 201, 401)
		do(p, "POST", provisioning.RunnersPath+"/sdr-1/enable", "")
		want(fmt.Sprint("both enabled at ", i), 201, 200)
	}
	do(all[1], "DELETE", provisioning.KeysPath+"/fleet", "")
	want("key deleted", 401, 200)
	do(all[2], "DELETE", provisioning.RunnersPath+"/sdr-1", "")
	want("runner deleted", 401, 401)
}
