//go:build !linux

package interop_test

import "syscall"

// dieWithParent is left to t.Cleanup where the system has nothing for it.
func dieWithParent() *syscall.SysProcAttr { return nil }
