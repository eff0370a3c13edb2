package provisioning

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// KindProof is the store kind of markers: each proof of a refresh is used once.
const KindProof = "provisioning.proof"

// refreshedLife is that of a refreshed key where Limits.RunnerKey does not say.
const refreshedLife = time.Hour

// Rotated is a runner's new API key.
type Rotated struct {
	ID       string
	APIKey   string    // secret: its only copy
	Expires  time.Time // zero: never
	OldUntil time.Time // when the key that it replaces ends by itself; zero: there was none, or never
	Sequence int64     // of a refresh: what the next one has to name
}

// RotateRunner makes a new key for the runner whose key caller has come with.
// The old one works on until the new one is used, and for Limits.Overlap after
// that. Until then asking again replaces the new key, so that no runner is
// locked out by an answer that got lost.
func (h *Handler) RotateRunner(ctx context.Context, caller keywright.Principal) (Rotated, error) {
	var made Rotated
	err := endpoint.Retry(func() error {
		var err error
		made, err = h.rotate(ctx, caller)
		return err
	})
	if err != nil && keywright.AsError(err).Code == keywright.CodeNotFound {
		err = unauthorized(textBadRun, err) // it has ended since it was authenticated
	}
	return made, err
}

func (h *Handler) rotate(ctx context.Context, caller keywright.Principal) (Rotated, error) {
	r, err := h.loadRunner(ctx, caller.Subject)
	switch {
	case err != nil:
		return Rotated{}, err
	case r.Thumbprint != "":
		return Rotated{}, keywright.Errorf(keywright.CodeConflict, "This runner has a key pair: it refreshes")
	}
	rotation := keywright.Rotation{Overlap: h.limits.Overlap, UntilUsed: true}
	if h.limits.RunnerKey > 0 {
		rotation.Expires = h.host.Hooks.Now().Add(h.limits.RunnerKey)
	}
	m, ops, err := h.host.Keys.Succeed(ctx, caller.Credential, rotation)
	if err != nil {
		return Rotated{}, err
	}
	r.Key = m.ID
	record, err := r.record()
	if err != nil {
		return Rotated{}, err
	}
	made := Rotated{ID: r.ID, APIKey: m.Text, Expires: m.Op.Record.Expires, OldUntil: endOf(caller.Credential, ops)}
	return made, h.host.Commit(ctx, runnerEvent("provisioning.runner_rotated", caller, r), append(ops, store.Replace(record))...)
}

// SignRefresh makes the proof of a refresh by the runner with the given id, for
// the server at that URL. sequence is what the last refresh gave; 0 at first.
func SignRefresh(signer crypto.Signer, serverURL, id string, sequence int64, now time.Time) (proof string, err error) {
	return jose.Sign(signer, jose.Header{Type: refreshType}, proofClaims{
		Audience: strings.TrimSuffix(serverURL, "/"), Subject: id, IssuedAt: now.Unix(), Expires: now.Add(proofLife).Unix(), ID: rand.Text(), Sequence: &sequence,
	})
}

// Refresh makes an API key for a while for a runner with a key pair, which the
// proof is signed with. Each proof is good for one. The keys that it has made
// end with the key pair.
//
// With Config.DetectClones each refresh names the number that the one before
// has given. An older one means that somebody has copied the key pair, and with
// it the numbers: the runner is locked, whoever of the two asks, with an event
// "provisioning.clone_detected", until it is enrolled anew. Three things are no
// sign of that. The number before the last, as long as the key that came with
// the last was not used: then its answer got lost, and that key ends. A proof
// that was signed before the last one: it was held up on its way. And a number
// that nobody was given. The last two are refused, and change nothing.
//
// Of a key that has expired nobody knows whether it was used. So a copy may
// stay unseen as long as the runner's keys expire before it refreshes.
func (h *Handler) Refresh(ctx context.Context, id, proof string) (Rotated, error) {
	var made Rotated
	err := endpoint.Retry(func() error {
		r, err := h.loadRunner(ctx, id)
		if err != nil {
			if keywright.AsError(err).Code == keywright.CodeNotFound {
				return badProof(err)
			}
			return err
		}
		p, err := h.refreshProof(ctx, r, proof)
		switch {
		case err != nil:
			return err
		case r.Locked:
			return errLocked()
		case r.Disabled || p.disabled:
			return keywright.Errorf(keywright.CodeInsufficientScope, "This runner is disabled")
		}
		made, err = h.refresh(ctx, r, p)
		return err
	})
	return made, err
}

func badProof(cause error) error { return unauthorized(textBadRun, fmt.Errorf("proof: %w", cause)) }

func errLocked() error {
	return keywright.Errorf(keywright.CodeInsufficientScope, "This runner is locked: its key pair was used twice")
}

// A refreshProof was signed by the key pair of an agent.
type refreshProof struct {
	jose.Claims
	times    jose.Times
	agent    store.Record
	disabled bool // the agent is
}

