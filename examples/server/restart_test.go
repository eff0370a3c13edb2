package main_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/bootstrap"
)

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	key := p.claim()
	before := in.look()
	for _, end := range []func(){p.kill, func() { p.stop(2 * time.Second) }} {
		end()
		p = in.start()
		if !p.accepts(key) {
			t.Error("the key no longer works")
		}
		p.wantClosed("after a restart")
		if diff := cmp.Diff(before, in.look()); diff != "" {
			t.Errorf("the store changed (-before +after):\n%s", diff)
		}
	}
}

// TestSecretTakenAway restarts a claimed server without its secret, which has
// done its work: the endpoint goes, the key stays.
func TestSecretTakenAway(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	key := p.claim()
	p.kill()
	in.noEnv = true
	p = in.start()
	if !p.accepts(key) {
		t.Error("the key no longer works")
	}
	if a := p.redeem(in.token()); a.status != 404 {
		t.Errorf("a token without a secret to check it: got %d, want 404", a.status)
	}
	if _, err := os.Stat(in.db + ".secret"); err == nil {
		t.Error("a claimed server made a secret")
	}
}

// TestStopLetsRequestsFinish holds the database while a token is being
// redeemed, stops the server, and then lets go.
func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	release := in.holdWrites()
	conn := p.dial()
	if _, err := fmt.Fprint(conn, p.postLines(bootstrap.Path, "Connect-Bootstrap "+in.token())); err != nil {
		t.Fatal(err)
	}
	p.get("/healthz", "") // connections are accepted in order: now the first one is

	p.signal(syscall.SIGTERM)
	eventually(t, "the listener closes", func() bool {
		c, err := p.tryDial()
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	select {
	case <-p.exited:
		t.Fatalf("the server ended before its request; log:\n%s", p.stderr)
	default:
	}
	begin := time.Now()
	release()
	a, err := readRaw(conn)
	if err != nil {
		t.Fatal(err)
	}
	a.wantKey(t)
	in.hide(a.key())
	if code := p.wait(startLimit); code != 0 {
		t.Errorf("exit code %d, want 0; log:\n%s", code, p.stderr)
	}
	if took := time.Since(begin); took > 2*time.Second && !raceEnabled() {
		t.Errorf("the server ended %v after its last request, want at most 2 s", took)
	}
	if !in.start().accepts(a.key()) {
		t.Error("the key does not work after the restart")
	}
}

// holdWrites keeps everybody from writing to the database until release.
func (in *installation) holdWrites() (release func()) {
	in.t.Helper()
	db := in.openSQLite()
	in.t.Cleanup(func() { db.Close() })
	conn, err := db.Conn(in.t.Context())
	in.check(err)
	_, err = conn.ExecContext(in.t.Context(), "BEGIN IMMEDIATE")
	in.check(err)
	return func() {
		_, err := conn.ExecContext(in.t.Context(), "ROLLBACK")
		in.check(errors.Join(err, conn.Close()))
	}
}

func TestStopWhenIdle(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	conn := p.dial() // kept open between two requests
	if _, err := fmt.Fprint(conn, p.postLines(bootstrap.Path, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := readRaw(conn); err != nil {
		t.Fatal(err)
	}
	p.stop(2 * time.Second)
	for _, left := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(in.db + left); err == nil {
			t.Errorf("the database was not closed: %s is still there", filepath.Base(in.db+left))
		}
	}
}

// TestReset follows an operator who has lost the admin key.
func TestReset(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	oldToken := in.token()
	oldKey := p.claim()
	p.kill()

	in.writeReset("1")
	p = in.start()
	if p.accepts(oldKey) {
		t.Error("the key of before the reset works")
	}
	for name, token := range map[string]string{"before the reset": oldToken, "in rsconnect's form": in.rsconnectToken(time.Minute)} {
		if a := p.redeem(token); a.status != 401 {
			t.Errorf("a token from %s: got %d, want 401", name, a.status)
		}
	}
	// What the server prints now must work, although it began in the same second.
	a := in.redeemPrinted(p)
	if a.status != 200 || !p.accepts(a.key()) {
		t.Errorf("the command printed after the reset: got %d, want 200 and a key that works", a.status)
	}
	want := state{Claimed: true, ClaimOf: in.keyID(a.key()), Parents: []string{"2"}, Keys: []string{in.keyID(a.key())}, Markers: 2,
		Events: []string{"bootstrap.claimed", "bootstrap.reset", "bootstrap.claimed"}}
	if diff := cmp.Diff(want, in.look()); diff != "" {
		t.Errorf("after the reset (-want +got):\n%s", diff)
	}

	// The same file again, and others that mean nothing, do nothing.
	for _, content := range []string{"1", "3", "-2", "two", ""} {
		p.kill()
		in.writeReset(content)
		p = in.start()
		if !p.accepts(a.key()) || in.look().ClaimOf != want.ClaimOf {
			t.Errorf("a reset file with %q took effect", content)
		}
		if !strings.Contains(p.stderr.String(), "reset refused") {
			t.Errorf("a reset file with %q: nothing in the log", content)
		}
		p.wantClosed("after a refused reset")
	}
}

// writeReset asks for a reset, and in the end checks that the file is gone.
func (in *installation) writeReset(content string) {
	in.t.Helper()
	path := in.db + ".reset"
	if _, err := os.Stat(path); err == nil {
		in.t.Error("the server has left the reset file where it was")
	}
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		in.t.Fatal(err)
	}
}

// redeemPrinted sends the token of the command that p has printed.
func (in *installation) redeemPrinted(p *process) answer {
	in.t.Helper()
	a := p.redeem(tokenText.FindString(p.printedCommand()))
	in.hide(a.key())
	return a
}

// TestResetTwice goes through generations, so that nothing depends on the first.
func TestResetTwice(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	p.claim()
	for generation := 1; generation <= 3; generation++ {
		p.kill()
		in.writeReset(strconv.Itoa(generation))
		p = in.start()
		if a := in.redeemPrinted(p); a.status != 200 || !p.accepts(a.key()) {
			t.Fatalf("after reset %d: got %d, want 200 and a key that works", generation, a.status)
		}
	}
	if s := in.look(); len(s.Keys) != 1 || len(s.Parents) != 1 {
		t.Errorf("more than one key lives: %+v", s)
	}
}
