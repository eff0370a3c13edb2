//go:build !linux

package ldaptest

import "syscall"

// dieWithParent is left to Cleanup where the system has nothing for it.
func dieWithParent() *syscall.SysProcAttr { return nil }
