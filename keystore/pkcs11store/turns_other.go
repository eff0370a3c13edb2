//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package pkcs11store

import (
	"errors"
	"os"
)

const canLock = false

func lock(*os.File, bool) error { return errors.ErrUnsupported }