// refreshProof verifies a proof by the runner's own key.
func (h *Handler) refreshProof(ctx context.Context, r storedRunner, proof string) (refreshProof, error) {
	if r.Thumbprint == "" {
		return refreshProof{}, badProof(errors.New("the runner has no key pair"))
	}
	records, err := h.host.Store.Get(ctx, agent.Key(r.Thumbprint))
	switch {
	case err != nil:
		return refreshProof{}, err
	case !records[0].Exists():
		return refreshProof{}, badProof(errors.New("the runner's key pair is gone"))
	}
	a, err := agent.Read(records[0])
	if err != nil {
		return refreshProof{}, keywright.Wrap(keywright.CodeInternal, err)
	}
	key, err := jose.ParseJWK(a.JWK)
	if err != nil {
		return refreshProof{}, keywright.Wrap(keywright.CodeInternal, err)
	}
	claims, times, err := h.readProof(proof, refreshType, r.ID, key)
	if err != nil {
		return refreshProof{}, badProof(err)
	}
	return refreshProof{claims, times, records[0], a.Disabled}, nil
}

func (h *Handler) refresh(ctx context.Context, r storedRunner, p refreshProof) (Rotated, error) {
	used, err := p.marker(r)
	if err != nil {
		return Rotated{}, err
	}
	ops, err := h.checkSequence(ctx, &r, p)
	if err != nil {
		return Rotated{}, err
	}
	if r.Locked {
		return Rotated{}, h.lock(ctx, r, used)
	}
	spec := h.keySpec(r)
	spec.Parents = append(spec.Parents, keywright.Parent{Key: agent.Key(r.Thumbprint)})
	spec.Expires = h.host.Hooks.Now().Add(orDefault(h.limits.RunnerKey, refreshedLife)).UTC().Truncate(time.Second)
	m, err := h.host.Keys.Mint(spec)
	if err != nil {
		return Rotated{}, err
	}
	// One who signs ahead of time must not make the proofs of others old.
	r.Key, r.Proved = m.ID, min(p.times.IssuedAt.Unix(), h.host.Hooks.Now().Unix())
	err = h.commitProof(ctx, "provisioning.runner_refreshed", r, used, append(ops, m.Op, store.Check(p.agent))...)
	return Rotated{ID: r.ID, APIKey: m.Text, Expires: spec.Expires, Sequence: r.Sequence}, err
}

// marker is the record that the proof was used.
func (p refreshProof) marker(r storedRunner) (store.Record, error) {
	id, err := p.String("jti")
	if err != nil || id == "" || len(id) > maxText {
		return store.Record{}, badProof(errors.New("it has no usable jti"))
	}
	return store.Record{Kind: KindProof, ID: store.ID(r.ID, r.Thumbprint, id), Expires: p.times.Expires.Add(proofSkew + time.Minute), Data: []byte("{}")}, nil
}

// commitProof writes r with what its proof was good for, unless that was used before.
func (h *Handler) commitProof(ctx context.Context, event string, r storedRunner, used store.Record, ops ...store.Op) error {
	record, err := r.record()
	if err != nil {
		return err
	}
	e := runnerEvent(event, keywright.Principal{Credential: r.Thumbprint, Subject: r.ID}, r)
	err = h.host.Commit(ctx, e, append(ops, store.Insert(used), store.Replace(record))...)
	if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Kind == KindProof && errors.Is(err, store.ErrExists) {
		return badProof(errors.New("it was used before"))
	}
	return err
}

// checkSequence moves r's number on, or locks r.
func (h *Handler) checkSequence(ctx context.Context, r *storedRunner, p refreshProof) ([]store.Op, error) {
	n, err := p.Int("seq")
	switch {
	case !h.clones || err == nil && n == r.Sequence:
		r.Sequence++
		return nil, nil
	case err != nil || n < 0 || n > r.Sequence:
		return nil, badProof(errors.New("its seq is no number that was given"))
	case p.times.IssuedAt.Unix() < r.Proved:
		return nil, badProof(errors.New("it is older than the last"))
	case n < r.Sequence-1:
		r.Locked = true
		return nil, nil
	}
	records, err := h.host.Store.Get(ctx, store.Key{Kind: keywright.KindKeyFirst, ID: r.Key}, store.Key{Kind: keywright.KindKey, ID: r.Key})
	if err != nil {
		return nil, err
	}
	switch first, key := records[0], records[1]; {
	case first.Exists():
		r.Locked = true
		return nil, nil
	case !key.Exists():
		return nil, nil
	default:
		// Its answer got lost. A first use that comes between makes the Commit fail.
		first.Expires, first.Data = key.Expires, []byte("{}")
		return []store.Op{store.Insert(first), store.Delete(key)}, nil
	}
}

// lock ends the use of a key pair that two parties have.
func (h *Handler) lock(ctx context.Context, r storedRunner, used store.Record) error {
	r.Disabled = true
	if err := h.commitProof(ctx, "provisioning.clone_detected", r, used); err != nil {
		return err
	}
	h.host.Hooks.Logger.WarnContext(ctx, "provisioning: a runner's key pair is in use twice: runner locked", "runner", r.ID)
	return errLocked()
}
