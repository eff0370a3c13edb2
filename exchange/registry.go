package exchange

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/oidc"
	"github.com/keywright/keywright/store"
)

// The store kinds of this package.
const (
	KindPublisher = "exchange.publisher" // a stored publisher, by id; parent of its keys
	KindStatic    = "exchange.static"    // the state of a configured publisher, by id; parent of its keys
	KindIssuer    = "exchange.issuer"    // the state of an issuer; parent of the keys of all its publishers
	KindEpoch     = "exchange.epoch"     // one record that is written with every change of the others
	KindToken     = "exchange.jti"       // an identity token that was used, until it would have expired
)

var epochKey = store.Key{Kind: KindEpoch, ID: "publishers"}

// bump tells all processes to read the publishers again.
func bump() store.Op {
	return store.Put(store.Record{Kind: epochKey.Kind, ID: epochKey.ID, Data: []byte("{}")})
}

// A state is the record of a configured publisher or of an issuer.
type state struct {
	Issuer   string `json:"issuer,omitempty"`   // of an issuer's record
	Instance string `json:"instance,omitempty"` // of a publisher's: see keywright.Parent
	Disabled bool   `json:"disabled,omitempty"` // by the configuration or by an administrator
	Admin    bool   `json:"admin,omitempty"`    // by an administrator, whatever the configuration says

	version int64 // of the record; 0: there is none yet
}

func (s state) record(key store.Key) (store.Record, error) {
	data, err := json.Marshal(s)
	return store.Record{Kind: key.Kind, ID: key.ID, Version: s.version, Data: data}, err
}

func issuerKey(issuer string) store.Key { return store.Key{Kind: KindIssuer, ID: store.ID(issuer)} }

// key is the record that r's keys hang on.
func (r *rule) key() store.Key {
	if r.static {
		return store.Key{Kind: KindStatic, ID: r.ID}
	}
	return store.Key{Kind: KindPublisher, ID: r.ID}
}

// A registry reads the publishers of the configuration and of the store. A
// request asks the store for the epoch alone, and only after a change for more.
type registry struct {
	host    keywright.Host
	static  []*rule
	issuers *oidc.Issuers

	audience   string
	federation bool // the host can tell which accounts exist

	loading chan struct{} // one slot: changes are read by one request at a time
	current atomic.Pointer[snapshot]
}

// newRegistry checks the publishers of the configuration.
func newRegistry(host keywright.Host, issuers *oidc.Issuers, audience string, federation bool, static []Publisher) (*registry, error) {
	g := &registry{host: host, issuers: issuers, audience: audience, federation: federation, loading: make(chan struct{}, 1)}
	s := newSnapshot(0)
	for _, p := range static {
		r, err := g.rule(p)
		switch {
		case err != nil:
			return nil, err
		case !p.PendingUntil.IsZero():
			return nil, fmt.Errorf("publisher %q: only a stored publisher can be pending: what it learns must be kept", p.ID)
		case s.rules[p.ID] != nil:
			return nil, fmt.Errorf("publisher %q: twice", p.ID)
		}
		if err := s.check(r); err != nil {
			return nil, fmt.Errorf("publisher %q: %w", p.ID, err)
		}
		r.static = true
		g.static = append(g.static, r)
		s.add(r)
	}
	for _, r := range g.static {
		if others := s.indexes[r.issuer].overlapping(r); len(others) > 0 {
			host.Hooks.Logger.Warn("exchange: publishers overlap: a token that matches several is refused", "publisher", r.ID, "others", others)
		}
	}
	return g, nil
}

