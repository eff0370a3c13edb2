//go:build unix

package keystore

import (
	"io/fs"
	"os"
	"syscall"
)

const hasPermissions = true

func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// syncDir makes the names in a directory permanent.
func syncDir(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	return closing(f, f.Sync())
}
