package keywright

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// The store kinds of API keys; the ID is the key's public id, but for
// KindKeyImported.
const (
	KindKey         = "key"          // the key itself, while it lives
	KindKeyFirst    = "key.first"    // stands once a key that tracks it was used
	KindKeyLast     = "key.last"     // when it was last used, and from where, written now and then
	KindKeyImported = "key.imported" // finds an imported key; the ID is the SHA-256 of its text, in hexadecimal
)

// A KeySpec says what a new key stands for.
type KeySpec struct {
	Kind        string // one of HostConfig.Kinds
	Method      Method // which way the key was obtained
	Issuer      string // these become the Principal's
	Subject     string // required
	Scopes      []string
	Attrs       map[string]string
	Description string    // for people
	Expires     time.Time // zero: never

	// Parents, four at most, are records without any of which the key is
	// refused. One change of a parent ends or suspends any number of keys.
	Parents []Parent

	// FirstUse records exactly, before it takes effect, that the key was used.
	FirstUse bool

	// Temporary keys are meant to be replaced soon: an event tells now and
	// then that one is still in use.
	Temporary bool
}

// A Parent is a record that keys hang on. While its JSON has a true member
// "disabled" they are suspended.
type Parent struct {
	store.Key

	// Instance, unless empty, must be the member "instance" of the parent's
	// JSON: a record that was deleted and made anew under the same key, but
	// with another instance, is no parent of the keys of the first.
	Instance string `json:"instance,omitempty"`
}

// parentState is what the JSON of a parent may say of its keys.
type parentState struct {
	Disabled bool   `json:"disabled"`
	Instance string `json:"instance"`
}

func parentKeys(parents []Parent) []store.Key {
	keys := make([]store.Key, len(parents))
	for i, p := range parents {
		keys[i] = p.Key
	}
	return keys
}

// credential is what KindKey keeps. It holds no secret.
type credential struct {
	Hash        token.Hash        `json:"hash"`
	Kind        string            `json:"kind"`
	Method      Method            `json:"method"`
	Issuer      string            `json:"iss,omitempty"`
	Subject     string            `json:"sub"`
	Scopes      []string          `json:"scopes,omitempty"`
	Attrs       map[string]string `json:"attrs,omitempty"`
	Description string            `json:"desc,omitempty"`
	Created     time.Time         `json:"created"`
	Expires     time.Time         `json:"expires,omitzero"`
	Disabled    bool              `json:"disabled,omitempty"`
	Parents     []Parent          `json:"parents,omitempty"`
	FirstUse    bool              `json:"first_use,omitempty"`
	Temporary   bool              `json:"temporary,omitempty"`
	Successor   string            `json:"successor,omitempty"` // the id of the key it was rotated to

	// The first use of this key ends the one that it was rotated from, unless
	// empty, after the overlap.
	Predecessor string        `json:"predecessor,omitempty"`
	Overlap     time.Duration `json:"overlap,omitempty"`
	Imported    string        `json:"imported,omitempty"` // the ID of its KindKeyImported; empty: made here
}

func newCredential(s KeySpec, now time.Time) credential {
	return credential{
		Kind: s.Kind, Method: s.Method, Issuer: s.Issuer, Subject: s.Subject, Scopes: slices.Clone(s.Scopes),
		Attrs: maps.Clone(s.Attrs), Description: s.Description, Created: now, Expires: s.Expires,
		Parents: slices.Clone(s.Parents), FirstUse: s.FirstUse, Temporary: s.Temporary,
	}
}

func (c *credential) spec() KeySpec {
	return KeySpec{
		Kind: c.Kind, Method: c.Method, Issuer: c.Issuer, Subject: c.Subject, Scopes: slices.Clone(c.Scopes),
		Attrs: maps.Clone(c.Attrs), Description: c.Description, Expires: c.Expires,
		Parents: slices.Clone(c.Parents), FirstUse: c.FirstUse, Temporary: c.Temporary,
	}
}

func (c *credential) record(id string, version int64) (store.Record, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return store.Record{}, fmt.Errorf("keywright: encode key: %w", err)
	}
	return store.Record{Kind: KindKey, ID: id, Version: version, Expires: c.Expires, Data: data}, nil
}

func (c *credential) validAt(t time.Time) bool {
	return !c.Disabled && (c.Expires.IsZero() || t.Before(c.Expires))
}

func (c *credential) principal(id string) Principal {
	return Principal{
		Method: c.Method, Issuer: c.Issuer, Subject: c.Subject, Scopes: slices.Clone(c.Scopes),
		Credential: id, Expires: c.Expires, Attrs: maps.Clone(c.Attrs),
	}
}

// known is a credential as this process last decoded it, and what it remembers
// of it. The store is still asked on every request; only decoding is saved.
type known struct {
	credential
	id      string
	version int64

	firstUsed atomic.Bool              // KindKeyFirst stands
	parents   []atomic.Int64           // versions at which the parents were not disabled
	slow      atomic.Pointer[[32]byte] // SHA-256 of the text that a slow hash has matched
	touched   atomic.Int64             // when the last use was last written, in Unix seconds
	warned    atomic.Int64             // when a temporary key was last reported, in Unix seconds
}

func (k *known) info() KeyInfo {
	return KeyInfo{
		KeySpec: k.spec(), ID: k.id, Created: k.Created, Disabled: k.Disabled,
		Successor: k.Successor, Used: k.firstUsed.Load(),
	}
}

func decodeCredential(r store.Record) (*known, error) {
	k := &known{id: r.ID, version: r.Version}
	if err := json.Unmarshal(r.Data, &k.credential); err != nil {
		return nil, fmt.Errorf("keywright: record of key %s: %w", r.ID, err)
	}
	k.parents = make([]atomic.Int64, len(k.Parents))
	return k, nil
}

// maxKnown bounds the decoded credentials that a process remembers: some 50 MB.
const maxKnown = 1 << 16

// knownKeys remembers credentials whose keys were presented, so that a
// stranger cannot fill it. It is a cache: forgetting costs time only.
type knownKeys struct {
	mu   sync.RWMutex
	byID map[string]*known // guarded by mu
}

func (c *knownKeys) get(id string) *known {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byID[id]
}

// put remembers k and returns what is remembered: of several requests that
// decoded one version at once, all go on with the same.
func (c *knownKeys) put(k *known) *known {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch old := c.byID[k.id]; {
	case old != nil && old.version == k.version:
		return old
	case old != nil:
		k.touched.Store(old.touched.Load())
		k.warned.Store(old.warned.Load())
	case len(c.byID) >= maxKnown:
		for id := range c.byID {
			delete(c.byID, id)
			break
		}
	}
	c.byID[k.id] = k
	return k
}
