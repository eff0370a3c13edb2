package provisioning

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
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
	Instance  string     `json:"instance"`           // of the runner
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
		return nil, fmt.Errorf("provisioning: enrolment %s: %w", r.ID, err)
	}
	return t, nil
}

// An offer is what a new token is to be for.
type offer struct {
	name, id     string
	lifetime     time.Duration
	server       string
	keyBound     bool
	maker        string
	scopes, tags []string
	key          *storedKey    // nil: an administrator offers
	runner       *storedRunner // that gets a new key; nil: there is none yet
	actor        keywright.Principal
}

var errSlotTaken = errors.New("another request took the slot")

// offer makes the credentials of a runner that is to be enrolled.
func (h *Handler) offer(ctx context.Context, o offer) (Provisioned, error) {
	var p Provisioned
	err := errSlotTaken
	for range 20 {
		if !errors.Is(err, errSlotTaken) {
			break
		}
		err = endpoint.Retry(func() error {
			var err error
			p, err = h.tryOffer(ctx, o)
			return err
		})
	}
	return p, err
}

func (h *Handler) tryOffer(ctx context.Context, o offer) (Provisioned, error) {
	now := h.host.Hooks.Now()
	t, p, err := h.draft(o, now)
	if err != nil {
		return Provisioned{}, err
	}
	ops, err := h.replacePending(ctx, o, t)
	if err != nil {
		return Provisioned{}, err
	}
	if o.key != nil {
		more, err := h.byKey(ctx, o, t)
		if err != nil {
			return Provisioned{}, err
		}
		ops = append(ops, more...)
	}
	record, err := t.record()
	if err != nil {
		return Provisioned{}, err
	}
	e := keywright.Event{Name: "provisioning.provisioned", Actor: o.actor.Credential, Target: t.RunnerID, Attrs: t.facts()}
	return p, offerError(h.host.Commit(ctx, e, append(ops, store.Insert(record))...))
}

func (t *ticket) facts() map[string]string {
	facts := map[string]string{"by": t.Maker, "token": t.Token.ID}
	if t.Key != nil {
		facts["key"] = t.Key.ID
	}
	return facts
}

func offerError(err error) error {
	op, ok := errors.AsType[*store.OpError](err)
	switch {
	case ok && errors.Is(err, store.ErrLimit):
		return &keywright.Error{Code: keywright.CodeInsufficientScope, Detail: "This provisioning key has no uses left", Err: err}
	case ok && op.Op.Record.Kind == KindSlot:
		return &keywright.Error{Code: keywright.CodeUnavailable, Err: errors.Join(errSlotTaken, err)}
	}
	return err
}

// draft makes the ticket and the answer.
func (h *Handler) draft(o offer, now time.Time) (*ticket, Provisioned, error) {
	t := &ticket{
		RunnerID: o.id, Name: o.name, Instance: rand.Text(), Maker: o.maker, Scopes: o.scopes, Tags: o.tags,
		Created: now.UTC().Truncate(time.Second), Expires: now.UTC().Truncate(time.Second).Add(o.lifetime),
	}
	if o.runner != nil {
		t.Instance, t.Again = o.runner.Instance, true
	}
	p := Provisioned{Name: o.name, ID: o.id, ExpiresAt: t.Expires, ServerURL: o.server, Maker: o.maker}
	token, err := h.host.Keys.Mint(keywright.KeySpec{Kind: TokenKind, Subject: o.id})
	if err != nil {
		return nil, Provisioned{}, err
	}
	t.Token, p.Token = seal(token), token.Text
	if o.keyBound {
		t.Challenge = rand.Text()
		p.Challenge = t.Challenge
		return t, p, nil
	}
	key, err := h.host.Keys.Mint(h.runnerSpec(t))
	if err != nil {
		return nil, Provisioned{}, err
	}
	s := seal(key)
	t.Key, p.APIKey = &s, key.Text
	return t, p, nil
}

// replacePending makes t the one pending token of its runner.
func (h *Handler) replacePending(ctx context.Context, o offer, t *ticket) ([]store.Op, error) {
	records, err := h.host.Store.Get(ctx, runnerKey(t.RunnerID), pendingKey(t.RunnerID))
	if err != nil {
		return nil, err
	}
	runner, pending := records[0], records[1]
	if runner.Exists() && o.runner == nil {
		return nil, keywright.Errorf(keywright.CodeConflict, "Runner ID already enrolled")
	}
	next := store.Record{Kind: KindPending, ID: pending.ID, Version: pending.Version, Expires: t.Expires, Data: []byte(t.Token.ID)}
	if !pending.Exists() {
		return []store.Op{store.Insert(next)}, nil
	}
	_, ops, err := h.dropTicket(ctx, pendingTicket(pending))
	return append(ops, store.Replace(next)), err
}

