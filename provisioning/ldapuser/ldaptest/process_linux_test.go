package ldaptest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

const childVariable = "LDAPTEST_CHILD"

// TestServerDiesWithItsTest kills a test, which then cleans nothing up.
func TestServerDiesWithItsTest(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		fmt.Println(ldaptest.Start(t).URL)
		time.Sleep(time.Minute)
		return
	}
	ldaptest.Start(t) // skips where the child would
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ldap://")
	if !ok {
		t.Fatalf("got %q, %v, want a URL", line, err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		nc.Close()
		if time.Now().After(end) {
			t.Fatal("the server is still there")
		}
	}
}
