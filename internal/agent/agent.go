// Package agent keeps the record of a machine that has a key pair of its own,
// whichever mechanism has enrolled it. It holds the public key, and nothing that
// anybody could authenticate with.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// Kind is the store kind of agents. The ID is the thumbprint of the public key
// (RFC 7638), so one key is one agent.
const Kind = "agent"

// A Record is what is known of an agent.
type Record struct {
	Name     string            `json:"name"` // the Subject of its Principal
	JWK      json.RawMessage   `json:"jwk"`
	Scopes   []string          `json:"scopes,omitempty"`
	Attrs    map[string]string `json:"attrs,omitempty"`
	Created  time.Time         `json:"created"`
	Disabled bool              `json:"disabled,omitempty"`

	// Own is what the mechanism that has enrolled it keeps beside.
	Own json.RawMessage `json:"own,omitempty"`

	// Parents are records without any of which the agent is refused, as the
	// keys of keywright.KeySpec are.
	Parents []keywright.Parent `json:"parents,omitempty"`
}

// Key names the record of an agent.
func Key(thumbprint string) store.Key { return store.Key{Kind: Kind, ID: thumbprint} }

// Store returns the record as a store keeps it, over the one of version.
func (a Record) Store(thumbprint string, version int64) (store.Record, error) {
	data, err := json.Marshal(a)
	return store.Record{Kind: Kind, ID: thumbprint, Version: version, Data: data}, err
}

// Read is the reverse of Store.
func Read(r store.Record) (Record, error) {
	var a Record
	if err := json.Unmarshal(r.Data, &a); err != nil {
		return Record{}, fmt.Errorf("agent: record %s: %w", r.ID, err)
	}
	return a, nil
}

// ErrRefused says that there is no agent with a key of this thumbprint, or that
// it or what it hangs on is disabled or gone.
var ErrRefused = errors.New("agent: unknown, disabled, or without what it hangs on")

// Find returns the agent with the given thumbprint and its public key, if it
// would be let in now. An error other than ErrRefused is trouble.
func Find(ctx context.Context, st store.Store, thumbprint string) (Record, jose.Key, error) {
	if err := store.ValidateKeys(Key(thumbprint)); err != nil {
		return Record{}, jose.Key{}, ErrRefused
	}
	records, err := st.Get(ctx, Key(thumbprint))
	if err != nil {
		return Record{}, jose.Key{}, err
	}
	a, err := Standing(ctx, st, records[0])
	if err != nil {
		return Record{}, jose.Key{}, err
	}
	key, err := jose.ParseJWK(a.JWK)
	if err != nil {
		return Record{}, jose.Key{}, fmt.Errorf("agent: record %s: %w", thumbprint, err)
	}
	return a, key, nil
}

// Standing is Find for who has got the record of [Key] from st, and has seen the
// public key.
func Standing(ctx context.Context, st store.Store, r store.Record) (Record, error) {
	if !r.Exists() {
		return Record{}, ErrRefused
	}
	a, err := Read(r)
	if err != nil {
		return Record{}, err
	}
	if err := a.stands(ctx, st); err != nil {
		return Record{}, err
	}
	return a, nil
}

func (a Record) stands(ctx context.Context, st store.Store) error {
	switch {
	case a.Disabled:
		return ErrRefused
	case len(a.Parents) == 0:
		return nil
	}
	keys := make([]store.Key, len(a.Parents))
	for i, p := range a.Parents {
		keys[i] = p.Key
	}
	records, err := st.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i, r := range records {
		var state struct {
			Disabled bool   `json:"disabled"`
			Instance string `json:"instance"`
		}
		if !r.Exists() {
			return ErrRefused
		}
		if err := json.Unmarshal(r.Data, &state); err != nil {
			return fmt.Errorf("agent: parent %s %s: %w", r.Kind, r.ID, err)
		}
		if want := a.Parents[i].Instance; state.Disabled || want != "" && state.Instance != want {
			return ErrRefused
		}
	}
	return nil
}
