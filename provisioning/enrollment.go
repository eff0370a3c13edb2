package provisioning

import (
	"cmp"
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
	render       func(Provisioned) (string, error) // nil: no configuration file
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
			if p, err = h.tryOffer(ctx, o); o.key == nil || !errors.Is(err, store.ErrConflict) {
				return err
			}
			return cmp.Or(h.renew(ctx, o.key), err)
		})
	}
	return p, err
}

// renew reads k again, which somebody may have changed.
func (h *Handler) renew(ctx context.Context, k *storedKey) error {
	now, err := h.standingKey(ctx, k.ID)
	if err == nil && now.Instance != k.Instance {
		err = unauthorized(textBadKey, fmt.Errorf("key %s is another of its name", k.ID))
	}
	if err == nil {
		*k = now
	}
	return err
}

func (h *Handler) tryOffer(ctx context.Context, o offer) (Provisioned, error) {
	now := h.host.Hooks.Now()
	t, p, err := h.draft(o, now)
	if err != nil {
		return Provisioned{}, err
	}
	if o.render != nil { // first: where it fails, nothing was done
		if p.ConfigYAML, err = o.render(p); err != nil {
			return Provisioned{}, keywright.AsError(err) // it is not the store's
		}
	}
	old, ops, err := h.replacePending(ctx, o, t)
	if err != nil {
		return Provisioned{}, err
	}
	if o.key != nil {
		more, err := h.byKey(ctx, *o.key, t, &old)
		if err != nil {
			return Provisioned{}, err
		}
		ops = append(ops, more...)
	}
	ops = append(ops, old.deletes()...)
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
		// Another instance, so that no key it ever had outlives the enrolment.
		t.Was, t.Again = o.runner.Instance, true
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

// replacePending makes t the one pending token of its runner, and finds the one
// that it replaces.
func (h *Handler) replacePending(ctx context.Context, o offer, t *ticket) (holdings, []store.Op, error) {
	records, err := h.host.Store.Get(ctx, runnerKey(t.RunnerID), pendingKey(t.RunnerID))
	if err != nil {
		return holdings{}, nil, err
	}
	runner, pending := records[0], records[1]
	if runner.Exists() && o.runner == nil {
		return holdings{}, nil, keywright.Errorf(keywright.CodeConflict, "Runner ID already enrolled")
	}
	next := store.Record{Kind: KindPending, ID: pending.ID, Version: pending.Version, Expires: t.Expires, Data: []byte(t.Token.ID)}
	if !pending.Exists() {
		return holdings{}, []store.Op{store.Insert(next)}, nil
	}
	old, err := h.held(ctx, pendingTicket(pending))
	if old.ticket != nil && !old.Spent.IsZero() {
		old = holdings{} // it stays, for whoever asks again
	}
	return old, []store.Op{store.Replace(next)}, err
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

// byKey adds what an offer by k costs k. What the ticket that it replaces holds
// of k goes over to t.
func (h *Handler) byKey(ctx context.Context, k storedKey, t *ticket, old *holdings) ([]store.Op, error) {
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
	mine := old.made.Key() == made
	if mine {
		old.made = store.Record{}
	}
	if k.MaxPending == 0 {
		return ops, nil
	}
	slot := store.Record{Kind: KindSlot, Expires: t.Expires, Data: []byte(t.Token.ID)}
	if mine && old.slot.Exists() {
		slot.ID, slot.Version = old.slot.ID, old.slot.Version
		t.Slot, old.slot = slot.ID, store.Record{}
		return append(ops, store.Replace(slot)), nil
	}
	var err error
	if slot.ID, err = h.freeSlot(ctx, k); err != nil {
		return nil, err
	}
	t.Slot = slot.ID
	return append(ops, store.Insert(slot)), nil
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
