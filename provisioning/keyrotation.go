package provisioning

import (
	"context"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// RotateKey makes a new key for the provisioning key with the given id; the old
// one works for the overlap. When a key that was rotated before has not ended
// yet, it goes on to its own end. So does what the host has made by rotating the
// API key itself: then, as when it has disabled or deleted it, the new key takes
// over from none.
func (h *Handler) RotateKey(ctx context.Context, actor keywright.Principal, id string, overlap time.Duration) (NewKey, error) {
	if overlap < 0 || overlap > maxLife {
		return NewKey{}, invalid("overlap_hours: want 0 to 876000")
	}
	var made NewKey
	err := endpoint.Retry(func() error {
		k, err := h.loadKey(ctx, id)
		if err != nil {
			return err
		}
		m, ops, err := h.succeed(ctx, k, overlap)
		if err != nil {
			return err
		}
		old := k.Current
		k.Previous, k.Current, k.Imported = old, m.ID, false
		record, err := k.record()
		if err != nil {
			return err
		}
		made = NewKey{h.describe(k, keywright.KeyInfo{ID: m.ID}), m.Text, endOf(old, ops)}
		return h.host.Commit(ctx, keyEvent("provisioning.key_rotated", actor, k), append(ops, store.Replace(record))...)
	})
	return made, err
}

// succeed makes the API key that follows k's, whatever became of that one.
func (h *Handler) succeed(ctx context.Context, k storedKey, overlap time.Duration) (keywright.MintedKey, []store.Op, error) {
	m, ops, err := h.host.Keys.Succeed(ctx, k.Current, keywright.Rotation{Overlap: overlap})
	if err == nil {
		return m, ops, nil
	}
	if code := keywright.AsError(err).Code; code != keywright.CodeNotFound && code != keywright.CodeConflict {
		return keywright.MintedKey{}, nil, err
	}
	m, err = h.host.Keys.Mint(k.spec(h.base))
	return m, []store.Op{m.Op}, err
}
