package main_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// redelivery is a configuration in which an answer that got lost comes again.
const redelivery = `{"bootstrap":{"redelivery":"10m"}}`

// An outcome says what a kill during a bootstrap left behind.
type outcome int

const (
	nothing  outcome = iota // no claim, no key, no event
	lost                    // claimed, but the answer did not arrive
	answered                // claimed, and the client has its key
)

// TestKillAtRandom is F-01: SIGKILL at a random moment while a good token is
// being redeemed.
func TestKillAtRandom(t *testing.T) {
	t.Parallel()
	for _, redeliver := range []bool{true, false} {
		t.Run(fmt.Sprintf("redelivery %v", redeliver), func(t *testing.T) {
			t.Parallel()
			k := killer{draw: rand.New(rand.NewPCG(1, 2)), upper: maxDelay}
			// On a machine whose commits are fast the moments between commit
			// and answer are few, so the loop goes on until one was hit.
			want := rounds(100, 300)
			for i := 0; i < want || i < 4*want && (k.seen[nothing] == 0 || k.seen[lost] == 0); i++ {
				k.round(t, redeliver)
			}
			t.Logf("%d times nothing happened, %d times the answer was lost, %d times it arrived; slowest start %v; kills within %v",
				k.seen[nothing], k.seen[lost], k.seen[answered], k.slowest.Round(time.Millisecond), k.upper.Round(10*time.Microsecond))
			if k.seen[nothing] == 0 || k.seen[lost] == 0 {
				t.Error("one of the two interesting outcomes never occurred, so nothing is proven")
			}
		})
	}
}

const maxDelay = 20 * time.Millisecond

// A killer draws the moments and adapts to the speed of the machine.
type killer struct {
	draw    *rand.Rand
	upper   time.Duration // moments lie between zero and this
	seen    [answered + 1]int
	slowest time.Duration // from the start of a process to its first good answer
}

func (k *killer) round(t *testing.T, redeliver bool) {
	in := newInstallation(t)
	if redeliver {
		in.configure(redelivery)
	}
	p, token := in.start(), in.token()
	conn := p.dial()
	if _, err := io.WriteString(conn, p.postLines(bootstrap.Path, "Connect-Bootstrap "+token, "Connection: close")); err != nil {
		t.Fatal(err)
	}
	moment := time.After(time.Duration(k.draw.Float64() * float64(k.upper)))
	received := make(chan rawAnswer, 1)
	go func() {
		a, _ := readRaw(conn) // cut short: no answer
		received <- a
	}()
	<-moment
	p.kill()
	a := <-received

	p = in.start()
	got := p.judge(token, a.answer, redeliver)
	k.seen[got]++
	k.slowest = max(k.slowest, p.startup)
	if limit := 2 * time.Second; p.startup > limit && !raceEnabled() {
		t.Errorf("the first good answer came %v after the restart, want at most %v", p.startup, limit)
	}
	// Half of the kills shall come too late.
	if got == answered {
		k.upper = max(k.upper*9/10, time.Millisecond)
	} else {
		k.upper = min(k.upper*11/10, maxDelay)
	}
	p.kill()
}

// judge finds out what became of a bootstrap with token that a kill has cut
// short and to which got was the answer, if any, sends the token again, and
// wants that one admin key exists in the end. p is the restarted process.
func (p *process) judge(token string, got answer, redeliver bool) outcome {
	in, t := p.in, p.in.t
	t.Helper()
	before, result := in.look(), lost
	switch {
	case before.untouched():
		result = nothing
	case !before.claimedOnce():
		t.Fatalf("half a bootstrap: %+v", before)
	}
	if got.status != 0 {
		if result == nothing || got.status != 200 || !p.accepts(got.key()) {
			t.Fatalf("an answer of %d was given, and after the restart it is not true: %+v", got.status, before)
		}
		if again := p.redeem(token); again.status != 403 || !p.accepts(got.key()) {
			t.Fatalf("the token of a key that was used: got %d, want 403 and no harm to the key", again.status)
		}
		return answered
	}

	again := p.redeem(token)
	in.hide(again.key())
	switch {
	case result == nothing || redeliver:
		if again.status != 200 || !p.accepts(again.key()) {
			t.Fatalf("the retry got %d, want 200 and a key that works", again.status)
		}
		if id := in.keyID(again.key()); result == lost && id != before.ClaimOf {
			t.Fatalf("the retry got another key than the one that was claimed")
		}
	case again.status != 403 || again.key() != "":
		t.Fatalf("the retry got %d, want 403 without a key", again.status)
	}
	if s := in.look(); !s.claimedOnce() {
		t.Fatalf("after the retry: %+v, want one key, claimed", s)
	}
	return result
}
