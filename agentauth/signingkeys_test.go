package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// newKeys makes SigningKeys of the name "test" in the world's host.
func newKeys(t *testing.T, host keywright.Host, s keystore.KeyStore) *agentauth.SigningKeys {
	t.Helper()
	keys, err := agentauth.NewSigningKeys(host, s, "test")
	must(t, err)
	return keys
}

func listKeys(t *testing.T, keys *agentauth.SigningKeys) []agentauth.SigningKey {
	t.Helper()
	list, err := keys.List(t.Context())
	must(t, err)
	return list
}

// stateOf tells the state of a key, "" for one that is not published.
func stateOf(t *testing.T, keys *agentauth.SigningKeys, kid string) agentauth.KeyState {
	t.Helper()
	for _, k := range listKeys(t, keys) {
		if k.ID == kid {
			return k.State
		}
	}
	return ""
}

func handlesIn(t *testing.T, s keystore.Lister) []string {
	t.Helper()
	var all []string
	for h, err := range s.List(t.Context()) {
		must(t, err)
		all = append(all, h)
	}
	return all
}

// TestReplicasSyncAtOnce leaves them with one key, and no other in the key store.
func TestReplicasSyncAtOnce(t *testing.T) {
	for range 20 {
		w := newWorld(t, worldConfig{})
		memory := new(keystore.Memory)
		replicas := []*agentauth.SigningKeys{newKeys(t, w.host, memory), newKeys(t, w.host, memory)}
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				if err := replicas[i%2].Sync(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		list := listKeys(t, replicas[0])
		if len(list) != 1 || list[0].State != agentauth.KeyActive || !list[0].Added.Equal(w.clock.Now()) || !list[0].Ended.IsZero() {
			t.Fatalf("keys: %+v", list)
		}
		if diff := cmp.Diff(list, listKeys(t, replicas[1])); diff != "" {
			t.Errorf("the replicas differ:\n%s", diff)
		}
		if got := handlesIn(t, memory); !slices.Equal(got, []string{list[0].Handle}) {
			t.Errorf("the key store has %v, published is %s", got, list[0].Handle)
		}
		events := 0
		for e, err := range w.host.Events(t.Context(), "") {
			must(t, err)
			if e.Name == "agent.signing_key_added" && e.Target == list[0].ID {
				events++
			}
		}
		if events != 1 {
			t.Errorf("%d events", events)
		}
	}
}

// kidOf makes a token with keys and tells the key that it names.
func kidOf(t *testing.T, host keywright.Host, keys *agentauth.SigningKeys) string {
	t.Helper()
	self, err := agentauth.NewSelfIssuer(agentauth.SelfIssuerConfig{Host: host, Agent: "a", Keys: keys})
	must(t, err)
	text, _, err := self.Token(t.Context(), nil)
	must(t, err)
	header, _ := claimsOf(t, text)
	return header["kid"].(string)
}

// TestPublishedKeys looks at the document, through a rotation.
func TestPublishedKeys(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := new(keystore.Memory)
	keys := newKeys(t, w.host, memory)
	w.mux.Handle("/test.json", keys.Handler())
	if a := w.do(w.request("GET", "/test.json", "")); a.body != `{"keys":[]}` {
		t.Errorf("before Sync: %s", a.body)
	}
	must(t, keys.Sync(t.Context()))
	p256, err := memory.Generate(t.Context(), keystore.KeyOptions{Algorithm: keystore.ES256, Handle: "p-256"})
	must(t, err)
	kid, err := keys.Add(t.Context(), principal("admin"), "p-256")
	must(t, err)
	must(t, keys.ActivateNow(t.Context(), principal("admin"), kid))
	if got := kidOf(t, w.host, keys); got != kid {
		t.Errorf("signs with %s", got)
	}
	first := listKeys(t, keys)[0]
	ed25519, err := memory.Load(t.Context(), first.Handle)
	must(t, err)
	var want []any
	for _, k := range []struct {
		key crypto.Signer
		alg string
	}{{ed25519, "Ed25519"}, {p256, "ES256"}} {
		var jwk map[string]any
		must(t, json.Unmarshal([]byte(jwkOf(t, k.key, k.alg)), &jwk))
		jwk["kid"], jwk["use"] = thumbprint(t, k.key), "sig"
		want = append(want, jwk)
	}
	a := w.do(w.request("GET", "/test.json", ""))
	if diff := cmp.Diff(map[string]any{"keys": want}, a.json(t)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	if a.header.Get("Cache-Control") != "max-age=300" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("header: %v", a.header)
	}
	if a := w.do(w.request("POST", "/test.json", "{}")); a.status != 405 {
		t.Errorf("POST: %d", a.status)
	}
}

// A wrapped key store lacks or changes something of a Memory.
type loadOnly struct{ memory *keystore.Memory }

func (s loadOnly) Load(ctx context.Context, handle string) (keystore.Key, error) {
	return s.memory.Load(ctx, handle)
}

// p256Only makes no Ed25519 keys, as some KMS.
type p256Only struct{ *keystore.Memory }

func (s p256Only) Generate(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
	if o.Algorithm == keystore.Ed25519 {
		return nil, keystore.ErrUnsupportedKey
	}
	return s.Memory.Generate(ctx, o)
}

// TestSyncNeedsAKey is Sync where there can be none, or none that signs.
func TestSyncNeedsAKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := new(keystore.Memory)
	if err := newKeys(t, w.host, loadOnly{memory}).Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "SigningKeys.Add") {
		t.Errorf("a key store that generates none: %v", err)
	}
	keys := newKeys(t, w.host, p256Only{memory})
	must(t, keys.Sync(t.Context()))
	if kid := kidOf(t, w.host, keys); kid != listKeys(t, keys)[0].ID {
		t.Errorf("signs with %s", kid)
	}
	must(t, newKeys(t, w.host, loadOnly{memory}).Sync(t.Context()))
}