// load returns the publishers of now.
func (g *registry) load(ctx context.Context) (*snapshot, error) {
	if s, err := g.fresh(ctx); s != nil || err != nil {
		return s, err
	}
	select {
	case g.loading <- struct{}{}:
		defer func() { <-g.loading }()
	case <-ctx.Done():
		return nil, keywright.Wrap(keywright.CodeUnavailable, ctx.Err())
	}
	records, err := g.host.Store.Get(ctx, epochKey)
	if err != nil {
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	if s := g.current.Load(); s != nil && s.epoch == records[0].Version {
		return s, nil // another request has read them meanwhile
	}
	s, err := g.read(ctx, records[0].Version)
	if err != nil {
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	g.current.Store(s)
	g.issuers.Keep(func(issuer string) bool { return s.indexes[issuer] != nil })
	return s, nil
}

// fresh returns the current snapshot if its epoch is the store's.
func (g *registry) fresh(ctx context.Context) (*snapshot, error) {
	s := g.current.Load()
	if s == nil {
		return nil, nil
	}
	records, err := g.host.Store.Get(ctx, epochKey)
	if err != nil {
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	if s.epoch != records[0].Version {
		return nil, nil
	}
	return s, nil
}

// read makes the snapshot of an epoch. What changes while it reads belongs to a
// later epoch, which the next request will notice.
func (g *registry) read(ctx context.Context, epoch int64) (*snapshot, error) {
	s := newSnapshot(epoch)
	for r, err := range g.host.Store.List(ctx, store.Query{Kind: KindIssuer}) {
		var st state
		if err == nil {
			err = decode(r, &st)
		}
		if err != nil {
			return nil, err // without it a disabled issuer could be taken for a good one
		}
		st.version = r.Version
		s.issuers[st.Issuer] = st
	}
	if err := g.readStatic(ctx, s); err != nil {
		return nil, err
	}
	return s, g.readStored(ctx, s)
}

func (g *registry) readStatic(ctx context.Context, s *snapshot) error {
	states := make(map[string]state)
	for r, err := range g.host.Store.List(ctx, store.Query{Kind: KindStatic}) {
		var st state
		if err == nil {
			err = decode(r, &st)
		}
		if err != nil {
			return err
		}
		st.version = r.Version
		states[r.ID] = st
	}
	for _, static := range g.static {
		r := *static
		st := states[r.ID]
		r.version, r.instance, r.suspended, r.Disabled = st.version, st.Instance, st.Disabled, r.Disabled || st.Admin
		s.add(&r)
	}
	return nil
}

// readStored adds the stored publishers. One that cannot be read matches
// nothing, and does not take the others with it.
func (g *registry) readStored(ctx context.Context, s *snapshot) error {
	before := g.current.Load()
	for record, err := range g.host.Store.List(ctx, store.Query{Kind: KindPublisher}) {
		if err != nil {
			return err
		}
		if before != nil {
			if known := before.rules[record.ID]; known != nil && !known.static && known.version == record.Version {
				if s.check(known) == nil { // what it stands beside may have changed
					s.add(known)
				} else {
					s.left[record.ID] = record.Version
				}
				continue
			}
		}
		r, err := g.decodePublisher(record)
		if err == nil && s.rules[record.ID] != nil {
			err = fmt.Errorf("exchange: publisher %s is in the configuration too", record.ID)
		}
		if err == nil {
			err = s.check(r)
		}
		if err != nil {
			s.left[record.ID] = record.Version
			g.host.Hooks.Logger.LogAttrs(ctx, slog.LevelError, "exchange: a stored publisher is left out", slog.String("publisher", record.ID), slog.Any("error", err))
			continue
		}
		s.add(r)
	}
	return nil
}

func (g *registry) decodePublisher(record store.Record) (*rule, error) {
	// A member that is not known could be a condition of a newer version.
	var stored publisherRecord
	dec := json.NewDecoder(bytes.NewReader(record.Data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&stored); err != nil {
		return nil, fmt.Errorf("exchange: publisher %s: %w", record.ID, err)
	}
	// Rules that are stricter now than when it was saved apply to it as well.
	r, err := g.rule(stored.publisher())
	if err == nil {
		r.version, r.instance = record.Version, stored.Instance
	}
	return r, err
}

// rule checks p against all but the other publishers.
func (g *registry) rule(p Publisher) (*rule, error) {
	if err := p.Validate(g.host.Hooks.Now()); err != nil {
		return nil, err
	}
	if err := g.issuers.Check(p.issuer()); err != nil {
		return nil, fmt.Errorf("publisher %q: %w", p.ID, err)
	}
	// The default aud of GitLab's tokens is the instance, of CircleCI's the organization.
	if issuer := p.issuer(); g.audience == issuer || strings.HasSuffix(issuer, "/"+g.audience) {
		return nil, fmt.Errorf("publisher %q: issuer: its tokens have our audience %s without having been asked for: configure another audience", p.ID, g.audience)
	}
	if p.SubjectClaim != "" && !g.federation {
		return nil, fmt.Errorf("publisher %q: subject_claim: the host has no Config.Account that knows its accounts", p.ID)
	}
	return newRule(p), nil
}

func decode(r store.Record, v any) error {
	if err := json.Unmarshal(r.Data, v); err != nil {
		return fmt.Errorf("exchange: record %s %s: %w", r.Kind, r.ID, err)
	}
	return nil
}
