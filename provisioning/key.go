package provisioning

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// KindKey is the store kind of provisioning keys. The record is the parent of
// the API key, which rotation replaces, and of enrolments that are pending.
const KindKey = "provisioning.key"

// maxPending is how many slots for pending enrolments one Get can look at.
const maxPending = 200

type keyRecord struct {
	KeySettings
	Instance  string    `json:"instance"` // see keywright.Parent
	Disabled  bool      `json:"disabled,omitempty"`
	Current   string    `json:"current"`            // public id of the API key
	Imported  bool      `json:"imported,omitempty"` // Current is: its text says nothing of its id
	Previous  string    `json:"previous,omitempty"` // that which Current has taken over from
	CreatedBy string    `json:"created_by"`
	CreatedAt time.Time `json:"created_at"`
}

// A storedKey is a provisioning key with what a change needs.
type storedKey struct {
	keyRecord
	version int64
}

func keyOf(id string) store.Key { return store.Key{Kind: KindKey, ID: store.ID(id)} }

func (k storedKey) record() (store.Record, error) {
	data, err := json.Marshal(k.keyRecord)
	return store.Record{Kind: KindKey, ID: store.ID(k.ID), Version: k.version, Expires: k.Expires, Data: data}, err
}

func (k storedKey) parent() keywright.Parent {
	return keywright.Parent{Key: keyOf(k.ID), Instance: k.Instance}
}

func (k storedKey) counter() string { return store.ID("provisioning.uses", k.ID, k.Instance) }

func readKey(r store.Record) (storedKey, error) {
	k := storedKey{version: r.Version}
	if err := json.Unmarshal(r.Data, &k.keyRecord); err != nil {
		return storedKey{}, spoiled(r, err)
	}
	return k, nil
}

// spoiled is a record of ours that cannot be read.
func spoiled(r store.Record, err error) error {
	return keywright.Wrap(keywright.CodeInternal, fmt.Errorf("provisioning: record %s %s: %w", r.Kind, r.ID, err))
}

// check completes s.
func (s *KeySettings) check(now time.Time) error {
	if err := checkKeyID(s.ID); err != nil {
		return err
	}
	if err := checkText("description", s.Description, maxDescription); err != nil {
		return err
	}
	if err := checkPattern("runner_pattern", s.Pattern); err != nil {
		return err
	}
	s.Expires = s.Expires.UTC().Truncate(time.Second)
	switch {
	case !s.Expires.IsZero() && (!s.Expires.After(now) || s.Expires.After(now.Add(maxLife))):
		return invalid("expires_at: want a time within the next 100 years")
	case s.MaxUses < 0 || s.MaxUses > math.MaxInt32:
		return invalid("max_uses: want 1 to %d, or 0 for no limit", math.MaxInt32)
	case s.MaxPending < 0 || s.MaxPending > maxPending:
		return invalid("max_pending: want 1 to %d, or 0 for no limit", maxPending)
	case s.PerHour < 0 || s.PerHour > math.MaxInt32:
		return invalid("per_hour: want 1 to %d, or 0 for the server's", math.MaxInt32)
	case len(s.Networks) > maxName:
		return invalid("networks: more than %d", maxName)
	}
	s.Networks = slices.Clone(s.Networks)
	for i, n := range s.Networks {
		if !n.IsValid() || n.Addr().Is4In6() {
			return invalid("networks: want IPv4 and IPv6 networks such as 192.0.2.0/24")
		}
		s.Networks[i] = n.Masked()
	}
	if err := checkWords("scopes", s.Scopes); err != nil {
		return err
	}
	return checkWords("tags", s.Tags)
}

func keyNotFound() error { return keywright.Errorf(keywright.CodeNotFound, "Key not found") }

// CreateKey makes a provisioning key on behalf of actor. One whose ID is taken
// is CodeConflict, and changes nothing.
func (h *Handler) CreateKey(ctx context.Context, actor keywright.Principal, s KeySettings) (NewKey, error) {
	k, err := h.draftKey(actor, s)
	if err != nil {
		return NewKey{}, err
	}
	m, err := h.host.Keys.Mint(k.spec(h.base))
	if err != nil {
		return NewKey{}, err
	}
	k.Current = m.ID
	if err := h.insertKey(ctx, actor, k, m.Op); err != nil {
		return NewKey{}, err
	}
	return NewKey{Key: h.describe(k, keywright.KeyInfo{ID: m.ID}), APIKey: m.Text}, nil
}

