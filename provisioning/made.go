package provisioning

import (
	"context"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// KeyRunners returns what the provisioning key with the given id has made.
func (h *Handler) KeyRunners(ctx context.Context, id string) ([]MadeRunner, error) {
	k, err := h.loadKey(ctx, id)
	if err != nil {
		return nil, err
	}
	prefix := k.madePrefix()
	made := []MadeRunner{}
	var keys []store.Key
	for r, err := range h.host.Store.List(ctx, store.Query{Kind: KindMade, Prefix: prefix}) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		since, err := time.Parse(time.RFC3339, string(r.Data))
		if err != nil {
			return nil, spoiled(r, err)
		}
		runner := strings.TrimPrefix(r.ID, prefix)
		made = append(made, MadeRunner{ID: runner, Status: "pending", Since: since, Expires: r.Expires})
		keys = append(keys, store.Key{Kind: KindRunner, ID: runner})
	}
	return made, h.statuses(ctx, made, keys)
}

func (h *Handler) statuses(ctx context.Context, made []MadeRunner, keys []store.Key) error {
	for start := 0; start < len(keys); start += store.MaxOps {
		records, err := h.host.Store.Get(ctx, keys[start:min(len(keys), start+store.MaxOps)]...)
		if err != nil {
			return keywright.Wrap(keywright.CodeUnavailable, err)
		}
		for i, record := range records {
			if !record.Exists() {
				continue
			}
			r, err := readRunner(record)
			if err != nil {
				return err
			}
			m := &made[start+i]
			m.Status, m.Expires = "enrolled", time.Time{}
			if r.Disabled {
				m.Status = "disabled"
			}
		}
	}
	return nil
}
