package provisioning

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
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
	OldUntil time.Time // of the key that it replaces; zero: there was none
	Sequence int64     // of a refresh: what the next one has to name
}

// RotateRunner makes a new key for the runner whose key caller has come with.
// The old one works for Limits.Overlap. Until the new key is used, asking again
// replaces it, so that no runner is locked out by an answer that got lost.
func (h *Handler) RotateRunner(ctx context.Context, caller keywright.Principal) (Rotated, error) {
	var made Rotated
	err := endpoint.Retry(func() error {
		r, err := h.loadRunner(ctx, caller.Subject)
		if err != nil {
			return err
		}
		if r.Thumbprint != "" {
			return keywright.Errorf(keywright.CodeConflict, "This runner has a key pair: it refreshes")
		}
		now := h.host.Hooks.Now()
		rotation := keywright.Rotation{Overlap: h.limits.Overlap, FirstUse: true, Repeat: true}
		if h.limits.RunnerKey > 0 {
			rotation.Expires = now.Add(h.limits.RunnerKey)
		}
		m, ops, err := h.host.Keys.Succeed(ctx, caller.Credential, rotation)
		if err != nil {
			return err
		}
		r.Key = m.ID
		record, err := r.record()
		if err != nil {
			return err
		}
		made = Rotated{ID: r.ID, APIKey: m.Text, Expires: rotation.Expires, OldUntil: now.Add(h.limits.Overlap)}
		return h.host.Commit(ctx, runnerEvent("provisioning.runner_rotated", caller, r), append(ops, store.Replace(record))...)
	})
	return made, err
}

// SignRefresh makes the proof of a refresh by the runner with the given id, for
// the server at that URL. sequence is what the last refresh gave; 0 at first.
func SignRefresh(signer crypto.Signer, serverURL, id string, sequence int64, now time.Time) (proof string, err error) {
	return jose.Sign(signer, jose.Header{Type: refreshType}, proofClaims{
		Audience: serverURL, Subject: id, IssuedAt: now.Unix(), Expires: now.Add(proofLife).Unix(), ID: rand.Text(), Sequence: &sequence,
	})
}

// Refresh makes an API key for a while for a runner with a key pair, which the
// proof is signed with.
//
// With Config.DetectClones each refresh names the number that the one before
// has given. An older one means that somebody has copied the key pair, and with
// it the numbers: the runner is locked, whoever of the two asks, with an event
// "provisioning.clone_detected", until an administrator enables it or enrols it
// anew. The number before the last is no sign of that as long as the key that
// came with the last was not used: then its answer got lost, and that key ends.
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
		claims, err := h.refreshProof(ctx, r, proof)
		switch {
		case err != nil:
			return err
		case r.Locked:
			return keywright.Errorf(keywright.CodeInsufficientScope, "This runner is locked: its key pair was used twice")
		case r.Disabled:
			return keywright.Errorf(keywright.CodeInsufficientScope, "This runner is disabled")
		}
		made, err = h.refresh(ctx, r, claims)
		return err
	})
	return made, err
}

func badProof(cause error) error { return unauthorized(textBadRun, fmt.Errorf("proof: %w", cause)) }

// refreshProof verifies a proof by the runner's own key.
func (h *Handler) refreshProof(ctx context.Context, r storedRunner, proof string) (jose.Claims, error) {
	if r.Thumbprint == "" {
		return jose.Claims{}, badProof(errors.New("the runner has no key pair"))
	}
	records, err := h.host.Store.Get(ctx, agent.Key(r.Thumbprint))
	switch {
	case err != nil:
		return jose.Claims{}, err
	case !records[0].Exists():
		return jose.Claims{}, badProof(errors.New("the runner's key pair is gone"))
	}
	a, err := agent.Read(records[0])
	if err != nil {
		return jose.Claims{}, keywright.Wrap(keywright.CodeInternal, err)
	}
	key, err := jose.ParseJWK(a.JWK)
	if err != nil {
		return jose.Claims{}, keywright.Wrap(keywright.CodeInternal, err)
	}
	claims, err := h.readProof(proof, refreshType, r.ID, key)
	if err != nil {
		return jose.Claims{}, badProof(err)
	}
	return claims, nil
}