// dropTicket makes the ops that delete a ticket and its slot.
func (h *Handler) dropTicket(ctx context.Context, id string) (*ticket, []store.Op, error) {
	records, err := h.host.Store.Get(ctx, ticketKey(id))
	if err != nil || !records[0].Exists() {
		return nil, nil, err
	}
	t, err := readTicket(records[0])
	if err != nil {
		return nil, nil, err
	}
	ops := []store.Op{store.Delete(records[0])}
	if t.Slot == "" || !t.Spent.IsZero() {
		return t, ops, nil
	}
	slots, err := h.host.Store.Get(ctx, slotKey(t.Slot))
	if err == nil && slots[0].Exists() && string(slots[0].Data) == id {
		ops = append(ops, store.Delete(slots[0]))
	}
	return t, ops, err
}

// byKey adds what an offer by a provisioning key costs that key.
func (h *Handler) byKey(ctx context.Context, o offer, t *ticket) ([]store.Op, error) {
	k := *o.key
	t.MadeBy, t.KeyInst = k.ID, k.Instance
	most := int64(math.MaxInt64)
	if k.MaxUses > 0 {
		most = int64(k.MaxUses)
	}
	made := t.madeKey()
	since := []byte(t.Created.Format(time.RFC3339))
	ops := []store.Op{
		store.Check(store.Record{Kind: KindKey, ID: store.ID(k.ID), Version: k.version}),
		store.Take(k.counter(), 1, most, time.Time{}),
		store.Put(store.Record{Kind: made.Kind, ID: made.ID, Expires: t.Expires, Data: since}),
	}
	if k.MaxPending == 0 {
		return ops, nil
	}
	slot, err := h.freeSlot(ctx, k)
	if err != nil {
		return nil, err
	}
	t.Slot = slot
	return append(ops, store.Insert(store.Record{Kind: KindSlot, ID: slot, Expires: t.Expires, Data: []byte(t.Token.ID)})), nil
}

// freeSlot chooses one of the slots that are free, at random: requests that
// come together seldom want the same.
func (h *Handler) freeSlot(ctx context.Context, k storedKey) (string, error) {
	keys := make([]store.Key, k.MaxPending)
	for i := range keys {
		keys[i] = slotKey(k.slot(i))
	}
	records, err := h.host.Store.Get(ctx, keys...)
	if err != nil {
		return "", err
	}
	var free []string
	for _, r := range records {
		if !r.Exists() {
			free = append(free, r.ID)
		}
	}
	if len(free) == 0 {
		return "", keywright.Errorf(keywright.CodeInsufficientScope, "This provisioning key has as many enrollments pending as it may have")
	}
	return free[randomBelow(len(free))], nil
}

// IssueToken makes the credentials of a new runner on behalf of an
// administrator. lifetime is the token's; 0: Limits.Lifetime.
func (h *Handler) IssueToken(ctx context.Context, actor keywright.Principal, req ProvisionRequest) (Provisioned, error) {
	o := offer{name: req.Name, id: req.ID, keyBound: req.PublicKey, server: h.servers[0], maker: actor.Subject, actor: actor}
	var err error
	if o.lifetime, err = h.lifetime(req.Hours); err != nil {
		return Provisioned{}, err
	}
	if err := o.checkNames(); err != nil {
		return Provisioned{}, err
	}
	return h.offer(ctx, o)
}

// ReEnroll makes new credentials for a runner that is enrolled. The key that it
// has works until they are used, and not any more then.
func (h *Handler) ReEnroll(ctx context.Context, actor keywright.Principal, id string, hours *float64) (Provisioned, error) {
	r, err := h.loadRunner(ctx, id)
	if err != nil {
		return Provisioned{}, err
	}
	o := offer{
		name: r.Name, id: r.ID, keyBound: r.Thumbprint != "", server: h.servers[0], maker: actor.Subject, actor: actor,
		runner: &r, scopes: r.Scopes, tags: r.Tags,
	}
	if o.lifetime, err = h.lifetime(hours); err != nil {
		return Provisioned{}, err
	}
	return h.offer(ctx, o)
}
