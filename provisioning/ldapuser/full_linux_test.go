package ldapuser_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestServerThatDoesNotAccept has a listener whose queue is full, so that the
// system answers no further attempt to connect.
func TestServerThatDoesNotAccept(t *testing.T) {
	t.Parallel()
	address := fullListener(t)
	m := muteness{url: "ldap://" + address}
	t.Run("the timeout ends it", func(t *testing.T) {
		subject, err := m.verifier(t, 100*time.Millisecond).VerifyPassword(t.Context(), "kate", right)
		wantTrouble(t, subject, err, "connect")
	})
	t.Run("the context ends it", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		subject, err := m.verifier(t, time.Hour).VerifyPassword(ctx, "kate", right)
		wantTrouble(t, subject, err, "connect")
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
	})
}

func fullListener(t *testing.T) (address string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address = fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		nc, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { nc.Close() })
	}
	t.Skip("the queue does not fill")
	return ""
}
