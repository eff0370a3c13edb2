package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// Reset opens a claimed installation for another bootstrap: the keys of the
// claim stop working at once, rotated ones too, and tokens that were used, or
// that name a time of issue up to now, are refused for good. It is for an operator who has lost every admin key.
//
// The operator must name the current generation, from [ReadStatus]: so a
// command run twice, or kept in a script, does nothing the second time. Any
// other generation, or an installation that is open, is an [*keywright.Error]
// of CodeConflict. by says who asked, for the audit.
func Reset(ctx context.Context, host keywright.Host, generation int64, by string) error {
	return endpoint.Retry(func() error { return reset(ctx, host, generation, by) })
}

func reset(ctx context.Context, host keywright.Host, generation int64, by string) error {
	c, err := readClaim(ctx, host)
	if err != nil {
		return err
	}
	switch {
	case !c.held():
		return keywright.Errorf(keywright.CodeConflict, "bootstrap reset: the installation is not claimed")
	case c.Generation != generation:
		return keywright.Errorf(keywright.CodeConflict, "bootstrap reset: the generation is %d, not %d", c.Generation, generation)
	}
	next := claim{Generation: c.Generation, Open: true, At: host.Hooks.Now(), version: c.version}
	e := keywright.Event{Name: "bootstrap.reset", Actor: by, Target: c.Key}
	return first{host: host}.commit(ctx, c, next, e)
}

// ResetFromFile carries out the reset that an operator has asked for by
// writing the current generation into the file at path, and reports whether it
// did. No file means no request. The file is removed before the reset takes
// effect, whatever it says, so that it cannot act twice; one that belongs to
// another user, or that others can write, is refused. Call it at start-up.
func ResetFromFile(ctx context.Context, host keywright.Host, path string) (bool, error) {
	f, err := openOwn(path, 0o022)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("bootstrap: reset file: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	f.Close()
	if err != nil {
		return false, fmt.Errorf("bootstrap: reset file: %w", err)
	}
	if err := removeFile(path); err != nil {
		return false, fmt.Errorf("bootstrap: reset file: %w", err)
	}
	generation, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return false, fmt.Errorf("bootstrap: reset file %s: want the current generation, a number", path)
	}
	if err := Reset(ctx, host, generation, "file "+path); err != nil {
		return false, err
	}
	return true, nil
}

// removeFile removes path for good: when it returns nil, a crash does not
// bring the file back.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
