package keywright

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// KeyInfo describes a key without its secret or its hash.
type KeyInfo struct {
	KeySpec
	ID        string
	Created   time.Time
	Disabled  bool
	Successor string    // id of the key it was rotated to; empty: none
	Used      bool      // exact, where FirstUse is set; only from Check
	LastUsed  time.Time // to the minute or so; zero: never, as far as is known; not from Check

	// LastUsedFrom is the client's network address in that use, as
	// [WithRemoteAddr] has it; empty: not known. Not from Check.
	LastUsedFrom string
}

// Lookup describes the key with the given public id. An unknown or expired one
// is an [*Error] of CodeNotFound.
func (k *Keys) Lookup(ctx context.Context, id string) (KeyInfo, error) {
	infos, err := k.LookupAll(ctx, id)
	switch {
	case err != nil:
		return KeyInfo{}, err
	case infos[0].ID == "":
		return KeyInfo{}, &Error{Code: CodeNotFound}
	}
	return infos[0], nil
}

// LookupAll describes the keys with the given public ids, in this order. For
// an id that is unknown, expired or malformed the KeyInfo has an empty ID.
func (k *Keys) LookupAll(ctx context.Context, ids ...string) ([]KeyInfo, error) {
	infos := make([]KeyInfo, 0, len(ids))
	for some := range slices.Chunk(ids, store.MaxOps/2) { // for each a key and a last use
		found, err := k.lookup(ctx, some)
		if err != nil {
			return nil, err
		}
		infos = append(infos, found...)
	}
	return infos, nil
}

// lookup is LookupAll for no more ids than one Get takes.
func (k *Keys) lookup(ctx context.Context, ids []string) ([]KeyInfo, error) {
	infos := make([]KeyInfo, len(ids))
	keys := make([]store.Key, 0, 2*len(ids))
	places := make([]int, 0, len(ids)) // in infos, of each pair in keys
	for i, id := range ids {
		if token.ValidID(id) {
			keys = append(keys, store.Key{Kind: KindKey, ID: id}, store.Key{Kind: KindKeyLast, ID: id})
			places = append(places, i)
		}
	}
	if len(keys) == 0 {
		return infos, nil
	}
	records, err := k.host.Store.Get(ctx, keys...)
	if err != nil {
		return nil, Wrap(CodeUnavailable, err)
	}
	for pair, i := range places {
		if r := records[2*pair]; r.Exists() {
			if infos[i], err = describe(r, records[2*pair+1]); err != nil {
				return nil, err
			}
		}
	}
	return infos, nil
}

// List describes up to limit live keys (0: all) whose ids follow after, in the
// order of their ids, which are random. It reads some hundred keys ahead of
// the loop.
func (k *Keys) List(ctx context.Context, after string, limit int) iter.Seq2[KeyInfo, error] {
	return func(yield func(KeyInfo, error) bool) {
		var ahead []store.Record
		for r, err := range k.host.Store.List(ctx, store.Query{Kind: KindKey, After: after, Limit: limit}) {
			if err != nil {
				yield(KeyInfo{}, Wrap(CodeUnavailable, err))
				return
			}
			if ahead = append(ahead, r); len(ahead) == store.MaxOps {
				if !k.yieldAll(ctx, ahead, yield) {
					return
				}
				ahead = ahead[:0]
			}
		}
		k.yieldAll(ctx, ahead, yield)
	}
}

// yieldAll describes keys, no more of them than one Get takes, and reports
// whether to go on.
func (k *Keys) yieldAll(ctx context.Context, keys []store.Record, yield func(KeyInfo, error) bool) bool {
	if len(keys) == 0 {
		return true
	}
	uses := make([]store.Key, len(keys))
	for i, r := range keys {
		uses[i] = store.Key{Kind: KindKeyLast, ID: r.ID}
	}
	lasts, err := k.host.Store.Get(ctx, uses...)
	if err != nil {
		yield(KeyInfo{}, Wrap(CodeUnavailable, err))
		return false
	}
	for i, r := range keys {
		if info, err := describe(r, lasts[i]); !yield(info, err) || err != nil {
			return false
		}
	}
	return true
}

func describe(r, last store.Record) (KeyInfo, error) {
	c, err := decodeCredential(r)
	if err != nil {
		return KeyInfo{}, Wrap(CodeInternal, err)
	}
	info := c.info()
	if last.Exists() {
		var use lastUse
		if err := json.Unmarshal(last.Data, &use); err != nil {
			return KeyInfo{}, Wrap(CodeInternal, fmt.Errorf("keywright: last use of key %s: %w", r.ID, err))
		}
		info.LastUsed, info.LastUsedFrom = use.At, use.From
	}
	return info, nil
}
