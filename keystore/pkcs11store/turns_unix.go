//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package pkcs11store

import (
	"errors"
	"os"
	"syscall"
)

const canLock = true

// lock waits for its turn, which ends when f is closed or the process ends.
func lock(f *os.File, alone bool) error {
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
