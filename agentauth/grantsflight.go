package agentauth

import (
	"context"
	"errors"
)

// A flight is one attempt to get something, for all who want it now.
type flight struct {
	done  chan struct{}
	err   error // valid after done
	ended bool  // valid after done: whoever made it has given up
}

var errFlightPanicked = errors.New("agentauth: an attempt to get a token has panicked")

// once has one caller at a time get what a key names. Others wait, and share what
// comes of it, but not that the one who got it was in a hurry.
func (g *grants) once(ctx context.Context, key string, get func() error) error {
	for {
		g.mu.Lock()
		f := g.flights[key]
		if f == nil {
			f = &flight{done: make(chan struct{}), err: errFlightPanicked}
			g.flights[key] = f
			g.mu.Unlock()
			return g.fly(ctx, key, f, get)
		}
		g.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !f.ended {
			return f.err
		}
	}
}

func (g *grants) fly(ctx context.Context, key string, f *flight, get func() error) error {
	defer func() {
		g.mu.Lock()
		delete(g.flights, key)
		g.mu.Unlock()
		close(f.done)
	}()
	f.err = get()
	f.ended = f.err != nil && ctx.Err() != nil
	return f.err
}
