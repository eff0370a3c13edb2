package keywright_test

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/store"
)

// A probe is a Store that counts what reaches the one below it, remembers what
// was written, and fails on demand.
type probe struct {
	store.Store
	calls atomic.Int64

	// fault, if any, is asked first; what it returns is the answer.
	fault atomic.Pointer[func(ctx context.Context, call string, ops []store.Op) error]

	mu      sync.Mutex
	written [][]store.Op // guarded by mu; Commits that succeeded
}

func (p *probe) failWith(f func(ctx context.Context, call string, ops []store.Op) error) {
	p.fault.Store(&f)
}

// failOn makes the named call fail with err, until it is given nil.
func (p *probe) failOn(call string, err error) {
	p.failWith(func(_ context.Context, c string, _ []store.Op) error {
		if c == call {
			return err
		}
		return nil
	})
}

func (p *probe) ask(ctx context.Context, call string, ops []store.Op) error {
	p.calls.Add(1)
	if f := p.fault.Load(); f != nil {
		return (*f)(ctx, call, ops)
	}
	return nil
}

func (p *probe) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if err := p.ask(ctx, "Get", nil); err != nil {
		return nil, err
	}
	return p.Store.Get(ctx, keys...)
}

func (p *probe) List(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
	if err := p.ask(ctx, "List", nil); err != nil {
		return func(yield func(store.Record, error) bool) { yield(store.Record{}, err) }
	}
	return p.Store.List(ctx, q)
}

func (p *probe) Commit(ctx context.Context, ops ...store.Op) error {
	if err := p.ask(ctx, "Commit", ops); err != nil {
		return err
	}
	err := p.Store.Commit(ctx, ops...)
	if err == nil {
		p.mu.Lock()
		p.written = append(p.written, ops)
		p.mu.Unlock()
	}
	return err
}

func (p *probe) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if err := p.ask(ctx, "Add", nil); err != nil {
		return 0, err
	}
	return p.Store.Add(ctx, counter, n, until)
}

// commits returns the Commits that wrote a record of the given kind.
func (p *probe) commits(kind string) [][]store.Op {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found [][]store.Op
	for _, ops := range p.written {
		for _, op := range ops {
			if op.Record.Kind == kind {
				found = append(found, ops)
				break
			}
		}
	}
	return found
}
