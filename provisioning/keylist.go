package provisioning

import (
	"context"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// Keys returns all provisioning keys, the newest first.
func (h *Handler) Keys(ctx context.Context) ([]Key, error) {
	var stored []storedKey
	for r, err := range h.host.Store.List(ctx, store.Query{Kind: KindKey}) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		k, err := readKey(r)
		if err != nil {
			return nil, err
		}
		stored = append(stored, k)
	}
	slices.SortStableFunc(stored, func(a, b storedKey) int { return b.CreatedAt.Compare(a.CreatedAt) })
	ids := make([]string, 0, 2*len(stored))
	for _, k := range stored {
		ids = append(ids, k.Current, k.Previous)
	}
	infos, err := h.host.Keys.LookupAll(ctx, ids...)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(stored))
	for i, k := range stored {
		if keys[i], err = h.describeUsed(ctx, k, infos[2*i], infos[2*i+1]); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// Key returns the one with the given id, or an error of CodeNotFound.
func (h *Handler) Key(ctx context.Context, id string) (Key, error) {
	k, err := h.loadKey(ctx, id)
	if err != nil {
		return Key{}, err
	}
	infos, err := h.host.Keys.LookupAll(ctx, k.Current, k.Previous)
	if err != nil {
		return Key{}, err
	}
	return h.describeUsed(ctx, k, infos[0], infos[1])
}

// describeUsed also counts the uses of a key that has a maximum of them. The
// last use may be one of the key before, whose overlap has not ended.
func (h *Handler) describeUsed(ctx context.Context, k storedKey, info, before keywright.KeyInfo) (Key, error) {
	if before.LastUsed.After(info.LastUsed) {
		info = before
	}
	d := h.describe(k, info)
	if k.MaxUses == 0 {
		return d, nil
	}
	var err error
	if d.Uses, err = h.host.Store.Add(ctx, k.counter(), 0, time.Time{}); err != nil {
		return Key{}, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return d, nil
}

func (h *Handler) describe(k storedKey, info keywright.KeyInfo) Key {
	d := Key{
		KeySettings: k.KeySettings, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt, Enabled: !k.Disabled,
		LastUsedAt: optional(info.LastUsed), LastUsedIP: info.LastUsedFrom,
	}
	if !k.Imported {
		d.Prefix = h.host.Keys.Prefix(KeyKind) + k.Current
	}
	return d
}
