package exchange

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// A PublisherInfo is a publisher as it stands.
type PublisherInfo struct {
	Publisher
	Static   bool     // of the configuration: it can be disabled here, and nothing else
	Version  string   // of what is stored; see Replace
	Overlaps []string // others that one token could match as well, and would be refused for; only from Create and Replace
}

func (r *rule) info() PublisherInfo {
	return PublisherInfo{Publisher: r.Publisher.clone(), Static: r.static, Version: strconv.FormatInt(r.version, 10)}
}

func storedRecord(p Publisher, instance string, version int64) (store.Record, error) {
	data, err := json.Marshal(publisherRecord{p.wire(), instance})
	// A pending publisher that nobody came for goes by itself.
	return store.Record{Kind: KindPublisher, ID: p.ID, Version: version, Expires: p.PendingUntil, Data: data}, err
}

// Publishers returns up to limit publishers whose ids follow after, in the
// order of their ids; 0: all.
func (h *Handler) Publishers(ctx context.Context, after string, limit int) ([]PublisherInfo, error) {
	s, err := h.registry.load(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*rule, 0, len(s.rules))
	for id, r := range s.rules {
		if id > after && !r.lapsed(h.host.Hooks.Now()) {
			all = append(all, r)
		}
	}
	sortByID(all)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	infos := make([]PublisherInfo, len(all))
	for i, r := range all {
		infos[i] = r.info()
	}
	return infos, nil
}

// Publisher returns the one with the given id, or an error of CodeNotFound.
func (h *Handler) Publisher(ctx context.Context, id string) (PublisherInfo, error) {
	_, r, err := h.lookup(ctx, id)
	if err != nil {
		return PublisherInfo{}, err
	}
	return r.info(), nil
}

func (h *Handler) lookup(ctx context.Context, id string) (*snapshot, *rule, error) {
	s, err := h.registry.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	r := s.rules[id]
	if r == nil || r.lapsed(h.host.Hooks.Now()) {
		return nil, nil, &keywright.Error{Code: keywright.CodeNotFound}
	}
	return s, r, nil
}

// stored returns a publisher that can be written.
func (h *Handler) stored(s *snapshot, id string) (*rule, error) {
	switch r := s.rules[id]; {
	case r == nil || r.lapsed(h.host.Hooks.Now()):
		return nil, &keywright.Error{Code: keywright.CodeNotFound}
	case r.static:
		return nil, keywright.Errorf(keywright.CodeConflict, "the publisher is one of the configuration: change it there")
	default:
		return r, nil
	}
}