func (h *Handler) refresh(ctx context.Context, r storedRunner, claims jose.Claims) (Rotated, error) {
	used, err := h.proofMarker(r, claims)
	if err != nil {
		return Rotated{}, err
	}
	ops, err := h.checkSequence(ctx, &r, claims)
	if err != nil {
		return Rotated{}, err
	}
	if r.Locked {
		return Rotated{}, h.lock(ctx, r, used)
	}
	spec := h.keySpec(r)
	spec.Expires = h.host.Hooks.Now().Add(orDefault(h.limits.RunnerKey, refreshedLife)).UTC().Truncate(time.Second)
	m, err := h.host.Keys.Mint(spec)
	if err != nil {
		return Rotated{}, err
	}
	r.Key = m.ID
	record, err := r.record()
	if err != nil {
		return Rotated{}, err
	}
	err = h.host.Commit(ctx, runnerEvent("provisioning.runner_refreshed", keywright.Principal{Credential: r.Thumbprint, Subject: r.ID}, r),
		append(ops, store.Insert(used), m.Op, store.Replace(record))...)
	if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Kind == KindProof {
		return Rotated{}, badProof(errors.New("it was used before"))
	}
	return Rotated{ID: r.ID, APIKey: m.Text, Expires: spec.Expires, Sequence: r.Sequence}, err
}

// proofMarker is the record that a proof was used.
func (h *Handler) proofMarker(r storedRunner, claims jose.Claims) (store.Record, error) {
	id, err := claims.String("jti")
	if err != nil || id == "" || len(id) > maxText {
		return store.Record{}, badProof(errors.New("it has no usable jti"))
	}
	times, err := claims.Times(h.host.Hooks.Now(), proofSkew, maxProofLife)
	if err != nil {
		return store.Record{}, badProof(err)
	}
	return store.Record{Kind: KindProof, ID: store.ID(r.ID, r.Thumbprint, id), Expires: times.Expires.Add(proofSkew + time.Minute), Data: []byte("{}")}, nil
}

// checkSequence moves r's number on, or locks r.
func (h *Handler) checkSequence(ctx context.Context, r *storedRunner, claims jose.Claims) ([]store.Op, error) {
	if !h.clones {
		r.Sequence++
		return nil, nil
	}
	n, err := claims.Int("seq")
	switch {
	case errors.Is(err, strictjson.ErrAbsent), err != nil:
		return nil, badProof(errors.New("it has no usable seq"))
	case n == r.Sequence:
		r.Sequence++
		return nil, nil
	case n != r.Sequence-1:
		r.Locked = true
		return nil, nil
	}
	records, err := h.host.Store.Get(ctx, store.Key{Kind: keywright.KindKeyFirst, ID: r.Key}, store.Key{Kind: keywright.KindKey, ID: r.Key})
	switch {
	case err != nil:
		return nil, err
	case records[0].Exists() || !records[1].Exists():
		r.Locked = true
		return nil, nil
	}
	return []store.Op{store.Delete(records[1])}, nil // its answer got lost
}

// lock ends the use of a key pair that two parties have.
func (h *Handler) lock(ctx context.Context, r storedRunner, used store.Record) error {
	r.Disabled = true
	record, err := r.record()
	if err != nil {
		return err
	}
	e := runnerEvent("provisioning.clone_detected", keywright.Principal{Credential: r.Thumbprint, Subject: r.ID}, r)
	if err := h.host.Commit(ctx, e, store.Insert(used), store.Replace(record)); err != nil {
		return err
	}
	h.host.Hooks.Logger.WarnContext(ctx, "provisioning: a runner's key pair is in use twice: runner locked", "runner", r.ID)
	return keywright.Errorf(keywright.CodeInsufficientScope, "This runner is locked: its key pair was used twice")
}
