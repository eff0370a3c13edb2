package agentauth_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
)

// counting counts what it loads, slowly.
type counting struct {
	*keystore.Memory
	loads atomic.Int64
}

func (s *counting) Load(ctx context.Context, handle string) (keystore.Key, error) {
	s.loads.Add(1)
	time.Sleep(20 * time.Millisecond)
	return s.Memory.Load(ctx, handle)
}

// TestKeysAreLoadedOnce is for key stores that a load costs much time and memory.
func TestKeysAreLoadedOnce(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := &counting{Memory: new(keystore.Memory)}
	must(t, newKeys(t, w.host, memory).Sync(t.Context()))
	keys := newKeys(t, w.host, memory)
	memory.loads.Store(0)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { kidOf(t, w.host, keys) })
	}
	group.Wait()
	if n := memory.loads.Load(); n != 1 {
		t.Errorf("%d loads for 20 at once", n)
	}
	// A change of other keys costs none.
	_, err := keys.Add(t.Context(), principal("admin"), "")
	must(t, err)
	kidOf(t, w.host, keys)
	if n := memory.loads.Load(); n != 1 {
		t.Errorf("%d loads after another key was added", n)
	}

	// Who waits for another's load waits as long as it wants to.
	began := time.Now()
	held, release := context.WithTimeout(t.Context(), 2*time.Second)
	defer release()
	first := &stuck{Memory: memory.Memory, entered: make(chan struct{}, 1), until: held.Done()}
	replica := newKeys(t, w.host, first)
	go replica.Sync(t.Context())
	<-first.entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := replica.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
		t.Errorf("a second caller after %v: %v", time.Since(began), err)
	}
}

// stuck does not load before its time, whatever the context says.
type stuck struct {
	*keystore.Memory
	entered chan struct{}
	until   <-chan struct{}
}

func (s *stuck) Load(ctx context.Context, handle string) (keystore.Key, error) {
	s.entered <- struct{}{}
	<-s.until
	return nil, errors.New("stuck")
}