// prepare checks a publisher that is to be stored.
func (h *Handler) prepare(s *snapshot, p Publisher) (*rule, error) {
	r, err := h.registry.rule(p)
	if err == nil && p.lapsed(h.host.Hooks.Now()) {
		err = fmt.Errorf("publisher %q: pending_until: lies in the past", p.ID)
	}
	if err == nil {
		err = s.check(r)
	}
	if err != nil {
		return nil, &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	return r, nil
}

// Create stores a publisher on behalf of actor. What is wrong with it is said
// now, with CodeInvalidRequest, and not at the first login; an id that is taken
// is CodeConflict. Publishers that overlap with it are reported, and allowed.
func (h *Handler) Create(ctx context.Context, actor keywright.Principal, p Publisher) (PublisherInfo, error) {
	var info PublisherInfo
	err := endpoint.Retry(func() error {
		s, err := h.registry.load(ctx)
		if err != nil {
			return err
		}
		r, err := h.prepare(s, p)
		if err != nil {
			return err
		}
		if s.left[p.ID] != 0 {
			return keywright.Errorf(keywright.CodeConflict, "there is a publisher with this id, which does not fit the configuration: delete it first")
		}
		if old := s.rules[p.ID]; old != nil && !old.lapsed(h.host.Hooks.Now()) {
			return keywright.Errorf(keywright.CodeConflict, "there is a publisher with this id")
		}
		record, err := storedRecord(r.Publisher, rand.Text(), 0)
		if err != nil {
			return err
		}
		info, err = h.save(ctx, s, r, h.event("exchange.publisher_created", actor, r), store.Insert(record))
		return err
	})
	return info, err
}

// Replace stores p over the publisher with its id. version is that of the
// [PublisherInfo] which the change goes back to, so that none made meanwhile is
// lost: CodeConflict; empty: whatever stands there. Keys issued before live on;
// disable the publisher to end them.
func (h *Handler) Replace(ctx context.Context, actor keywright.Principal, p Publisher, version string) (PublisherInfo, error) {
	var info PublisherInfo
	err := endpoint.Retry(func() error {
		s, err := h.registry.load(ctx)
		if err != nil {
			return err
		}
		old, err := h.stored(s, p.ID)
		switch {
		case err != nil:
			return err
		case version != "" && version != strconv.FormatInt(old.version, 10):
			return keywright.Errorf(keywright.CodeConflict, "the publisher has been changed meanwhile")
		}
		r, err := h.prepare(s, p)
		if err != nil {
			return err
		}
		record, err := storedRecord(r.Publisher, old.instance, old.version)
		if err != nil {
			return err
		}
		info, err = h.save(ctx, s, r, h.event("exchange.publisher_replaced", actor, r), store.Replace(record))
		return err
	})
	return info, err
}

// save commits op with what else a change of a publisher needs, and returns the
// publisher as it stands then.
func (h *Handler) save(ctx context.Context, s *snapshot, r *rule, e keywright.Event, op store.Op) (PublisherInfo, error) {
	issuer, err := s.newIssuer(r.issuer)
	if err != nil {
		return PublisherInfo{}, err
	}
	if err := h.host.Commit(ctx, e, append(issuer, op, bump())...); err != nil {
		return PublisherInfo{}, err
	}
	info := r.info()
	if x := s.indexes[r.issuer]; x != nil {
		info.Overlaps = x.overlapping(r)
	}
	if _, now, err := h.lookup(ctx, r.ID); err == nil {
		info.Version = now.info().Version
	}
	return info, nil
}

func (h *Handler) event(name string, actor keywright.Principal, r *rule) keywright.Event {
	return keywright.Event{Name: name, Actor: actor.Credential, Target: r.ID, Attrs: map[string]string{
		"issuer": r.issuer, "subject": r.Subject + r.SubjectClaim, "scope": strings.Join(r.Scopes, " "),
	}}
}

// Delete ends a publisher, and with it all keys that were issued by it. It also
// works on a stored one that is left out because it does not fit the
// configuration any more, or because that has one of the same id.
func (h *Handler) Delete(ctx context.Context, actor keywright.Principal, id string) error {
	return endpoint.Retry(func() error {
		s, err := h.registry.load(ctx)
		if err != nil {
			return err
		}
		e := keywright.Event{Name: "exchange.publisher_deleted", Actor: actor.Credential, Target: id}
		version, left := s.left[id]
		if !left {
			r, err := h.stored(s, id)
			if err != nil {
				return err
			}
			e, version = h.event(e.Name, actor, r), r.version
		}
		return h.host.Commit(ctx, e, store.Delete(store.Record{Kind: KindPublisher, ID: id, Version: version}), bump())
	})
}

// Disable makes a publisher match nothing, and refuses all its keys from the
// next request on, in every process. It works on those of the configuration too.
func (h *Handler) Disable(ctx context.Context, actor keywright.Principal, id string) (PublisherInfo, error) {
	return h.setDisabled(ctx, actor, id, true)
}

// Enable undoes Disable. Keys that have not expired work again.
func (h *Handler) Enable(ctx context.Context, actor keywright.Principal, id string) (PublisherInfo, error) {
	return h.setDisabled(ctx, actor, id, false)
}

func (h *Handler) setDisabled(ctx context.Context, actor keywright.Principal, id string, disabled bool) (PublisherInfo, error) {
	err := endpoint.Retry(func() error {
		_, r, err := h.lookup(ctx, id)
		if err != nil {
			return err
		}
		if r.Disabled == disabled && (!r.static || r.suspended == disabled) {
			return nil
		}
		op, err := h.disable(r, disabled)
		if err != nil {
			return err
		}
		name := "exchange.publisher_enabled"
		if disabled {
			name = "exchange.publisher_disabled"
		}
		return h.host.Commit(ctx, h.event(name, actor, r), op, bump())
	})
	if err != nil {
		return PublisherInfo{}, err
	}
	return h.Publisher(ctx, id)
}

// disable makes the op that writes r's state.
func (h *Handler) disable(r *rule, disabled bool) (store.Op, error) {
	if !r.static {
		p := r.Publisher.clone()
		p.Disabled = disabled
		record, err := storedRecord(p, r.instance, r.version)
		return store.Replace(record), err
	}
	for _, s := range h.registry.static {
		if s.ID == r.ID && s.Disabled && !disabled {
			return store.Op{}, keywright.Errorf(keywright.CodeConflict, "the publisher is disabled in the configuration: enable it there")
		}
	}
	st := state{Instance: r.instance, Disabled: disabled, Admin: disabled, version: r.version}
	if st.version == 0 {
		st.Instance = rand.Text()
	}
	return put(r.key(), st)
}

// put inserts or replaces the record of a state.
func put(key store.Key, s state) (store.Op, error) {
	record, err := s.record(key)
	if s.version == 0 {
		return store.Insert(record), err
	}
	return store.Replace(record), err
}
