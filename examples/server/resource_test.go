package main_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/keywright/keywright/bootstrap"
)

// openFiles counts the descriptors of p.
func (p *process) openFiles() int {
	p.in.t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		missing(p.in.t, "no /proc that lists the files of a process")
	}
	return len(entries)
}

// wantFilesBack waits until p has let go of what it opened since before.
func (p *process) wantFilesBack(before int) {
	p.in.t.Helper()
	eventually(p.in.t, fmt.Sprintf("the open files are back at %d, or 2 more", before), func() bool {
		return p.openFiles() <= before+2
	})
}

var peakLine = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)

// peak is the most memory that p has used, in KiB.
func (p *process) peak() int {
	p.in.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	m := peakLine.FindSubmatch(b)
	if err != nil || m == nil {
		missing(p.in.t, "no /proc that tells the memory of a process")
	}
	n, err := strconv.Atoi(string(m[1]))
	p.in.check(err)
	return n
}

// maxGrowth is in KiB. A buffered body or an amplified header needs more.
const maxGrowth = 8 << 10

// wantBounded wants p to need little more memory while do runs.
func (p *process) wantBounded(do func()) {
	p.in.t.Helper()
	for range 300 { // what any use of the server costs
		p.redeem("junk")
	}
	before := p.peak()
	do()
	grown := p.peak() - before
	p.in.t.Logf("the server grew by %d KiB from %d KiB", grown, before)
	if grown > maxGrowth && !raceEnabled() {
		p.in.t.Errorf("the server grew by %d KiB, want at most %d", grown, maxGrowth)
	}
}

// zeros is a body of 100 MiB.
func zeros() io.Reader { return io.LimitReader(zeroReader{}, 100<<20) }

type zeroReader struct{}

func (zeroReader) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestBST31HugeBody sends a body that nobody has asked for: it is not kept,
// and the answer does not wait for its end.
func TestBST31HugeBody(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(redelivery)
	p := in.start()
	token := in.token()
	p.wantBounded(func() {
		for _, length := range []string{"Content-Length: 104857600", "Transfer-Encoding: chunked"} {
			request := strings.Replace(p.postLines(bootstrap.Path, "Connect-Bootstrap "+token), "Content-Length: 0", length, 1)
			conn := p.dial()
			go func() {
				io.WriteString(conn, request)
				if strings.HasPrefix(length, "Transfer") {
					io.WriteString(conn, "6400000\r\n")
				}
				io.Copy(conn, zeros()) // the server hangs up before the end
			}()
			a, err := readRaw(conn)
			if err != nil {
				t.Fatalf("%s: %v", length, err)
			}
			a.wantKey(t)
			in.hide(a.key())
			conn.Close()
		}
	})
	if s := in.look(); !s.claimedOnce() {
		t.Errorf("got %+v, want one key, claimed", s)
	}
}

// TestXC07NoLeak fails in every way, a thousand times in all, and counts what
// the server still holds afterwards.
func TestXC07NoLeak(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	key := p.claim()
	bad := "Key kw_admin_" + strings.Repeat("0", 45)
	failures := []func(){
		func() { p.redeem("junk") },
		func() { p.redeem(in.token()) },
		func() { p.get("/whoami", bad) },
		func() { p.get("/whoami", "") },
		func() { p.get(bootstrap.Path, "") },
		func() { p.get("/absent", "") },
		func() {
			p.request(http.MethodPost, bootstrap.Path, "Connect-Bootstrap junk", strings.NewReader("body"))
		},
		func() { p.dial().Close() },
		func() {
			conn := p.dial()
			io.WriteString(conn, p.postLines(bootstrap.Path, "Connect-Bootstrap "+in.token())) // and away
			conn.Close()
		},
		func() { p.pour("nonsense\r\n\r\n") },
	}
	for _, fail := range failures {
		fail()
	}
	p.wantAlive("at first", key)
	before := p.openFiles()
	for range rounds(100, 1000) {
		for _, fail := range failures {
			fail()
		}
	}
	p.wantFilesBack(before)
	p.wantAlive("after a thousand failures", key)
}
