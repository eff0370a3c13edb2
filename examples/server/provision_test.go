package main_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestProvision follows the key that the server writes to a file at start-up
// through everything that an operator can do with the file.
func TestProvision(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	file := in.provisionToFile()

	p := in.start()
	in.wantMode(file, 0o600)
	in.wantMode(filepath.Dir(file), 0o700)
	first := in.readKey(file)
	p.wantAlive("issued", first)
	p.wantClosed("after the key was provisioned")
	p.wantNoCommand()

	p = in.start()
	if in.readKey(file) != first {
		t.Error("a restart changed the file")
	}
	p.wantAlive("kept", first)

	p.kill()
	in.check(os.Remove(file))
	p = in.start()
	in.wantMode(file, 0o600)
	second := in.readKey(file)
	p.wantAlive("issued again", second)
	p.wantDead("replaced", first)

	in.deleteKey(second)
	p.wantDead("deleted", second)
	p.kill()
	p = in.start()
	p.wantDead("deleted, and the server restarted", second)

	p.kill()
	in.check(os.Remove(file))
	p = in.start()
	p.wantAlive("issued a third time", in.readKey(file))
}

// TestProvisionTurnedOff takes the feature out of the configuration, the path
// of the file with it, and then puts it back.
func TestProvisionTurnedOff(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	file := in.provisionToFile()
	p := in.start()
	key := in.readKey(file)
	p.wantAlive("issued", key)

	p.kill()
	in.flags = nil
	p = in.start()
	p.wantDead("revoked", key)
	p.wantClosed("after the key was revoked")
	if s := in.look(); len(s.Keys)+len(s.Parents) != 0 || !s.Claimed {
		t.Errorf("after the key was revoked: %+v, want no key, claimed", s)
	}
	if !strings.Contains(p.stderr.String(), "audit event=bootstrap.unprovisioned") {
		t.Errorf("the log lacks the revocation:\n%s", p.stderr)
	}

	p.kill()
	in.provisionToFile()
	p = in.start()
	p.wantAlive("turned on again", in.readKey(file))
	p.wantDead("revoked before", key)
}

// provisionToFile has the processes to come write the first key to a file, in a
// directory that they make.
func (in *installation) provisionToFile() (path string) {
	in.t.Helper()
	path = filepath.Join(in.dir, "keys", "admin.key")
	in.configure(fmt.Sprintf(`{"bootstrap":{"key_file":%q}}`, path))
	return path
}

func (in *installation) readKey(path string) string {
	in.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		in.t.Fatal(err)
	}
	key := strings.TrimSpace(string(b))
	in.hide(key)
	return key
}

func (p *process) wantAlive(when, key string) {
	p.in.t.Helper()
	if !p.accepts(key) {
		p.in.t.Errorf("%s: the key does not work; log:\n%s", when, p.stderr)
	}
}

func (p *process) wantDead(when, key string) {
	p.in.t.Helper()
	if p.accepts(key) {
		p.in.t.Errorf("%s: the key still works", when)
	}
}

// TestProvisionShared starts several processes with one file at one instant:
// the key in it serves all.
func TestProvisionShared(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	file := in.provisionToFile()
	var all []*process
	for range 4 {
		all = append(all, in.launch())
	}
	for _, p := range all {
		p.awaitListening()
	}
	key := in.readKey(file)
	for _, p := range all {
		p.wantAlive("in each process", key)
	}
	if s := in.look(); len(s.Keys) != 1 || s.ClaimOf != in.keyID(key) {
		t.Errorf("got %+v, want the one key of the file", s)
	}
}

// TestProvisionAfterClaim turns the feature on where somebody has used the
// endpoint: the claim is theirs.
func TestProvisionAfterClaim(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	key := p.claim()
	p.kill()
	file := in.provisionToFile()
	p = in.start()
	p.wantAlive("claimed at the endpoint", key)
	if _, err := os.Stat(file); err == nil {
		t.Error("a second first key was written")
	}
	if s := in.look(); !s.claimedOnce() {
		t.Errorf("got %+v, want one key, claimed", s)
	}
}

// TestKeyWithExpiry gives the admin key an end, which whoami shows.
func TestKeyWithExpiry(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(`{"bootstrap":{"key_ttl":"1h","max_lifetime":"5m"}}`)
	p := in.start()
	if a := p.redeem(in.token()); a.status != 401 {
		t.Errorf("a token of 15 minutes where 5 are the longest: got %d, want 401", a.status)
	}
	a := in.redeemPrinted(p)
	if a.status != 200 {
		t.Fatalf("the printed command: got %d, want 200", a.status)
	}
	who := p.get("/whoami", "Key "+a.key())
	if !strings.Contains(who.body, `"expires":"`) {
		t.Errorf("whoami does not show when the key expires: %s", who.body)
	}
	eventually(t, "the log warns of a temporary key in use", func() bool {
		return strings.Contains(p.stderr.String(), "event=key.temporary_in_use")
	})
}
