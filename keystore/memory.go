package keystore

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
)

// A Memory keeps keys in this process and forgets them with it: for tests, and
// for agents that enrol anew at every start. The zero value is empty and ready
// to use. A Memory is safe for concurrent use and must not be copied after
// first use.
type Memory struct {
	mu   sync.RWMutex
	keys map[string]*key // by handle
}

var (
	_ KeyStore  = (*Memory)(nil)
	_ Generator = (*Memory)(nil)
	_ Lister    = (*Memory)(nil)
	_ Deleter   = (*Memory)(nil)
)

// Load implements [KeyStore].
func (m *Memory) Load(ctx context.Context, handle string) (Key, error) {
	if err := begin(ctx, handle); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	k, ok := m.keys[handle]
	if !ok {
		return nil, notFound(handle)
	}
	return k, nil
}

// Generate implements [Generator].
func (m *Memory) Generate(ctx context.Context, o KeyOptions) (Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("keystore: %w", err)
	}
	private, handle, err := generate(o)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.keys[handle]; ok {
		return nil, exists(handle)
	}
	if m.keys == nil {
		m.keys = make(map[string]*key)
	}
	k := newKey(handle, private, new(life))
	m.keys[handle] = k
	return k, nil
}

// List implements [Lister]. It yields the handles in order.
func (m *Memory) List(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		m.mu.RLock()
		handles := slices.Sorted(maps.Keys(m.keys))
		m.mu.RUnlock()
		yieldAll(ctx, handles, yield)
	}
}

// yieldAll ends with the context.
func yieldAll(ctx context.Context, handles []string, yield func(string, error) bool) {
	for _, handle := range handles {
		if ctx.Err() != nil {
			break
		}
		if !yield(handle, nil) {
			return
		}
	}
	if err := ctx.Err(); err != nil {
		yield("", fmt.Errorf("keystore: list: %w", err))
	}
}

// Delete implements [Deleter]. It waits for signatures that are being made.
func (m *Memory) Delete(ctx context.Context, handle string) error {
	if err := begin(ctx, handle); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.keys[handle]
	if !ok {
		return notFound(handle)
	}
	delete(m.keys, handle)
	k.life.end()
	return nil
}
