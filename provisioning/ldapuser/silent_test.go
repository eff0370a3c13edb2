package ldapuser_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// A muteness is a server that says nothing from some point on.
type muteness struct {
	name string
	url  string
	more func(*ldapuser.Config)
}

func (m muteness) verifier(t *testing.T, timeout time.Duration) *ldapuser.Verifier {
	t.Helper()
	c := ldapuser.Config{URL: m.url, BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}, Timeout: timeout}
	if m.more != nil {
		m.more(&c)
	}
	return newVerifier(t, c)
}

func mutenesses(t *testing.T) []muteness {
	mute := serve(t, func(nc net.Conn) { io.Copy(io.Discard, nc) })
	promise := serve(t, func(nc net.Conn) {
		nc.Read(make([]byte, 100))
		nc.Write(answer(1, result(opExtendedDone, 0)))
		io.Copy(io.Discard, nc)
	})
	knows := func(op byte, answers ...[]byte) (url string) {
		return scripted(t, func(m message) [][]byte {
			if m.op == op {
				return answers
			}
			return nil
		})
	}
	startTLS := func(c *ldapuser.Config) { c.StartTLS = true }
	account := func(c *ldapuser.Config) { c.BindDN, c.BindPassword = "cn=search", "secret" }
	return []muteness{
		{"in the handshake", strings.Replace(mute, "ldap:", "ldaps:", 1), nil},
		{"before StartTLS", mute, startTLS},
		{"in the handshake after StartTLS", promise, startTLS},
		{"in the first bind", mute, account},
		{"in the search", knows(opBind, result(opBound, 0)), account},
		{"in the midst of the search", knows(opSearch, entry("uid=kate", "uid", "kate")), nil},
		{"in the bind of the user", knows(opSearch, entry("uid=kate", "uid", "kate"), result(opSearched, 0)), nil},
	}
}

func TestSilentServer(t *testing.T) {
	for _, m := range mutenesses(t) {
		t.Run("the timeout ends it "+m.name, func(t *testing.T) {
			t.Parallel()
			subject, err := m.verifier(t, 200*time.Millisecond).VerifyPassword(t.Context(), "kate", right)
			wantTrouble(t, subject, err, "")
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want DeadlineExceeded", err)
			}
		})
		t.Run("the context ends it "+m.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(200*time.Millisecond, cancel)
			subject, err := m.verifier(t, time.Hour).VerifyPassword(ctx, "kate", right)
			wantTrouble(t, subject, err, "")
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want Canceled", err)
			}
		})
	}
}

func TestDefaultTimeout(t *testing.T) {
	t.Parallel()
	mute := serve(t, func(nc net.Conn) { io.Copy(io.Discard, nc) })
	begin := time.Now()
	subject, err := muteness{url: mute}.verifier(t, 0).VerifyPassword(t.Context(), "kate", right)
	wantTrouble(t, subject, err, "")
	if d := time.Since(begin); d < 4*time.Second || d > time.Minute {
		t.Errorf("ended after %v, want 5s", d)
	}
}

func TestContextThatHasEnded(t *testing.T) {
	s := newDirectory(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v := newVerifier(t, configOf(s))
	for range 20 { // a turn may be free or not
		subject, err := v.VerifyPassword(ctx, "kate", right)
		wantTrouble(t, subject, err, "")
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want Canceled", err)
		}
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	for _, m := range mutenesses(t) {
		m.verifier(t, 100*time.Millisecond).VerifyPassword(t.Context(), "kate", right)
		wantNoGoroutineOf(t, "go-ldap", m.name)
	}
	s := newDirectory(t)
	v := newVerifier(t, configOf(s))
	for _, username := range []string{"kate", "joe", "nobody"} {
		v.VerifyPassword(t.Context(), username, right)
		wantNoGoroutineOf(t, "go-ldap", username)
	}
}

func wantNoGoroutineOf(t *testing.T, library, after string) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), library) {
			return
		}
	}
	t.Fatalf("%s: goroutines of %s remain:\n%s", after, library, stacks)
}
