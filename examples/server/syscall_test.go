package main_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// inject has strace tamper with the system calls of p from now on, until the
// end of p. With "when" it counts the calls of each kind in each thread.
func (p *process) inject(what string) {
	p.in.t.Helper()
	cmd := exec.Command(needTool(p.in.t, "strace"), "-f", "-p", strconv.Itoa(p.cmd.Process.Pid),
		"-o", "/dev/null", "-e", "inject="+what)
	log := newOutput(regexp.MustCompile(`(?m)\battached\b( with \d+ threads)?$`))
	cmd.Stderr, cmd.SysProcAttr = log, dieWithParent()
	if err := cmd.Start(); err != nil {
		p.in.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // it ends with what it traces
		close(ended)
	}()
	p.in.t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
	})
	select {
	case <-log.ready:
	case <-ended:
		missing(p.in.t, "strace may not trace here: "+log.String())
	case <-time.After(startLimit):
		p.in.t.Fatalf("strace did not attach: %s", log)
	}
}

// calls are those with which SQLite locks and writes its files and the server
// logs and answers. The first of each come during a bootstrap, the later ones
// with the first use of the key and the end of the server.
var calls = []struct {
	name         string
	always, full int // kills at the first, second ... so many
}{
	{"pwrite64", 4, 20},
	{"fsync", 2, 6},
	{"write", 4, 14},
	{"fcntl", 2, 16},
	{"ftruncate", 0, 1},
	{"unlink", 0, 3},
}

// TestKillAtEachCall is F-01: SIGKILL at the n-th system call of a kind from
// the arrival of a good token on.
func TestKillAtEachCall(t *testing.T) {
	t.Parallel()
	needTool(t, "strace")
	var counts [answered + 1]int
	var outcomes strings.Builder
	for _, call := range calls {
		for n := 1; n <= rounds(call.always, call.full); n++ {
			got := killAtCall(t, call.name, n, true)
			if long() {
				killAtCall(t, call.name, n, false)
			}
			counts[got]++
			fmt.Fprintf(&outcomes, " %s/%d:%v", call.name, n, got)
		}
	}
	t.Logf("outcome of each kill:%s", &outcomes)
	if counts[nothing] == 0 || counts[lost] == 0 {
		t.Error("one of the two interesting outcomes never occurred, so nothing is proven")
	}
}

func killAtCall(t *testing.T, call string, n int, redeliver bool) outcome {
	t.Helper()
	in := newInstallation(t)
	in.env = append(in.env, "GOMAXPROCS=1") // so that few threads share the calls
	if redeliver {
		in.configure(redelivery)
	}
	p, token := in.start(), in.token()
	p.inject(fmt.Sprintf("%s:signal=KILL:when=%d", call, n))

	a, err := p.try(http.MethodPost, bootstrap.Path, "Connect-Bootstrap "+token, nil)
	if err != nil {
		a = answer{}
	}
	in.hide(a.key())
	if a.status == 200 {
		p.try(http.MethodGet, "/whoami", "Key "+a.key(), nil) // it may not live to answer
		p.cmd.Process.Signal(syscall.SIGTERM)
		p.wait(startLimit)
	}
	p.kill()

	p = in.start()
	defer p.kill()
	return p.judge(token, a, redeliver)
}

// TestSyncFails is F-07: while the disk refuses to make anything permanent,
// nothing is promised, and what was promised before and after still holds.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	needTool(t, "strace")
	for name, when := range map[string]string{"always": "1+", "once in each thread": "1"} {
		t.Run(name, func(t *testing.T) {
			in := newInstallation(t)
			in.configure(redelivery)
			p, token := in.start(), in.token()
			p.inject("fsync,fdatasync:error=EIO:when=" + when)

			first := p.redeem(token)
			if first.status != http.StatusServiceUnavailable || first.key() != "" {
				t.Errorf("a bootstrap that could not be made permanent got %d, want 503 without a key", first.status)
			}
			second := p.redeem(token)
			in.hide(second.key())
			switch {
			case second.status == 200 && when == "1+":
				t.Error("a delivery that could not be made permanent was answered with 200")
			case second.status != 200 && second.status != http.StatusServiceUnavailable:
				t.Errorf("the second try got %d, want 200 or 503", second.status)
			}
			p.kill()

			p = in.start()
			if second.status == 200 && !p.accepts(second.key()) {
				t.Error("a key that was handed out is lost")
			}
			if second.status != 200 {
				p.judge(token, answer{}, true)
			}
			if s := in.look(); !s.claimedOnce() {
				t.Errorf("in the end: %+v, want one key, claimed", s)
			}
		})
	}
}

func (o outcome) String() string {
	return [...]string{"nothing", "lost", "answered"}[o]
}
