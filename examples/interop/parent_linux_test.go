package interop_test

import "syscall"

// dieWithParent ends a child when this test is killed, even by SIGKILL.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
