package main_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// TestContest is F-02: processes that are strangers to each other race for one
// database, every request with a token of its own, and one obtains a key.
func TestContest(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                 string
		processes, each      int
		rounds               int
		rsconnect, redeliver bool
	}{
		{"4 processes of 8, tokens with a jti", 4, 8, rounds(3, 100), false, false},
		{"4 processes of 8, tokens without", 4, 8, rounds(2, 100), true, true},
		{"4 processes of 50", 4, 50, 1, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range tt.rounds {
				in := newInstallation(t)
				if tt.redeliver {
					in.configure(redelivery)
				}
				tokens := make([]string, tt.processes*tt.each)
				for i := range tokens {
					if tt.rsconnect {
						tokens[i] = in.rsconnectToken(15*time.Minute - time.Duration(i)*time.Second)
					} else {
						tokens[i] = in.token()
					}
				}
				in.contest(tt.processes, tokens)
			}
			t.Logf("%d rounds of %d requests to %d processes", tt.rounds, tt.processes*tt.each, tt.processes)
		})
	}
}

// contest redeems all tokens at one instant, spread over processes that have
// been started at one instant on an empty database.
func (in *installation) contest(processes int, tokens []string) {
	in.t.Helper()
	var all []*process
	for range processes {
		all = append(all, in.launch())
	}
	for _, p := range all {
		p.awaitListening()
	}
	answers := make([]rawAnswer, len(tokens))
	failed := make([]error, len(tokens))
	release := make(chan struct{})
	var done sync.WaitGroup
	for i, token := range tokens {
		p := all[i%processes]
		conn := p.dial()
		done.Go(func() {
			<-release
			if _, failed[i] = fmt.Fprint(conn, p.postLines(bootstrap.Path, "Connect-Bootstrap "+token)); failed[i] == nil {
				answers[i], failed[i] = readRaw(conn)
			}
		})
	}
	close(release)
	done.Wait()

	key := in.wantOneKey(answers, failed)
	if s := in.look(); !s.claimedOnce() || s.ClaimOf != in.keyID(key) {
		in.t.Errorf("the store holds something else than the one key: %+v", s)
	}
	for _, p := range all {
		if !p.accepts(key) {
			in.t.Error("a process does not know the key")
		}
		p.kill()
	}
}

// wantOneKey wants one winner, and of all others an answer that says so.
func (in *installation) wantOneKey(answers []rawAnswer, failed []error) string {
	in.t.Helper()
	var keys []string
	for i, a := range answers {
		switch {
		case failed[i] != nil:
			in.t.Errorf("a request got no answer: %v", failed[i])
		case a.status == http.StatusOK:
			in.hide(a.key())
			keys = append(keys, a.key())
		case a.status != http.StatusForbidden || a.key() != "":
			in.t.Errorf("a loser got %d %s, want 403", a.status, a.body)
		}
	}
	if len(keys) != 1 {
		in.t.Fatalf("%d of %d requests got a key, want exactly one", len(keys), len(answers))
	}
	return keys[0]
}

// TestStartTogether starts processes at one instant where there is nothing yet:
// they agree on the tables and on the secret that one of them makes.
func TestStartTogether(t *testing.T) {
	t.Parallel()
	for range rounds(10, 100) {
		in := newInstallation(t)
		in.noEnv = true
		var all []*process
		for range 8 {
			all = append(all, in.launch())
		}
		for _, p := range all {
			p.awaitListening()
		}
		for i, p := range all {
			token := tokenText.FindString(p.printedCommand())
			want := http.StatusForbidden
			if i == 0 {
				want = http.StatusOK
			}
			a := all[len(all)-1-i].redeem(token)
			if in.hide(a.key()); a.status != want {
				t.Errorf("a token of one process at another: got %d, want %d", a.status, want)
			}
		}
		if left, _ := filepath.Glob(in.db + ".secret.*"); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
		for _, p := range all {
			p.kill()
		}
	}
}
