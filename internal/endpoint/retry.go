package endpoint

import (
	"errors"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// maxTries is how often a change is tried when others change what it had read.
const maxTries = 3

// Retry runs do, which reads and then commits, again while others changed what
// it had read. An error that is not a keywright.Error is trouble of the store.
func Retry(do func() error) error {
	var err error
	for range maxTries {
		err = do()
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if _, ok := errors.AsType[*keywright.Error](err); ok || err == nil {
		return err
	}
	return keywright.Wrap(keywright.CodeUnavailable, err)
}
