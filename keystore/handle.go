package keystore

import (
	"context"
	"fmt"
	"strings"
)

// MaxHandle is how many characters a handle has at most.
const MaxHandle = 128

// CheckHandle returns ErrInvalidHandle for what no store accepts as a handle,
// so that a name that works with one store works with all, and is a safe file
// name everywhere: 1 to [MaxHandle] characters of A-Z, a-z, 0-9, '-', '_' and
// '.', the last neither first nor last, and no name of a device of Windows
// ("con", "nul.backup"). Thumbprints (RFC 7638) are handles.
func CheckHandle(handle string) error {
	switch {
	case handle == "":
		return fmt.Errorf("keystore: %w: empty", ErrInvalidHandle)
	case len(handle) > MaxHandle:
		return fmt.Errorf("keystore: %w: longer than %d characters", ErrInvalidHandle, MaxHandle)
	case handle[0] == '.', handle[len(handle)-1] == '.':
		return fmt.Errorf("keystore: %w: %q begins or ends with a dot", ErrInvalidHandle, handle)
	case strings.ContainsFunc(handle, outsideHandles):
		return fmt.Errorf("keystore: %w: %q has other characters than A-Z a-z 0-9 . _ -", ErrInvalidHandle, handle)
	case isDevice(handle):
		return fmt.Errorf("keystore: %w: %q is a device on Windows", ErrInvalidHandle, handle)
	}
	return nil
}

func outsideHandles(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		return false
	}
	return true
}

// isDevice compares what stands before the first dot: Windows does so too.
func isDevice(handle string) bool {
	stem, _, _ := strings.Cut(strings.ToLower(handle), ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	port, found := strings.CutPrefix(stem, "com")
	if !found {
		port, found = strings.CutPrefix(stem, "lpt")
	}
	return found && len(port) == 1 && '0' <= port[0] && port[0] <= '9'
}

// begin is what every method that is given a handle checks first.
func begin(ctx context.Context, handle string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("keystore: %w", err)
	}
	return CheckHandle(handle)
}

func notFound(handle string) error {
	return fmt.Errorf("keystore: %q: %w", handle, ErrKeyNotFound)
}

func exists(handle string) error {
	return fmt.Errorf("keystore: %q: %w", handle, ErrKeyExists)
}