// ImportKey makes a provisioning key of one that another server has issued, so
// that those who hold text need not change it. It works only while the host's
// ImportedKeys is on.
func (h *Handler) ImportKey(ctx context.Context, actor keywright.Principal, s KeySettings, text string) (Key, error) {
	k, err := h.draftKey(actor, s)
	if err != nil {
		return Key{}, err
	}
	id, ops, err := h.host.Keys.MintImported(k.spec(h.base), text)
	if err != nil {
		return Key{}, err
	}
	k.Current, k.Imported = id, true
	if err := h.insertKey(ctx, actor, k, ops...); err != nil {
		return Key{}, err
	}
	return h.describe(k, keywright.KeyInfo{ID: id}), nil
}

func (h *Handler) draftKey(actor keywright.Principal, s KeySettings) (storedKey, error) {
	now := h.host.Hooks.Now()
	if err := s.check(now); err != nil {
		return storedKey{}, err
	}
	return storedKey{keyRecord: keyRecord{
		KeySettings: s, Instance: rand.Text(), CreatedBy: actor.Subject, CreatedAt: now.UTC().Truncate(time.Second),
	}}, nil
}

func (k storedKey) spec(issuer string) keywright.KeySpec {
	return keywright.KeySpec{
		Kind: KeyKind, Method: keywright.MethodProvisioning, Issuer: issuer, Subject: k.ID,
		Description: "provisioning key " + k.ID, Expires: k.Expires, Parents: []keywright.Parent{k.parent()},
	}
}

func (h *Handler) insertKey(ctx context.Context, actor keywright.Principal, k storedKey, ops ...store.Op) error {
	record, err := k.record()
	if err != nil {
		return err
	}
	switch err := h.host.Commit(ctx, keyEvent("provisioning.key_created", actor, k), append(ops, store.Insert(record))...); {
	case errors.Is(err, store.ErrExists):
		return keywright.Errorf(keywright.CodeConflict, "Failed to create provisioning key (key_id may already exist)")
	case err != nil:
		return keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return nil
}

func keyEvent(name string, actor keywright.Principal, k storedKey) keywright.Event {
	return keywright.Event{Name: name, Actor: actor.Credential, Target: k.ID, Attrs: map[string]string{"by": actor.Subject, "key": k.Current}}
}

// loadKey returns a key, or an error of CodeNotFound.
func (h *Handler) loadKey(ctx context.Context, id string) (storedKey, error) {
	if checkKeyID(id) != nil {
		return storedKey{}, keyNotFound()
	}
	records, err := h.host.Store.Get(ctx, keyOf(id))
	switch {
	case err != nil:
		return storedKey{}, keywright.Wrap(keywright.CodeUnavailable, err)
	case !records[0].Exists():
		return storedKey{}, keyNotFound()
	}
	return readKey(records[0])
}

// DisableKey refuses the key and the enrolments that it has pending from the
// next request on, in every process. It can be enabled again.
func (h *Handler) DisableKey(ctx context.Context, actor keywright.Principal, id string) error {
	return h.setKeyDisabled(ctx, actor, id, true)
}

// EnableKey undoes DisableKey.
func (h *Handler) EnableKey(ctx context.Context, actor keywright.Principal, id string) error {
	return h.setKeyDisabled(ctx, actor, id, false)
}

func (h *Handler) setKeyDisabled(ctx context.Context, actor keywright.Principal, id string, disabled bool) error {
	name := "provisioning.key_enabled"
	if disabled {
		name = "provisioning.key_disabled"
	}
	return endpoint.Retry(func() error {
		k, err := h.loadKey(ctx, id)
		if err != nil || k.Disabled == disabled {
			return err
		}
		k.Disabled = disabled
		record, err := k.record()
		if err != nil {
			return err
		}
		return h.host.Commit(ctx, keyEvent(name, actor, k), store.Replace(record))
	})
}

// DeleteKey ends a key for good, and the enrolments that it has pending.
// Runners that are enrolled live on.
func (h *Handler) DeleteKey(ctx context.Context, actor keywright.Principal, id string) error {
	return endpoint.Retry(func() error {
		k, err := h.loadKey(ctx, id)
		if err != nil {
			return err
		}
		// The parent's end is enough; the key is deleted so that nothing is left.
		ops, err := h.host.Keys.Deletion(ctx, k.Current)
		if err != nil {
			return err
		}
		ops = append(ops, store.Delete(store.Record{Kind: KindKey, ID: store.ID(id), Version: k.version}))
		return h.host.Commit(ctx, keyEvent("provisioning.key_deleted", actor, k), ops...)
	})
}

// endOf finds in the ops of a rotation when the old key ends; zero: at once.
func endOf(id string, ops []store.Op) time.Time {
	for _, op := range ops {
		if op.Action == store.ActionReplace && op.Record.Key() == (store.Key{Kind: keywright.KindKey, ID: id}) {
			return op.Record.Expires
		}
	}
	return time.Time{}
}
