package main_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// startLimit is for a machine that does much else at the same time.
const startLimit = 60 * time.Second

// listening is the line with which the server says where.
var listening = regexp.MustCompile(`(?m)\blistening\b.* addr=(\S+)$`)

// An installation is a directory with a database and what stands beside it.
// Processes are started on it one after the other, or several at once.
type installation struct {
	t      *testing.T
	dir    string
	db     string
	secret string   // what tokens are signed with
	noEnv  bool     // the processes do not find the secret in their environment
	tls    bool     // the processes serve TLS: see serveTLS
	flags  []string // for every process
	env    []string // for every process
	curlrc string   // further settings of curl
	hidden []string // must not appear in any log
}

func newInstallation(t *testing.T) *installation {
	dir := t.TempDir()
	in := &installation{t: t, dir: dir, db: filepath.Join(dir, "keywright.db"), secret: bootstrap.NewSecret()}
	in.hide(in.secret)
	return in
}

// hide names what must never be logged.
func (in *installation) hide(secrets ...string) { in.hidden = append(in.hidden, secrets...) }

// configure makes json the configuration of the processes to come.
func (in *installation) configure(json string) {
	in.t.Helper()
	path := filepath.Join(in.dir, "config.json")
	if err := os.WriteFile(path, []byte(json), 0o600); err != nil {
		in.t.Fatal(err)
	}
	in.flags = []string{"-config", path}
}

func (in *installation) command(args ...string) *exec.Cmd {
	in.t.Helper()
	all := slices.Concat([]string{"-addr", "127.0.0.1:0", "-db", in.db}, in.flags, args)
	cmd := exec.Command(binary, all...)
	cmd.Dir = in.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + in.dir}, in.env...)
	if !in.noEnv {
		cmd.Env = append(cmd.Env, bootstrap.SecretVariable+"="+in.secret)
	}
	cmd.SysProcAttr = dieWithParent()
	return cmd
}

// A process is one run of the example.
type process struct {
	in             *installation
	cmd            *exec.Cmd
	addr, url      string // once it listens
	stdout, stderr *output
	exited         chan struct{} // closed at its end
	startup        time.Duration // from the start to the first good answer
}

// start starts a process and waits until it serves.
func (in *installation) start(args ...string) *process {
	in.t.Helper()
	begin := time.Now()
	p := in.launch(args...)
	p.awaitListening()
	if a := p.get("/healthz", ""); a.status != 200 {
		in.t.Fatalf("healthz: got %d, want 200; log:\n%s", a.status, p.stderr)
	}
	p.startup = time.Since(begin)
	return p
}

// launch starts a process and waits for nothing.
func (in *installation) launch(args ...string) *process {
	in.t.Helper()
	p := &process{in: in, cmd: in.command(args...), stdout: newOutput(curlLine), stderr: newOutput(listening), exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait() // its outcome is in cmd.ProcessState
		close(p.exited)
	}()
	in.t.Cleanup(func() {
		p.kill()
		p.checkLog()
	})
	return p
}

func (p *process) awaitListening() {
	p.in.t.Helper()
	select {
	case <-p.stderr.ready:
		p.addr = p.stderr.found[1]
		p.url = "http://" + p.addr
		if p.in.tls {
			p.url = "https://" + p.addr
		}
	case <-p.exited:
		p.in.t.Fatalf("the server ended at once: %v\n%s", p.cmd.ProcessState, p.stderr)
	case <-time.After(startLimit):
		p.in.t.Fatalf("the server does not listen after %v; log:\n%s", startLimit, p.stderr)
	}
}

// kill is SIGKILL: the process gets no say in it.
func (p *process) kill() {
	p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

// stop is SIGTERM, and a good end within limit.
func (p *process) stop(limit time.Duration) {
	p.in.t.Helper()
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	if code := p.wait(limit); code != 0 {
		p.in.t.Fatalf("exit code %d after SIGTERM, want 0; log:\n%s", code, p.stderr)
	}
	if took := time.Since(begin); took > limit {
		p.in.t.Errorf("stopped after %v, want at most %v", took, limit)
	}
}

func (p *process) signal(s os.Signal) {
	p.in.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.in.t.Fatal(err)
	}
}

// wait returns the exit code, -1 for a signal.
func (p *process) wait(limit time.Duration) int {
	p.in.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		p.in.t.Fatalf("still running after %v; log:\n%s", limit, p.stderr)
	}
	return p.cmd.ProcessState.ExitCode()
}

// eventually waits for something that another process does in its own time.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	every := time.NewTicker(5 * time.Millisecond)
	defer every.Stop()
	for end := time.After(startLimit); !done(); {
		select {
		case <-every.C:
		case <-end:
			t.Fatalf("not after %v: %s", startLimit, what)
		}
	}
}

// wantLogged waits for texts in the log, which comes in its own time.
func (p *process) wantLogged(texts ...string) {
	p.in.t.Helper()
	for _, text := range texts {
		eventually(p.in.t, "the log has "+text, func() bool { return strings.Contains(p.stderr.String(), text) })
	}
}

// checkLog looks for what no log may hold.
func (p *process) checkLog() {
	log := p.stderr.String()
	for _, bad := range []string{"DATA RACE", "panic", "goroutine "} {
		if strings.Contains(log, bad) {
			p.in.t.Errorf("the log has %q:\n%s", bad, log)
		}
	}
	for _, secret := range p.in.hidden {
		for _, form := range forms(secret) {
			// A shorter text is no secret, and stands in a log by chance.
			if len(form) >= 16 && strings.Contains(log, form) {
				p.in.t.Errorf("the log holds a secret:\n%s", log)
			}
		}
	}
}

// forms are the ways in which a secret could show up in a log.
func forms(secret string) []string {
	all := []string{secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret))}
	if raw, err := base64.StdEncoding.DecodeString(secret); err == nil {
		all = append(all, string(raw))
	}
	if parts := strings.Split(secret, "."); len(parts) == 3 {
		all = append(all, parts[1], parts[2]) // of a token
	}
	return all
}

// An output collects what a process writes and waits for one line of it. It is
// safe for concurrent use.
type output struct {
	line  *regexp.Regexp // what to wait for
	ready chan struct{}  // closed once line has come
	found []string       // its submatches; read them after ready

	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func newOutput(line *regexp.Regexp) *output { return &output{line: line, ready: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	if o.found == nil && bytes.HasSuffix(b, []byte("\n")) {
		if o.found = o.line.FindStringSubmatch(o.text.String()); o.found != nil {
			close(o.ready)
		}
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
