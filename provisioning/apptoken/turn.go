package apptoken

import (
	"context"
	"hash/maphash"

	"github.com/keywright/keywright"
)

// turns let the mints of one application come one after the other within this
// process, where they are counted: else each would spoil the others' count.
type turns struct {
	seed  maphash.Seed
	slots [64]chan struct{} // an application has one, and perhaps shares it
}

func newTurns() turns {
	t := turns{seed: maphash.MakeSeed()}
	for i := range t.slots {
		t.slots[i] = make(chan struct{}, 1)
	}
	return t
}

// take waits for the turn of name, and returns what ends it.
func (t *turns) take(ctx context.Context, name string) (release func(), err error) {
	slot := t.slots[maphash.String(t.seed, name)%uint64(len(t.slots))]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, keywright.Wrap(keywright.CodeUnavailable, ctx.Err())
	}
}
