package keywright

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

const (
	maxWrites    = 8                    // last uses being written at one time
	touchEvery   = 60                   // seconds between two writes for one key
	warnEvery    = 3600                 // seconds between two events about one temporary key
	touchTimeout = 5 * time.Second      // of one write
	keepLastUse  = 400 * 24 * time.Hour // for keys without an end
)

// used notes that key, whose credential is c, was used: at once and exactly
// where something depends on it, lazily otherwise.
func (k *Keys) used(r *http.Request, c *known, key token.Key) error {
	ctx, now := r.Context(), k.host.Hooks.Now()
	if c.FirstUse && !c.firstUsed.Load() {
		if err := k.markFirstUse(ctx, c, key, now); err != nil {
			return err
		}
	}
	if c.Temporary && due(&c.warned, now, warnEvery) {
		ctx := WithRequestAddr(r)
		e := Event{Time: now, Name: "key.temporary_in_use", Target: c.id, Remote: RemoteAddr(ctx)}
		k.host.Hooks.Logger.LogAttrs(ctx, slog.LevelWarn, "a temporary key is still in use", slog.String("key", c.id))
		k.host.Hooks.Audit(ctx, e)
	}
	if due(&c.touched, now, touchEvery) {
		k.touch(c, key, lastUse{At: now, From: requestAddr(r)})
	}
	return nil
}

// firstUse is the marker that the key of the given record was used.
func firstUse(key store.Record) store.Record {
	return store.Record{Kind: KindKeyFirst, ID: key.ID, Expires: key.Expires, Data: []byte("{}")}
}

// markFirstUse writes that c is used for the first time, as it stands now, and
// what follows from that. Whoever finds the marker there cannot tell a use from
// the end of a key that nobody had used: the key is verified again.
func (k *Keys) markFirstUse(ctx context.Context, c *known, key token.Key, now time.Time) error {
	for range maxTries {
		self := store.Record{Kind: KindKey, ID: c.id, Version: c.version, Expires: c.Expires}
		ops, err := k.endPredecessor(ctx, c, now)
		if err == nil {
			err = k.host.Store.Commit(ctx, append([]store.Op{store.Insert(firstUse(self)), store.Check(self)}, ops...)...)
		}
		if err == nil {
			c.firstUsed.Store(true)
			return nil
		}
		if !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict) {
			return Wrap(CodeUnavailable, err)
		}
		if c, err = k.verify(ctx, key); err != nil {
			return err
		}
		if c.firstUsed.Load() {
			return nil
		}
	}
	return Wrap(CodeUnavailable, fmt.Errorf("key %s changed during each of %d first uses", c.id, maxTries))
}

// due reports, to one caller, that the last time lies at least every seconds back.
func due(last *atomic.Int64, now time.Time, every int64) bool {
	then := last.Load()
	return now.Unix()-then >= every && last.CompareAndSwap(then, now.Unix())
}

// lastUse is what KindKeyLast keeps.
type lastUse struct {
	At   time.Time `json:"at"`
	From string    `json:"from,omitempty"` // network address of the client
}

// touch writes the last use, and the hash anew where the configuration asks
// for another, without holding up the request. Under a burst of many keys some
// writes are left to the next use.
func (k *Keys) touch(c *known, key token.Key, use lastUse) {
	select {
	case k.writes <- struct{}{}:
	default:
		c.touched.Store(0)
		return
	}
	go func() {
		defer func() { <-k.writes }()
		// The request may end first; its context must not end the write.
		ctx, cancel := context.WithTimeout(context.Background(), touchTimeout)
		defer cancel()
		err := errors.Join(k.writeLastUse(ctx, c, use), k.rehash(ctx, c, key))
		if err != nil {
			k.host.Hooks.Logger.LogAttrs(ctx, slog.LevelWarn, "keywright: use of a key not written", slog.String("key", c.id), slog.Any("error", err))
		}
	}()
}

func (k *Keys) writeLastUse(ctx context.Context, c *known, use lastUse) error {
	data, err := json.Marshal(use)
	if err != nil {
		return err
	}
	expires := c.Expires
	if expires.IsZero() {
		expires = use.At.Add(keepLastUse)
	}
	return k.host.Store.Commit(ctx, store.Put(store.Record{Kind: KindKeyLast, ID: c.id, Expires: expires, Data: data}))
}

// rehash stores the hash of key in the way that is configured now.
func (k *Keys) rehash(ctx context.Context, c *known, key token.Key) error {
	if k.hasher.Current(c.Hash) {
		return nil
	}
	hash, err := k.hasher.Hash(key.Text)
	if err != nil {
		return err
	}
	next := c.credential
	next.Hash = hash
	record, err := next.record(c.id, c.version)
	if err != nil {
		return err
	}
	// Another process, or a change of the key, may have been first.
	if err := k.host.Store.Commit(ctx, store.Replace(record)); !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// Flush waits until the last uses being written are written, for a server that
// stops.
func (k *Keys) Flush(ctx context.Context) error {
	select {
	case k.flush <- struct{}{}:
		defer func() { <-k.flush }()
	case <-ctx.Done():
		return ctx.Err()
	}
	held := 0
	defer func() {
		for range held {
			<-k.writes
		}
	}()
	for held < maxWrites {
		select {
		case k.writes <- struct{}{}:
			held++
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
