package agentauth_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// An enrollingChild is this test binary as another process, which enrols with a
// directory of keys.
type enrollingChild struct {
	Address     string // of the server that is https://ap.example
	Certificate []byte
	Now         time.Time
	Dir         string
	Secret      string
	Stop        string // where it stands until it is killed: "secret", "enrolled"; "": nowhere
}

const enrollingChildEnv = "AGENTAUTH_TEST_CHILD"

// start returns the child's process and what it prints. It begins when begin is closed.
func (c enrollingChild) start(t *testing.T) (cmd *exec.Cmd, begin io.Closer, out *bufio.Reader) {
	t.Helper()
	text, err := json.Marshal(c)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	cmd = exec.CommandContext(t.Context(), self, "-test.run=^TestEnrollingChild$")
	cmd.Env, cmd.Stderr = append(os.Environ(), enrollingChildEnv+"="+string(text), "GORACE=atexit_sleep_ms=0"), os.Stderr
	begin, err = cmd.StdinPipe()
	must(t, err)
	pipe, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, begin, bufio.NewReader(pipe)
}

// run lets the child enrol and returns whom it has become.
func (c enrollingChild) run(t *testing.T) agentauth.Enrollment {
	t.Helper()
	cmd, begin, out := c.start(t)
	begin.Close()
	return c.outcome(t, cmd, out)
}

func (c enrollingChild) outcome(t *testing.T, cmd *exec.Cmd, out *bufio.Reader) agentauth.Enrollment {
	t.Helper()
	var e agentauth.Enrollment
	line, _ := out.ReadString('\n')
	fmt.Sscan(line, &e.AgentID, &e.LocalKeyHandle)
	io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil || e.LocalKeyHandle == "" {
		t.Fatalf("child: %v: %s", err, line)
	}
	return e
}

// TestEnrollingChild is what a child does.
func TestEnrollingChild(t *testing.T) {
	text := os.Getenv(enrollingChildEnv)
	if text == "" {
		t.Skip("it is run by the tests below, in a process of its own")
	}
	var c enrollingChild
	must(t, json.Unmarshal([]byte(text), &c))
	io.ReadAll(os.Stdin)
	stand := func(place string) {
		if place == c.Stop {
			fmt.Println(place)
			select {} // until it is killed
		}
	}
	certificate, err := x509.ParseCertificate(c.Certificate)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Address)
		},
	}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{
		Provider: issuer, AgentID: "aauth:a@ap.example", Keys: dirAt(t, c.Dir), HTTP: &http.Client{Transport: transport}, Now: func() time.Time { return c.Now },
		Secret: func(context.Context) (string, error) { stand("secret"); return c.Secret, nil },
	})
	must(t, err)
	stand("enrolled")
	fmt.Println(e.AgentID, e.LocalKeyHandle)
}

// A frontier is between children and a provider. Of requests to enrol it holds some
// up.
type frontier struct {
	next http.Handler

	mu       sync.Mutex
	stop     string        // where it holds the next request: "sent", "decided"; guarded by mu
	held     chan struct{} // gets one for each that it holds
	together int           // how many requests wait for each other; guarded by mu
	all      chan struct{} // closed when they are there
}

// holds sets what is guarded.
func (f *frontier) holds(stop string, together int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stop, f.together = stop, together
}

func (f *frontier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != "POST" {
		f.next.ServeHTTP(w, r)
		return
	}
	// Whether a client is gone is noticed by who has read its request.
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	f.mu.Lock()
	stop := f.stop
	f.stop = ""
	if f.together > 0 {
		if f.together--; f.together == 0 {
			close(f.all)
		}
	}
	f.mu.Unlock()
	<-f.all
	answer := httptest.NewRecorder()
	if stop != "sent" {
		f.next.ServeHTTP(answer, r)
	}
	if stop != "" {
		f.held <- struct{}{}
		<-r.Context().Done()
		return
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// newCrashWorld is a world that admits one agent, who has a secret, and a child that
// enrols there.
func newCrashWorld(t *testing.T) (*world, *frontier, enrollingChild, func()) {
	w, secrets := newSecretWorld(t)
	f := &frontier{next: w.mux, held: make(chan struct{}), all: make(chan struct{})}
	server := httptest.NewTLSServer(f)
	t.Cleanup(server.Close)
	secret := makeSecret(t, secrets, agentauth.SecretSettings{})
	dir := t.TempDir() + "/keys"
	return w, f, enrollingChild{
			Address: server.Listener.Addr().String(), Certificate: server.Certificate().Raw, Now: w.clock.Now(), Dir: dir, Secret: secret.Text,
		}, func() {
			t.Helper()
			keys := handlesOf(t, dirAt(t, dir))
			entries, err := os.ReadDir(dir)
			must(t, err)
			if len(keys) != 1 || len(entries) != 1 || len(w.agents()) != 1 || usedOf(t, secrets, secret.ID) != 1 {
				t.Errorf("%d keys in %d files, %d agents, the secret used %d times", len(keys), len(entries), len(w.agents()), usedOf(t, secrets, secret.ID))
			}
			key, err := dirAt(t, dir).Load(t.Context(), keys[0])
			must(t, err)
			if w.agents()[thumbprint(t, key)] != "aauth:a@ap.example" {
				t.Errorf("the agent has another key: %v", w.agents())
			}
		}
}

// ends is closed at the end of r.
func ends(r io.Reader) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		io.Copy(io.Discard, r)
		close(done)
	}()
	return done
}

// TestEnrollmentSurvivesCrashes: whatever point a process is killed at, the next one
// is the same agent with the same key.
func TestEnrollmentSurvivesCrashes(t *testing.T) {
	for _, point := range []string{"secret", "sent", "decided", "enrolled"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			_, f, child, wantOne := newCrashWorld(t)
			close(f.all)
			doomed := child
			switch point {
			case "sent", "decided":
				f.holds(point, 0)
			default:
				doomed.Stop = point
			}
			cmd, begin, out := doomed.start(t)
			begin.Close()
			if doomed.Stop == "" {
				select {
				case <-f.held:
				case <-ends(out):
					t.Fatal("the child did not wait for its answer")
				}
			} else if line, err := out.ReadString('\n'); strings.TrimSpace(line) != point {
				t.Fatalf("the child says %q, %v", line, err)
			}
			must(t, cmd.Process.Kill())
			cmd.Wait()
			child.Now = child.Now.Add(time.Second)
			first, second := child.run(t), child.run(t)
			if first.AgentID != "aauth:a@ap.example" || first.LocalKeyHandle != second.LocalKeyHandle || first.AgentID != second.AgentID {
				t.Errorf("%v, then %v", first, second)
			}
			wantOne()
		})
	}
}

// TestTwoProcessesEnrollAtOnce, in the same second, with the same configuration: one
// of them makes the key, and their requests are one to who keeps replays out.
func TestTwoProcessesEnrollAtOnce(t *testing.T) {
	_, f, child, wantOne := newCrashWorld(t)
	f.holds("", 2)
	cmd1, begin1, out1 := child.start(t)
	cmd2, begin2, out2 := child.start(t)
	begin1.Close()
	begin2.Close()
	a, b := child.outcome(t, cmd1, out1), child.outcome(t, cmd2, out2)
	if a.LocalKeyHandle != b.LocalKeyHandle || a.AgentID != b.AgentID {
		t.Errorf("%v and %v", a, b)
	}
	wantOne()
}
