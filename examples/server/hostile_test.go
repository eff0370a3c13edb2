package main_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// TestXC01SlowHeaders keeps connections open that send their headers a byte at
// a time; others must not notice, and the server hangs up on them.
func TestXC01SlowHeaders(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	key := p.claim()
	before := p.openFiles()
	var slow sync.WaitGroup
	closed := make(chan time.Duration, rounds(50, 1000))
	for range cap(closed) {
		conn := p.dial()
		slow.Go(func() {
			begin := time.Now()
			drip(conn, p.postLines(bootstrap.Path, "Connect-Bootstrap junk"))
			closed <- time.Since(begin)
		})
	}
	var slowest time.Duration
	for range 100 {
		begin := time.Now()
		p.wantAlive("beside slow clients", key)
		slowest = max(slowest, time.Since(begin))
	}
	if slowest > time.Second && !raceEnabled() {
		t.Errorf("beside slow clients a request took %v", slowest)
	}
	slow.Wait()
	close(closed)
	for after := range closed {
		if after > 15*time.Second {
			t.Errorf("a slow client was served for %v", after)
		}
	}
	p.wantFilesBack(before)
	t.Logf("slowest request beside %d slow clients: %v", cap(closed), slowest)
}

// drip writes a byte now and then until the other side hangs up.
func drip(conn net.Conn, request string) {
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for i := range len(request) {
		if _, err := io.WriteString(conn, request[i:i+1]); err != nil {
			return
		}
		<-every.C
	}
}

// hidden comes behind a request, where one parser sees its body and another
// the next request.
const hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"

// smuggling are changes of a request about whose end two parsers may disagree,
// all of which are refused as a whole.
var smuggling = []struct {
	name   string
	change func(request string) string
}{
	{"two lengths", add("Content-Length: 5")},
	{"a signed length", replace("Content-Length: 0", "Content-Length: +0")},
	{"a list of lengths", replace("Content-Length: 0", "Content-Length: 0, 5")},
	{"a length with a space before the colon", replace("Content-Length: 0", "Content-Length : 5")},
	{"coding chunked, identity", replace("Content-Length: 0", "Transfer-Encoding: chunked, identity")},
	{"coding xchunked", replace("Content-Length: 0", "Transfer-Encoding: xchunked")},
	{"two codings", add("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked")},
	{"a space before the colon", add("X-Y : z")},
	{"NUL in a value", add("X-Y: a\x00b")},
	{"CR in a value", add("X-Y: a\rb")},
	{"NUL in a name", add("X\x00Y: b")},
	{"a line without a colon", add("nonsense")},
	{"a fold behind the first line", replace("Host: ", " Host: ")},
	{"no host", replace("Host: ", "Guest: ")},
	{"two hosts", add("Host: other")},
}

func add(lines string) func(string) string {
	return func(request string) string { return strings.TrimSuffix(request, "\r\n") + lines + "\r\n\r\n" }
}

func replace(old, new string) func(string) string {
	return func(request string) string { return strings.Replace(request, old, new, 1) }
}

// TestXC02Smuggling puts a good token into requests that must not be served.
func TestXC02Smuggling(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	for _, tt := range smuggling {
		got := p.pour(tt.change(p.postLines(bootstrap.Path, "Connect-Bootstrap "+in.token())) + hidden)
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") && !strings.HasPrefix(got, "HTTP/1.1 501 ") {
			t.Errorf("%s: got %.60q, want 400 or 501", tt.name, got)
		}
	}
	if s := in.look(); !s.untouched() {
		t.Errorf("a refused request took effect: %+v", s)
	}
	// With a length and a coding, RFC 9112 lets the server go by the coding, but
	// serve nothing more on the connection.
	for _, lines := range []string{"Content-Length: 60\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 60"} {
		request := replace("Content-Length: 0", lines)(p.postLines(bootstrap.Path, "Connect-Bootstrap junk"))
		if got := p.pour(request + "0\r\n\r\n" + hidden); strings.Count(got, "HTTP/1.1 ") != 1 {
			t.Errorf("%q: got %q, want one answer and the end of the connection", lines, got)
		}
	}
	p.stop(startLimit) // the log is complete
	if log := p.stderr.String(); strings.Contains(log, "/hidden") {
		t.Errorf("a hidden request was served:\n%s", log)
	}
}

// pour writes all of request and returns everything that comes back until the
// server hangs up.
func (p *process) pour(request string) string {
	p.in.t.Helper()
	conn := p.dial()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var writing sync.WaitGroup
	writing.Go(func() { io.WriteString(conn, request) }) // the server may hang up before the end
	b, _ := io.ReadAll(conn)
	conn.Close()
	writing.Wait()
	return string(b)
}

// TestXC03HeaderBombs covers BST-31 and BST-32 too: headers that are long or
// many are refused before a handler works on them.
func TestXC03HeaderBombs(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	post := func(authorization string, more ...string) string {
		return p.postLines(bootstrap.Path, authorization, append(more, "Connection: close")...)
	}
	tests := []struct {
		name, request string
		status        int
	}{
		{"10,000 fields", post("Connect-Bootstrap junk", strings.Repeat("X-Y: z\r\n", 9_999)+"X-Y: z"), 431},
		{"one field of 256 KiB", post("", "X-Y: "+strings.Repeat("z", 256<<10)), 431},
		{"1 MiB of fields", post("", strings.Repeat("X-Y: "+strings.Repeat("z", 1000)+"\r\n", 1023)+"X-Y: z"), 431},
		{"a long path", p.postLines("/"+strings.Repeat("a", 256<<10), ""), 431},
		{"BST-31 Authorization of 9 KiB", post("Connect-Bootstrap " + strings.Repeat("a", 9<<10)), 401},
		{"BST-31 Authorization of 64 KiB", post("Connect-Bootstrap " + strings.Repeat("a", 64<<10)), 431},
		{"BST-32 1 MiB of dots", post("Connect-Bootstrap " + strings.Repeat(".", 1<<20)), 431},
		{"BST-32 30 KiB of dots", post("Connect-Bootstrap " + strings.Repeat(".", 30<<10)), 401},
		{"30 KiB of dots as a key", strings.Replace(post("Key "+strings.Repeat(".", 30<<10)), "POST "+bootstrap.Path, "GET /whoami", 1), 401},
	}
	p.wantBounded(func() {
		for _, tt := range tests {
			if got := p.pour(tt.request); !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", tt.status)) {
				t.Errorf("%s: got %.60q, want %d", tt.name, got, tt.status)
			}
		}
	})
	if s := in.look(); !s.untouched() {
		t.Errorf("a refused request took effect: %+v", s)
	}
}
