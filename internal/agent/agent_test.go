package agent_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

var (
	signer  = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	runner  = store.Key{Kind: "runner", ID: "one"}
	network = store.Key{Kind: "network", ID: "two"}
)

// thumbprint is that of signer's public key.
func thumbprint(t *testing.T) string {
	t.Helper()
	key, err := jose.PublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Thumbprint()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// record is an agent with the key of signer and two parents.
func record(t *testing.T) agent.Record {
	t.Helper()
	key, err := jose.PublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jose.MarshalJWK(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return agent.Record{
		Name: "one", JWK: jwk, Scopes: []string{"read"}, Attrs: map[string]string{"runner": "one"},
		Created: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		Parents: []keywright.Parent{{Key: runner, Instance: "first"}, {Key: network}},
	}
}

// put writes data under key, whatever is there.
func put(t *testing.T, st store.Store, key store.Key, data string) {
	t.Helper()
	if err := st.Commit(t.Context(), store.Put(store.Record{Kind: key.Kind, ID: key.ID, Data: []byte(data)})); err != nil {
		t.Fatal(err)
	}
}

// world is a store with the agent and its parents.
func world(t *testing.T, a agent.Record) *store.Memory {
	t.Helper()
	st := new(store.Memory)
	r, err := a.Store(thumbprint(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Commit(t.Context(), store.Insert(r)); err != nil {
		t.Fatal(err)
	}
	put(t, st, runner, `{"instance":"first"}`)
	put(t, st, network, `{"instance":"any"}`)
	return st
}

func remove(t *testing.T, st store.Store, key store.Key) {
	t.Helper()
	records, err := st.Get(t.Context(), key)
	if err == nil {
		err = st.Commit(t.Context(), store.Delete(records[0]))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestFindReturnsWhatWasStored(t *testing.T) {
	want := record(t)
	got, key, err := agent.Find(t.Context(), world(t, want), thumbprint(t))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if public, ok := key.Public().(ed25519.PublicKey); !ok || !public.Equal(signer.Public()) {
		t.Errorf("the key is %v, want that of the signer", key.Public())
	}
}

func TestFindLetsInAnAgentWithoutParents(t *testing.T) {
	a := record(t)
	a.Parents = nil
	if _, _, err := agent.Find(t.Context(), world(t, a), thumbprint(t)); err != nil {
		t.Error(err)
	}
}

func TestFindRefusesWhoIsNotLetInNow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(st *store.Memory)
		err    error
	}{
		{"nothing has changed", func(*store.Memory) {}, nil},
		{"the parent of any instance is another", func(st *store.Memory) { put(t, st, network, `{"instance":"other"}`) }, nil},
		{"a parent that says nothing of itself", func(st *store.Memory) { put(t, st, network, `{}`) }, nil},
		{"a parent that says that it is not disabled", func(st *store.Memory) { put(t, st, network, `{"disabled":false}`) }, nil},
		{"the first parent is disabled", func(st *store.Memory) { put(t, st, runner, `{"instance":"first","disabled":true}`) }, agent.ErrRefused},
		{"the second parent is disabled", func(st *store.Memory) { put(t, st, network, `{"disabled":true}`) }, agent.ErrRefused},
		{"the first parent is gone", func(st *store.Memory) { remove(t, st, runner) }, agent.ErrRefused},
		{"the second parent is gone", func(st *store.Memory) { remove(t, st, network) }, agent.ErrRefused},
		{"the parent is another of its name", func(st *store.Memory) { put(t, st, runner, `{"instance":"second"}`) }, agent.ErrRefused},
		{"the parent has no instance any more", func(st *store.Memory) { put(t, st, runner, `{}`) }, agent.ErrRefused},
		{"the agent is disabled", func(st *store.Memory) {
			a := record(t)
			a.Disabled = true
			r, err := a.Store(thumbprint(t), 0)
			if err != nil {
				t.Fatal(err)
			}
			put(t, st, r.Key(), string(r.Data))
		}, agent.ErrRefused},
		{"the agent is gone", func(st *store.Memory) { remove(t, st, agent.Key(thumbprint(t))) }, agent.ErrRefused},
	} {
		st := world(t, record(t))
		tt.change(st)
		a, key, err := agent.Find(t.Context(), st, thumbprint(t))
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.err)
		}
		if err != nil && (a.Name != "" || key.Algorithm() != "") {
			t.Errorf("%s: refused, and yet it is %q with a key for %q", tt.name, a.Name, key.Algorithm())
		}
	}
}

func TestFindRefusesWhatIsNoThumbprint(t *testing.T) {
	st := world(t, record(t))
	for _, text := range []string{"", strings.Repeat("a", 43), strings.Repeat("a", 10_000), "a\x00b", "\xff", thumbprint(t) + " ", strings.ToLower(thumbprint(t))} {
		if _, _, err := agent.Find(t.Context(), st, text); !errors.Is(err, agent.ErrRefused) {
			t.Errorf("%.50q: got %v, want ErrRefused", text, err)
		}
	}
}

// A broken store must not look like a refusal: it is not the agent's fault.
func TestFindTellsTrouble(t *testing.T) {
	trouble := errors.New("trouble")
	for _, tt := range []struct {
		name string
		open func(t *testing.T) store.Store
	}{
		{"the agent cannot be read", func(t *testing.T) store.Store { return &failing{world(t, record(t)), agent.Kind, trouble} }},
		{"the parents cannot be read", func(t *testing.T) store.Store { return &failing{world(t, record(t)), runner.Kind, trouble} }},
		{"the agent is no JSON", func(t *testing.T) store.Store {
			st := world(t, record(t))
			put(t, st, agent.Key(thumbprint(t)), "{")
			return st
		}},
		{"a parent is no JSON", func(t *testing.T) store.Store {
			st := world(t, record(t))
			put(t, st, network, "{")
			return st
		}},
		{"the public key is none", func(t *testing.T) store.Store {
			a := record(t)
			a.JWK = json.RawMessage(`{"kty":"OKP"}`)
			return world(t, a)
		}},
	} {
		a, key, err := agent.Find(t.Context(), tt.open(t), thumbprint(t))
		if err == nil || errors.Is(err, agent.ErrRefused) {
			t.Errorf("%s: got %v, want trouble", tt.name, err)
		}
		if a.Name != "" || key.Algorithm() != "" {
			t.Errorf("%s: and yet it is %q with a key for %q", tt.name, a.Name, key.Algorithm())
		}
	}
}

// failing cannot read records of one kind.
type failing struct {
	store.Store
	kind string
	err  error
}

func (f *failing) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	for _, k := range keys {
		if k.Kind == f.kind {
			return nil, f.err
		}
	}
	return f.Store.Get(ctx, keys...)
}

func TestStoreAndReadAreReverse(t *testing.T) {
	want := record(t)
	r, err := want.Store("thumb", 7)
	if err != nil || r.Kind != agent.Kind || r.ID != "thumb" || r.Version != 7 || !r.Expires.IsZero() {
		t.Errorf("got %+v, %v", r, err)
	}
	if got, err := agent.Read(r); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := agent.Read(store.Record{ID: "thumb", Data: []byte("[")}); err == nil {
		t.Error("no JSON is read as an agent")
	}
	want.JWK = json.RawMessage("{")
	if _, err := want.Store("thumb", 0); err == nil {
		t.Error("an agent with no JSON as its key is stored")
	}
}
