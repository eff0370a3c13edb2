package provisioning

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// The store kinds of enrolment.
const (
	KindEnrollment = "provisioning.enrollment" // a token, by its public id; after its use too
	KindPending    = "provisioning.pending"    // by runner: its token that was not used yet
	KindSlot       = "provisioning.slot"       // by provisioning key and number: one of its pending enrolments
	KindMade       = "provisioning.made"       // by provisioning key and runner: what the key has made
)

// TokenKind is the kind of keys whose prefix enrolment tokens have. No key of
// this kind is ever issued, so that a token is not accepted as one.
const TokenKind = "enrollment"

// keepSpent is how long a token is remembered that was used, for those who
// present it again.
const keepSpent = 400 * 24 * time.Hour

// keepPending is how long an id that was enrolled is still marked as pending:
// longer than a request takes.
const keepPending = time.Minute

// A sealedKey is an API key that does not exist until its record is inserted.
type sealedKey struct {
	ID      string          `json:"id"`
	Data    json.RawMessage `json:"data"`
	Expires time.Time       `json:"expires,omitzero"`
}

func seal(m keywright.MintedKey) sealedKey {
	return sealedKey{ID: m.ID, Data: m.Op.Record.Data, Expires: m.Op.Record.Expires}
}

func (s sealedKey) record() store.Record {
	return store.Record{Kind: keywright.KindKey, ID: s.ID, Data: s.Data, Expires: s.Expires}
}

// A ticket is an enrolment token and all that is bound to it.
type ticket struct {
	Token     sealedKey  `json:"token"`
	Key       *sealedKey `json:"key,omitempty"`       // of the runner
	Challenge string     `json:"challenge,omitempty"` // in place of a key
	RunnerID  string     `json:"runner_id"`
	Name      string     `json:"runner_name"`
	Instance  string     `json:"instance"`           // of the runner, from then on
	Was       string     `json:"was,omitempty"`      // its instance before, if it has a new key made
	Again     bool       `json:"again,omitempty"`    // the runner exists, and gets a new key
	Maker     string     `json:"maker"`              // for people
	MadeBy    string     `json:"made_by,omitempty"`  // the provisioning key; empty: an administrator
	KeyInst   string     `json:"key_inst,omitempty"` // and its instance
	Slot      string     `json:"slot,omitempty"`
	Scopes    []string   `json:"scopes,omitempty"`
	Tags      []string   `json:"tags,omitempty"`
	Created   time.Time  `json:"created"`
	Expires   time.Time  `json:"expires"`
	Spent     time.Time  `json:"spent,omitzero"`
	Thumb     string     `json:"jkt,omitempty"` // of the public key that spent it

	version int64
}

func ticketKey(id string) store.Key      { return store.Key{Kind: KindEnrollment, ID: id} }
func pendingKey(runner string) store.Key { return store.Key{Kind: KindPending, ID: store.ID(runner)} }
func slotKey(id string) store.Key        { return store.Key{Kind: KindSlot, ID: id} }
func (t *ticket) madeKey() store.Key {
	return store.Key{Kind: KindMade, ID: store.ID(t.MadeBy, t.KeyInst, t.RunnerID)}
}
func (k storedKey) slot(n int) string     { return store.ID(k.ID, k.Instance, strconv.Itoa(n)) }
func (k storedKey) madePrefix() string    { return store.ID(k.ID, k.Instance) + "/" }
func pendingTicket(r store.Record) string { return string(r.Data) }

func (t *ticket) record() (store.Record, error) {
	data, err := json.Marshal(t)
	expires := t.Expires
	if !t.Spent.IsZero() {
		expires = t.Spent.Add(keepSpent)
	}
	return store.Record{Kind: KindEnrollment, ID: t.Token.ID, Version: t.version, Expires: expires, Data: data}, err
}

func readTicket(r store.Record) (*ticket, error) {
	t := &ticket{version: r.Version}
	if err := json.Unmarshal(r.Data, t); err != nil {
		return nil, spoiled(r, err)
	}
	return t, nil
}

func (t *ticket) facts() map[string]string {
	facts := map[string]string{"by": t.Maker, "token": t.Token.ID}
	if t.Key != nil {
		facts["key"] = t.Key.ID
	}
	return facts
}

// holdings are the records that go when a ticket is deleted.
type holdings struct {
	*ticket                        // nil: there is none
	token, slot, made store.Record // those of the last two that are not the ticket's are absent
}

// held finds the ticket with the given id and what it holds.
func (h *Handler) held(ctx context.Context, id string) (holdings, error) {
	records, err := h.host.Store.Get(ctx, ticketKey(id))
	if err != nil || !records[0].Exists() {
		return holdings{}, err
	}
	t, err := readTicket(records[0])
	if err != nil {
		return holdings{}, err
	}
	old := holdings{ticket: t, token: records[0]}
	if t.MadeBy == "" || !t.Spent.IsZero() {
		return old, nil
	}
	keys := []store.Key{t.madeKey()}
	if t.Slot != "" {
		keys = append(keys, slotKey(t.Slot))
	}
	if records, err = h.host.Store.Get(ctx, keys...); err != nil {
		return holdings{}, err
	}
	old.made = records[0]
	if t.Slot != "" && records[1].Exists() && string(records[1].Data) == id {
		old.slot = records[1]
	}
	return old, nil
}

func (o holdings) deletes() []store.Op {
	var ops []store.Op
	for _, r := range []store.Record{o.token, o.slot, o.made} {
		if r.Exists() {
			ops = append(ops, store.Delete(r))
		}
	}
	return ops
}
