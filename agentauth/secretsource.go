package agentauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// A SecretSource returns a secret when it is needed, and not before: once for each
// [Enroll], when the key is there. An error of it is in that of Enroll, so it must
// not hold the secret.
type SecretSource func(ctx context.Context) (string, error)

const maxSecretFile = 64 << 10 // bytes

// SecretFile reads the secret from a file, without white space around it. An empty
// one is an error, and so is one of more than 64 KiB.
//
// Where files have permissions, it must be a file that its owner can write, its owner
// and its group can read, and nobody else: chmod 600 or 640. That holds for files
// that a container finds too, which are readable to all unless they are mounted with
// defaultMode 0440 (Kubernetes) or mode 0440 (Docker). It may be a pipe.
func SecretFile(path string) SecretSource {
	return func(ctx context.Context) (string, error) {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		if err := checkSecretMode(info.Mode()); err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		text, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
		secret := strings.TrimSpace(string(text))
		switch {
		case err != nil:
			return "", err
		case len(text) > maxSecretFile:
			return "", fmt.Errorf("%s: longer than %d bytes", path, maxSecretFile)
		case secret == "":
			return "", fmt.Errorf("%s: the file is empty", path)
		}
		return secret, nil
	}
}

// checkSecretMode refuses what others have permissions on. A group may read: that is
// how the secrets of a container come to a process that is not root.
func checkSecretMode(mode fs.FileMode) error {
	const others = 0o027
	switch {
	case runtime.GOOS == "windows", !mode.IsRegular() && !mode.IsDir():
		return nil
	case mode.IsDir():
		return errors.New("a directory")
	case mode.Perm()&others != 0:
		return fmt.Errorf("mode %04o gives others access: want 0600, or 0640", mode.Perm())
	}
	return nil
}

// SecretEnv reads the secret from a variable of the environment, without white space
// around it. Without one, or an empty one, it fails.
func SecretEnv(name string) SecretSource {
	return func(context.Context) (string, error) {
		text := strings.TrimSpace(os.Getenv(name))
		if text == "" {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		return text, nil
	}
}
