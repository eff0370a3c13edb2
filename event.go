package keywright

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/keywright/keywright/store"
)

// KindEvent is the store kind of audit events. Their IDs are ordered by time.
const KindEvent = "event"

// An Event is one line of the audit trail. It holds no secret.
type Event struct {
	ID     string            `json:"-"` // of a stored event, as Events yields it
	Time   time.Time         `json:"time"`
	Name   string            `json:"name"`             // such as "bootstrap.claimed" or "key.refused"
	Actor  string            `json:"actor,omitempty"`  // public id of the credential that acted
	Target string            `json:"target,omitempty"` // public id of what was acted on
	Remote string            `json:"remote,omitempty"` // network address of the client, see WithRemoteAddr
	Detail string            `json:"detail,omitempty"` // the exact cause; never shown to the client
	Attrs  map[string]string `json:"attrs,omitempty"`
}

// Commit applies ops together with the record of e, which is how every change
// of this library is made: there is no change without its event. Time and
// Remote are filled in; Hooks.Audit is told once the store has agreed.
func (h Host) Commit(ctx context.Context, e Event, ops ...store.Op) error {
	e.Time, e.Remote = h.Hooks.Now(), RemoteAddr(ctx)
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("keywright: encode event: %w", err)
	}
	record := store.Record{Kind: KindEvent, ID: eventID(e.Time), Data: data, Expires: e.Time.Add(h.retention)}
	all := append(make([]store.Op, 0, len(ops)+1), ops...)
	if err := h.Store.Commit(ctx, append(all, store.Insert(record))...); err != nil {
		return err
	}
	h.Hooks.Audit(ctx, e)
	return nil
}

// Events yields the stored audit events of all replicas, newest first: those
// before the one with the given ID, or all if it is empty.
func (h Host) Events(ctx context.Context, before string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for r, err := range h.Store.List(ctx, store.Query{Kind: KindEvent, After: before, Reverse: true}) {
			var e Event
			if errors.Is(err, store.ErrInvalid) {
				err = &Error{Code: CodeInvalidRequest, Detail: "not the ID of an event", Err: err}
			} else if err != nil {
				err = Wrap(CodeUnavailable, err)
			} else if err = json.Unmarshal(r.Data, &e); err != nil {
				err = Wrap(CodeInternal, fmt.Errorf("keywright: event %s: %w", r.ID, err))
			}
			e.ID = r.ID
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// eventID sorts by time; the random part keeps two events of one instant apart.
func eventID(t time.Time) string {
	return t.UTC().Format("20060102T150405.000000000Z") + "-" + rand.Text()[:8]
}
