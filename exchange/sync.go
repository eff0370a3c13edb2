package exchange

import (
	"context"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// Sync brings the store in line with the publishers of the configuration. Call
// it when the server starts: keys of a publisher that has been taken out of the
// configuration, or disabled in it, end with that. While replicas with an older
// configuration still run, they go on issuing by it; one that starts anew ends
// the keys of publishers that only a newer configuration has.
func (h *Handler) Sync(ctx context.Context) error {
	return endpoint.Retry(func() error { return h.sync(ctx) })
}

func (h *Handler) sync(ctx context.Context) error {
	configured := make(map[string]*rule, len(h.registry.static))
	for _, r := range h.registry.static {
		configured[r.ID] = r
	}
	var gone []store.Op
	for record, err := range h.host.Store.List(ctx, store.Query{Kind: KindStatic}) {
		if err != nil {
			return err
		}
		r := configured[record.ID]
		if r == nil {
			gone = append(gone, store.Delete(record))
			continue
		}
		var st state
		if err := decode(record, &st); err != nil {
			return err
		}
		if want := r.Disabled || st.Admin; st.Disabled != want {
			st.Disabled, st.version = want, record.Version
			op, err := put(r.key(), st)
			if err != nil {
				return err
			}
			gone = append(gone, op)
		}
	}
	const most = store.MaxOps - 2 // beside the event and the epoch
	for len(gone) > 0 {
		n := min(len(gone), most)
		e := keywright.Event{Name: "exchange.static_synced", Attrs: map[string]string{"publishers": names(gone[:n])}}
		if err := h.host.Commit(ctx, e, append(gone[:n:n], bump())...); err != nil {
			return err
		}
		gone = gone[n:]
	}
	_, err := h.registry.load(ctx)
	return err
}

func names(ops []store.Op) string {
	ids := make([]string, len(ops))
	for i, op := range ops {
		ids[i] = op.Record.ID
	}
	return strings.Join(ids, " ")
}
