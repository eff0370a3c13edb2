package provisioning

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

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
	switch {
	case err != nil:
		return holdings{}, nil, err
	case old.ticket != nil && !old.Spent.IsZero():
		old = holdings{} // it stays, for whoever asks again
	}
	return old, []store.Op{store.Replace(next)}, nil
}

// byKey adds what an offer by k costs k. What the ticket that it replaces holds
// of k goes over to t.
func (h *Handler) byKey(ctx context.Context, k storedKey, t *ticket, old *holdings) ([]store.Op, error) {
	t.MadeBy, t.KeyInst = k.ID, k.Instance
	made := t.madeKey()
	since := []byte(t.Created.Format(time.RFC3339))
	ops := []store.Op{
		store.Check(store.Record{Kind: KindKey, ID: store.ID(k.ID), Version: k.version}),
		store.Put(store.Record{Kind: made.Kind, ID: made.ID, Expires: t.Expires, Data: since}),
	}
	mine := old.made.Key() == made
	if mine {
		old.made = store.Record{} // and its use counts for t: perhaps nobody got the first answer
	} else if k.MaxUses > 0 {
		ops = append(ops, store.Take(k.counter(), 1, int64(k.MaxUses), time.Time{}))
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
// administrator. Of req only Name, ID, Hours and PublicKey count: there is no
// configuration file.
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
