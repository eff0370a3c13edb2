package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

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
			case a.status != 409 && a.status != 401: // runners are counted, not answers
				t.Errorf("got %d %s, want 201, 409 or 401", a.status, a.body)
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

// A runnerState is what the store holds of one provisioning and its enrolment.
type runnerState struct {
	Tickets, Pending, Runners, Keys int
	Provisioned, Enrolled           int // events
}

func (in *installation) lookAtRunner() (s runnerState) {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	ctx := in.t.Context()
	s.Tickets = len(ids(ctx, in.t, host.Store, provisioning.KindEnrollment))
	s.Pending = len(ids(ctx, in.t, host.Store, provisioning.KindPending))
	s.Runners = len(ids(ctx, in.t, host.Store, provisioning.KindRunner))
	s.Keys = len(ids(ctx, in.t, host.Store, keywright.KindKey)) - 2 // the admin's and the provisioning key
	for e, err := range host.Events(ctx) {
		in.check(err)
		switch e.Name {
		case "provisioning.provisioned":
			s.Provisioned++
		case "provisioning.enrolled":
			s.Enrolled++
		}
	}
	return s
}

// TestKillWhileProvisioning is SIGKILL at a random moment of a provision
// request, and then of the enrolment: all of it has happened or nothing, and
// the same again ends well.
func TestKillWhileProvisioning(t *testing.T) {
	t.Parallel()
	for name, kill := range map[string]func(k *killer, in *installation, p *process, key string) outcome{
		"provision": killProvision, "enrol": killEnrollment,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := killer{draw: rand.New(rand.NewPCG(3, 4)), upper: maxDelay}
			want := rounds(30, 300)
			for i := 0; i < want || i < 4*want && (k.seen[nothing] == 0 || k.seen[lost] == 0); i++ {
				in := newInstallation(t)
				p := in.start()
				got := kill(&k, in, p, p.newKey(p.claim(), `{"key_id":"fleet"}`))
				k.seen[got]++
				if got == answered {
					k.upper = max(k.upper*9/10, time.Millisecond)
				} else {
					k.upper = min(k.upper*11/10, maxDelay)
				}
			}
			t.Logf("%d times nothing happened, %d times the answer was lost, %d times it arrived", k.seen[nothing], k.seen[lost], k.seen[answered])
			if k.seen[nothing] == 0 || k.seen[lost] == 0 {
				t.Error("one of the two interesting outcomes never occurred, so nothing is proven")
			}
		})
	}
}

// during kills p at a random moment after it was sent a request.
func (k *killer) during(p *process, request string) answer {
	p.in.t.Helper()
	conn := p.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		p.in.t.Fatal(err)
	}
	moment := time.After(time.Duration(k.draw.Float64() * float64(k.upper)))
	received := make(chan answer, 1)
	go func() {
		a, _ := readRaw(conn) // cut short: no answer
		received <- a.answer
	}()
	<-moment
	p.kill()
	return <-received
}

// happened tells by the store and the answer what a kill has left.
func happened(t *testing.T, a answer, s, before, after runnerState) outcome {
	t.Helper()
	switch {
	case s == before && a.status == 0:
		return nothing
	case s == after && a.status == 0:
		return lost
	case s == after && a.status == 201:
		return answered
	}
	t.Fatalf("half of it has happened: answer %d, store %+v, want %+v or %+v", a.status, s, before, after)
	return 0
}

func killProvision(k *killer, in *installation, p *process, key string) outcome {
	const body = `{"runner_name":"sdr-1"}`
	a := k.during(p, p.jsonLines(provisioning.ProvisionPath, "Bearer "+key, body))
	got := happened(in.t, a, in.lookAtRunner(), runnerState{}, runnerState{Tickets: 1, Pending: 1, Provisioned: 1})
	p = in.start()
	defer p.kill()
	var r provisioned
	if got == answered {
		var err error
		if r, err = readProvisioned(a); err != nil {
			in.t.Fatal(err)
		}
		in.hide(r.Token, r.APIKey)
	} else {
		r = p.provision(key, body) // takes the place of what got lost
	}
	p.enroll(r, 201)
	p.wantOneRunner(r)
	return got
}

func (p *process) wantOneRunner(r provisioned) {
	p.in.t.Helper()
	p.steps(r.APIKey, life("/api/runners", r.ID)...)
	if s := p.in.lookAtRunner(); s.Runners != 1 || s.Keys != 1 || s.Enrolled != 1 {
		p.in.t.Fatalf("after the retry: %+v, want one runner with one key", s)
	}
}

// killEnrollment has a runner that starts again, which knows nothing of what
// it did before: it tries to register, and then to enrol.
func killEnrollment(k *killer, in *installation, p *process, key string) outcome {
	r := p.provision(key, `{"runner_name":"sdr-1"}`)
	before := in.lookAtRunner()
	a := k.during(p, p.jsonLines(provisioning.EnrollPath, "", r.enrollBody()))
	s := in.lookAtRunner()
	after := before
	after.Runners, after.Keys, after.Enrolled, after.Pending = 1, 1, 1, s.Pending
	got := happened(in.t, a, s, before, after)
	p = in.start()
	defer p.kill()
	if a := p.enrollment(r); a.status != 201 {
		in.t.Fatalf("the same again: got %d %s, want 201", a.status, a.body)
	}
	p.wantOneRunner(r)
	p.enroll(r, 409)
	return got
}
