package main_test

import (
	"os"
	"testing"
	"time"
)

// TestSTO15RestoredBackup: a database of before the bootstrap opens the server
// again, as docs/operations.md says; the generation in the log tells of it.
func TestSTO15RestoredBackup(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start().stop(2 * time.Second)
	backup, err := os.ReadFile(in.db)
	if err != nil {
		t.Fatal(err)
	}
	p := in.start()
	key := p.claim()
	p.stop(2 * time.Second)
	p = in.start()
	p.wantLogged("claimed=true generation=1")
	p.stop(2 * time.Second)

	if err := os.WriteFile(in.db, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"-wal", "-shm"} {
		if err := os.Remove(in.db + beside); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	p = in.start()
	p.wantLogged("claimed=false generation=0")
	if p.accepts(key) {
		t.Error("a key that the backup does not know works")
	}
	if a := p.redeem(in.token()); a.status != 200 {
		t.Errorf("a new token: got %d, want 200", a.status)
	}
}
