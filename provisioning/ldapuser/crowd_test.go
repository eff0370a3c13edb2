package ldapuser_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

func TestHundredAtOnce(t *testing.T) {
	s := newDirectory(t)
	c := configOf(s)
	c.URL = s.TLSURL
	v := newVerifier(t, c)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			switch i % 4 {
			case 0, 1:
				subject, err := v.VerifyPassword(t.Context(), "kate", right)
				wantAdmitted(t, subject, err, "Kate")
			case 2:
				subject, err := v.VerifyPassword(t.Context(), "joe", right)
				wantRefused(t, subject, err, "not a super user")
			case 3:
				subject, err := v.VerifyPassword(t.Context(), "nobody", right)
				wantRefused(t, subject, err, "no such user")
			}
		})
	}
	wg.Wait()
}

// TestChecksTakeTurns has a server that is stuck for a while.
func TestChecksTakeTurns(t *testing.T) {
	var stuck atomic.Bool
	var connections atomic.Int32
	s := newDirectory(t)
	p := newProxy(t, s.URL, 0)
	c := configOf(s)
	c.Timeout = time.Hour
	c.URL = serve(t, func(nc net.Conn) {
		connections.Add(1)
		if stuck.Load() {
			io.Copy(io.Discard, nc)
			return
		}
		p.handle(nc)
	})
	v := newVerifier(t, c)
	stuck.Store(true)

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 5 * ldapuser.MaxChecks {
		wg.Go(func() {
			subject, err := v.VerifyPassword(ctx, "kate", right)
			wantTrouble(t, subject, err, "")
		})
	}
	for end := time.Now().Add(time.Minute); connections.Load() < ldapuser.MaxChecks && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if n := connections.Load(); n != ldapuser.MaxChecks {
		t.Errorf("%d connections, want %d", n, ldapuser.MaxChecks)
	}

	impatient, leave := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer leave()
	subject, err := v.VerifyPassword(impatient, "kate", right)
	wantTrouble(t, subject, err, "checks were running")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want DeadlineExceeded", err)
	}

	stuck.Store(false)
	cancel()
	wg.Wait()
	for range 2 * ldapuser.MaxChecks { // all turns are free again
		subject, err := v.VerifyPassword(t.Context(), "kate", right)
		wantAdmitted(t, subject, err, "Kate")
	}
}

// TestTheTimeoutCountsTheWaiting: a crowd does not wait for longer, each, than
// a check may take.
func TestTheTimeoutCountsTheWaiting(t *testing.T) {
	mute := serve(t, func(nc net.Conn) { io.Copy(io.Discard, nc) })
	v := newVerifier(t, ldapuser.Config{URL: mute, BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}, Timeout: time.Second})
	begin := time.Now()
	var wg sync.WaitGroup
	for range 10 * ldapuser.MaxChecks {
		wg.Go(func() { v.VerifyPassword(t.Context(), "kate", right) })
	}
	wg.Wait()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("the last one waited %v, want 1s", d)
	}
}