// TestLostSigningKey is Sync, and the change back, where a key store does not have
// the key that is published. No other takes its place.
func TestLostSigningKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	memory := new(keystore.Memory)
	_, err := memory.Generate(t.Context(), keystore.KeyOptions{Handle: "signing-1"})
	must(t, err)
	keys := newKeys(t, w.host, memory)
	_, err = keys.Add(t.Context(), principal("admin"), "signing-1")
	must(t, err)
	k := listKeys(t, keys)[0]
	for _, tt := range []struct {
		name string
		make func(*keystore.Memory) error
		text string
	}{
		{"the key store has lost the key", func(*keystore.Memory) error { return nil }, "key not found"},
		{"the key store has another key", func(m *keystore.Memory) error {
			_, err := m.Generate(t.Context(), keystore.KeyOptions{Handle: k.Handle})
			return err
		}, "another key"},
		{"the key store has another of the other kind", func(m *keystore.Memory) error {
			_, err := m.Generate(t.Context(), keystore.KeyOptions{Handle: k.Handle, Algorithm: keystore.ES256})
			return err
		}, "another key"},
	} {
		other := new(keystore.Memory)
		must(t, tt.make(other))
		before := handlesIn(t, other)
		replica := newKeys(t, w.host, other)
		for name, err := range map[string]error{
			"Sync": replica.Sync(t.Context()), "Activate": replica.ActivateNow(t.Context(), principal("admin"), k.ID),
		} {
			wantCode(t, err, keywright.CodeUnavailable, tt.text)
			if err == nil || !strings.Contains(err.Error(), k.Handle) || !strings.Contains(err.Error(), k.ID) {
				t.Errorf("%s: %s: %v", tt.name, name, err)
			}
		}
		if diff := cmp.Diff(before, handlesIn(t, other)); diff != "" {
			t.Errorf("%s: keys were made:\n%s", tt.name, diff)
		}
	}
}

// TestRestartKeepsTheKey starts anew on one directory and one store.
func TestRestartKeepsTheKey(t *testing.T) {
	w := newWorld(t, worldConfig{})
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	start := func() *agentauth.SigningKeys {
		d, err := keystore.NewDir(keystore.DirConfig{Path: dir, InsecurePlaintext: true, Now: w.clock.Now})
		must(t, err)
		keys := newKeys(t, w.host, d)
		must(t, keys.Sync(t.Context()))
		return keys
	}
	first := listKeys(t, start())
	again := start()
	if diff := cmp.Diff(first, listKeys(t, again)); diff != "" || len(first) != 1 {
		t.Errorf("keys (-first +again):\n%s", diff)
	}
	if kid := kidOf(t, w.host, again); kid != first[0].ID {
		t.Errorf("signs with %s", kid)
	}
}
