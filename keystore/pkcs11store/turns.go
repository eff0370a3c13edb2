package pkcs11store

import (
	"fmt"
	"os"
	"sync"
)

// Turns are taken by calls into the module: those that write run alone, as far as
// this Store goes, or, with a file, all Stores that name it. SoftHSM 2.6 fails,
// or worse, where an object changes that another thread or process looks at.
type turns struct {
	mu   sync.RWMutex
	file string
}

func (t *turns) shared(do func() error) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.locked(false, do)
}

func (t *turns) alone(do func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.locked(true, do)
}

// locked opens the file each time: a lock belongs to an open file.
func (t *turns) locked(alone bool, do func() error) error {
	if t.file == "" {
		return do()
	}
	f, err := os.OpenFile(t.file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer f.Close() // which unlocks
	if err := lock(f, alone); err != nil {
		return fmt.Errorf("lock %s: %w", t.file, err)
	}
	return do()
}
