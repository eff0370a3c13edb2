package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

// A runnerState is what the store holds of provisioning and enrolment.
type runnerState struct {
	Tickets, Runners, Keys int
	Provisioned, Enrolled  int // events
}

func (in *installation) lookAtRunners() (s runnerState) {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	ctx := in.t.Context()
	s.Tickets = len(ids(ctx, in.t, host.Store, provisioning.KindEnrollment))
	s.Runners = len(ids(ctx, in.t, host.Store, provisioning.KindRunner))
	s.Keys = len(ids(ctx, in.t, host.Store, keywright.KindKey))
	for e, err := range host.Events(ctx, "") {
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

func (s runnerState) plus(o runnerState) runnerState {
	return runnerState{s.Tickets + o.Tickets, s.Runners + o.Runners, s.Keys + o.Keys, s.Provisioned + o.Provisioned, s.Enrolled + o.Enrolled}
}

// TestKillWhileProvisioning is SIGKILL at a random moment of a provision
// request, or of an enrolment: all of it has happened or nothing, and the same
// again ends well.
func TestKillWhileProvisioning(t *testing.T) {
	t.Parallel()
	for name, round := range map[string]func(k *runnerKiller, id string) outcome{
		"provision": (*runnerKiller).provision, "enrol": (*runnerKiller).enroll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			k := runnerKiller{process: in.start(), draw: rand.New(rand.NewPCG(3, 4)), around: 2 * time.Millisecond}
			k.key = k.newKey(k.claim(), `{"key_id":"fleet","per_hour":100000}`)
			var seen [answered + 1]int
			want := rounds(30, 300)
			for i := 0; i < want || i < 10*want && (seen[nothing] == 0 || seen[lost] == 0); i++ {
				got := round(&k, fmt.Sprint("sdr-", i))
				seen[got]++
				// The interesting moments are few, so the draws close in on
				// where an answer begins to arrive.
				if got == answered {
					k.around = k.around * 9 / 10
				} else {
					k.around = min(k.around*11/10, time.Second)
				}
			}
			t.Logf("%d times nothing happened, %d times the answer was lost, %d times it arrived", seen[nothing], seen[lost], seen[answered])
			if seen[nothing] == 0 || seen[lost] == 0 {
				t.Error("one of the two interesting outcomes never occurred, so nothing is proven")
			}
		})
	}
}

// A runnerKiller kills one process after the other, on one installation.
type runnerKiller struct {
	*process
	key    string // a provisioning key
	draw   *rand.Rand
	around time.Duration // when to kill, give or take a third
}

// during kills the process at a random moment after it was sent a request, and
// starts the next. It wants that what has happened is nothing or done.
func (k *runnerKiller) during(request string, done runnerState) (outcome, answer) {
	t := k.in.t
	t.Helper()
	before := k.in.lookAtRunners()
	conn := k.dial()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	moment := time.After(time.Duration((0.67 + 0.67*k.draw.Float64()) * float64(k.around)))
	received := make(chan answer, 1)
	go func() {
		a, _ := readRaw(conn) // cut short: no answer
		received <- a.answer
	}()
	<-moment
	k.kill()
	a, s := <-received, k.in.lookAtRunners()
	k.process = k.in.start()
	switch done = before.plus(done); {
	case s == before && a.status == 0:
		return nothing, a
	case s == done && a.status == 0:
		return lost, a
	case s == done && a.status == 201:
		return answered, a
	}
	t.Fatalf("half of it has happened: answer %d, store %+v, want %+v or %+v", a.status, s, before, done)
	return 0, a
}

func (k *runnerKiller) provision(id string) outcome {
	body := `{"runner_name":"` + id + `"}`
	got, a := k.during(k.jsonLines(provisioning.ProvisionPath, "Bearer "+k.key, body), runnerState{Tickets: 1, Provisioned: 1})
	var r provisioned
	if got == answered {
		var err error
		if r, err = readProvisioned(a); err != nil {
			k.in.t.Fatal(err)
		}
		k.in.hide(r.Token, r.APIKey)
	} else {
		r = k.process.provision(k.key, body) // takes the place of what got lost
	}
	before := k.in.lookAtRunners()
	k.process.enroll(r, 201)
	k.wantEnrolled(before, r)
	return got
}

// enroll has a runner that starts again, and knows nothing of what it did
// before: it tries to enrol.
func (k *runnerKiller) enroll(id string) outcome {
	r := k.process.provision(k.key, `{"runner_name":"`+id+`"}`)
	before := k.in.lookAtRunners()
	got, _ := k.during(k.jsonLines(provisioning.EnrollPath, "", r.enrollBody()), runnerState{Runners: 1, Keys: 1, Enrolled: 1})
	k.process.enroll(r, 201)
	k.wantEnrolled(before, r)
	k.process.enroll(r, 409)
	return got
}

func (k *runnerKiller) wantEnrolled(before runnerState, r provisioned) {
	k.in.t.Helper()
	k.steps(r.APIKey, life("/api/runners", r.ID)...)
	if s, want := k.in.lookAtRunners(), before.plus(runnerState{Runners: 1, Keys: 1, Enrolled: 1}); s != want {
		k.in.t.Fatalf("after the retry: %+v, want %+v: one runner more, with one key", s, want)
	}
}
