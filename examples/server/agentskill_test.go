package main_test

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// An agentState is what the store holds of agents.
type agentState struct {
	Agents, Names              int
	Enrolled, Again, Refreshed int // events
}

func (in *installation) lookAtAgents() (s agentState) {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	ctx := in.t.Context()
	s.Agents = len(ids(ctx, in.t, host.Store, kindAgent))
	s.Names = len(ids(ctx, in.t, host.Store, agentauth.KindAgentID))
	for e, err := range host.Events(ctx, "") {
		in.check(err)
		switch e.Name {
		case "agent.enrolled":
			s.Enrolled++
		case "agent.enrolled_again":
			s.Again++
		case "agent.refreshed":
			s.Refreshed++
		}
	}
	return s
}

func (s agentState) plus(o agentState) agentState {
	return agentState{s.Agents + o.Agents, s.Names + o.Names, s.Enrolled + o.Enrolled, s.Again + o.Again, s.Refreshed + o.Refreshed}
}

// oneAgent is what an enrolment adds.
var oneAgent = agentState{Agents: 1, Names: 1, Enrolled: 1}

// TestKillAgents is SIGKILL at a random moment of what an agent asks for: all of
// it has happened or nothing, the same again ends well, and no name changes hands.
func TestKillAgents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		round        func(k *agentKiller, local string) outcome
	}{
		{"enrol", openAgents, (*agentKiller).enrol},
		{"enrol with a secret", `{"admission":"secrets"}`, (*agentKiller).enrolBySecret},
		{"refresh", openAgents, (*agentKiller).refresh},
		{"refresh with two keys", openAgents, (*agentKiller).refreshByOther},
		{"two want one name", openAgents, (*agentKiller).contend},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := newAgentServer(t, tt.config)
			k := agentKiller{process: in.start(), draw: rand.New(rand.NewPCG(5, 6)), around: 2 * time.Millisecond}
			k.admin = k.claim()
			var seen [answered + 1]int
			want := rounds(20, 300)
			for i := 0; i < want || i < 10*want && (seen[nothing] == 0 || seen[lost] == 0); i++ {
				got := tt.round(&k, fmt.Sprint("agent-", i))
				k.wantSameOwners()
				seen[got]++
				// As in TestKillWhileProvisioning.
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

// An agentKiller kills one process after the other, on one installation.
type agentKiller struct {
	*process
	admin  string // an admin key
	draw   *rand.Rand
	around time.Duration     // when to kill, give or take a third
	owners map[string]string // of names, as last seen
}

// during sends requests at one instant, kills the process at a random moment
// after that and starts the next. It wants that what has happened is nothing or
// done, and returns the answers that came.
func (k *agentKiller) during(done agentState, requests ...string) (outcome, []answer) {
	t := k.in.t
	t.Helper()
	before := k.in.lookAtAgents()
	received := make([]chan answer, len(requests))
	for i, request := range requests {
		conn := k.dial()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		received[i] = make(chan answer, 1)
		go func() {
			a, _ := readRaw(conn) // cut short: no answer
			received[i] <- a.answer
		}()
	}
	<-time.After(time.Duration((0.67 + 0.67*k.draw.Float64()) * float64(k.around)))
	k.kill()
	answers, good := make([]answer, len(requests)), false
	for i := range received {
		answers[i] = <-received[i]
		good = good || answers[i].status == 200
	}
	s := k.in.lookAtAgents()
	k.process = k.in.start()
	switch done = before.plus(done); {
	case s == before && !good:
		return nothing, answers
	case s == done && !good:
		return lost, answers
	case s == done:
		return answered, answers
	}
	t.Fatalf("half of it has happened: answers %v, store %+v, want %+v or %+v", answers, s, before, done)
	return 0, nil
}

// again repeats a request whose fate a kill has decided: as it was, which is a
// replay if it has happened, and then anew, as an agent does.
func (k *agentKiller) again(got outcome, text, replay string, anew signedCall) {
	t := k.in.t
	t.Helper()
	a, err := k.exchange(text)
	if err != nil {
		t.Fatal(err)
	}
	if got == nothing {
		k.token("the request that has not happened", a.answer)
	} else {
		k.wantRefused("the request that has happened", a.answer, 401, replay)
	}
	token := k.token("the request anew", k.call(anew))
	k.wantCaller("whoami", k.call(whoamiBy(anew.key, agentauth.SignOptions{Token: token})), "agent", subjectOf(t, token))
}

func subjectOf(t *testing.T, token string) string {
	_, claims := readToken(t, token)
	return claims.Subject
}

func (k *agentKiller) enrol(local string) outcome { return k.enrolBy(local, "") }

// enrolBySecret has one that is good for one agent.
func (k *agentKiller) enrolBySecret(local string) outcome {
	secret := k.newSecret(k.admin, `{"uses":1}`)
	got := k.enrolBy(local, secret)
	k.wantRefused("another agent with the secret", k.call(enrolment(newKeyPair(k.in.t), "", secret)), 403, "denied")
	return got
}

func (k *agentKiller) enrolBy(local, secret string) outcome {
	before, key := k.in.lookAtAgents(), newKeyPair(k.in.t)
	c := enrolment(key, agentName(local), secret)
	text := c.wire(k.in.t)
	got, _ := k.during(oneAgent, text)
	k.again(got, text, "invalid_signature", c)
	k.wantState(before.plus(oneAgent).plus(agentState{Again: 1}))
	return got
}

func (k *agentKiller) refresh(local string) outcome {
	key := newKeyPair(k.in.t)
	return k.refreshing(key, local, "invalid_signature", refreshment(key))
}

func (k *agentKiller) refreshByOther(local string) outcome {
	durable := newKeyPair(k.in.t)
	return k.refreshing(durable, local, "invalid_jwt", refreshmentBy(durable, newKeyPair(k.in.t)))
}

func (k *agentKiller) refreshing(durable ed25519.PrivateKey, local, replay string, c signedCall) outcome {
	k.enrolAgent(durable, agentName(local))
	before, text := k.in.lookAtAgents(), c.wire(k.in.t)
	got, _ := k.during(agentState{Refreshed: 1}, text)
	k.again(got, text, replay, c)
	k.wantState(before.plus(agentState{Refreshed: 2}))
	return got
}

// contend has two agents ask for one name. Whoever has got it, if only by an
// answer that was lost, keeps it; else it is who comes first after the kill.
func (k *agentKiller) contend(local string) outcome {
	t := k.in.t
	keys := []ed25519.PrivateKey{newKeyPair(t), newKeyPair(t)}
	var each []signedCall
	for _, key := range keys {
		each = append(each, enrolment(key, agentName(local), ""))
	}
	before := k.in.lookAtAgents()
	got, answers := k.during(oneAgent, each[0].wire(t), each[1].wire(t))
	first, winner := k.draw.IntN(2), -1
	for _, i := range []int{first, 1 - first} {
		switch a := k.call(each[i]); {
		case a.status == 200 && winner < 0:
			winner = i
			k.token("enrol", a)
		default:
			k.wantRefused("the other", a, 409, "agent_id_in_use")
		}
	}
	for i, a := range answers {
		if a.status == 200 && i != winner || a.status == 409 && i == winner {
			t.Fatalf("before the kill the agents were told %v, and after it agent %d has the name", answers, winner)
		}
	}
	more := agentState{}
	if got != nothing {
		more.Again++
	}
	k.wantState(before.plus(oneAgent).plus(more))
	return got
}

func (k *agentKiller) wantState(want agentState) {
	k.in.t.Helper()
	if s := k.in.lookAtAgents(); s != want {
		k.in.t.Fatalf("after the retry: %+v, want %+v", s, want)
	}
}

// wantSameOwners compares the owners of names with those of the last time.
func (k *agentKiller) wantSameOwners() {
	k.in.t.Helper()
	now := k.in.owners()
	for name, owner := range k.owners {
		if now[name] != owner {
			k.in.t.Fatalf("%s belonged to key %s and now to %q", name, owner, now[name])
		}
	}
	k.owners = now
}
