package keywright

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

func TestKnownKeysAreBounded(t *testing.T) {
	c := knownKeys{byID: make(map[string]*known)}
	for i := range maxKnown + 1000 {
		k := &known{id: strconv.Itoa(i), version: 1}
		if c.put(k); c.get(k.id) != k {
			t.Fatalf("key %d is not known at once", i)
		}
	}
	if n := len(c.byID); n != maxKnown {
		t.Errorf("%d keys are known, want %d", n, maxKnown)
	}
}

func TestKnownKeysKeepOnePerVersion(t *testing.T) {
	c := knownKeys{byID: make(map[string]*known)}
	first := c.put(&known{id: "a", version: 1})
	first.touched.Store(7)
	first.warned.Store(8)
	if again := c.put(&known{id: "a", version: 1}); again != first {
		t.Error("one version was remembered twice")
	}
	next := c.put(&known{id: "a", version: 2})
	if next == first || next.touched.Load() != 7 || next.warned.Load() != 8 {
		t.Errorf("version 2: touched %d, warned %d; want those of version 1", next.touched.Load(), next.warned.Load())
	}
	if c.get("a") != next {
		t.Error("version 1 is still remembered")
	}
}

// A stranger who invents keys or guesses secrets fills nothing.
func TestRefusedKeysAreNotRemembered(t *testing.T) {
	host, m := bcryptHost(t)
	guess, err := host.Keys.Derive("admin", m.ID, make([]byte, 36))
	if err != nil {
		t.Fatal(err)
	}
	invented, err := host.Keys.Derive("admin", NewKeyID(), make([]byte, 36))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{guess, invented} {
		if _, err := host.Keys.Of("admin").Authenticate(bearerRequest(text)); err == nil {
			t.Error("a guess was admitted")
		}
	}
	if n := len(host.Keys.known.byID); n != 0 {
		t.Errorf("%d keys are remembered", n)
	}
}

// A slow hash is computed once for a good key. That it is not computed again
// shows when what is stored is exchanged, in the decoded credential only.
func TestSlowHashIsRemembered(t *testing.T) {
	host, m := bcryptHost(t)
	auth := host.Keys.Of("admin")
	if _, err := auth.Authenticate(bearerRequest(m.Text)); err != nil {
		t.Fatal(err)
	}
	k := host.Keys.known.get(m.ID)
	if k == nil || k.slow.Load() == nil {
		t.Fatal("the accepted text is not remembered")
	}
	if err := host.Keys.Flush(t.Context()); err != nil { // nobody else reads k any more
		t.Fatal(err)
	}
	k.Hash.Sum = []byte("no bcrypt hash")
	if _, err := auth.Authenticate(bearerRequest(m.Text)); err != nil {
		t.Errorf("second request: %v", err)
	}
	guess, err := host.Keys.Derive("admin", m.ID, make([]byte, 36))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Authenticate(bearerRequest(guess)); err == nil {
		t.Error("what was remembered of one text admits another")
	}
}

// Every change of the record must be hashed for anew.
func TestSlowHashIsForgottenWithTheRecord(t *testing.T) {
	host, m := bcryptHost(t)
	auth := host.Keys.Of("admin")
	if _, err := auth.Authenticate(bearerRequest(m.Text)); err != nil {
		t.Fatal(err)
	}
	records, err := host.Store.Get(t.Context(), store.Key{Kind: KindKey, ID: m.ID})
	if err != nil {
		t.Fatal(err)
	}
	k, err := decodeCredential(records[0])
	if err != nil {
		t.Fatal(err)
	}
	if k.Hash, err = host.Keys.hasher.Hash("another"); err != nil {
		t.Fatal(err)
	}
	r, err := k.record(m.ID, k.version)
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Store.Commit(t.Context(), store.Replace(r)); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Authenticate(bearerRequest(m.Text)); err == nil {
		t.Error("admitted by a hash that is not stored any more")
	}
}

// Guesses at slow hashes wait for each other, not the rest of the server for
// them; and for a key that has ended nothing is computed.
func TestSlowHashesHaveTheirSlots(t *testing.T) {
	host, m := bcryptHost(t)
	for range cap(host.Keys.slow) {
		host.Keys.slow <- struct{}{} // all are at work
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := host.Keys.Of("admin").Authenticate(bearerRequest(m.Text).WithContext(ctx))
	if AsError(err).Code != CodeUnavailable {
		t.Errorf("without a slot: got %v, want code %s", err, CodeUnavailable)
	}
	if err := host.Keys.Disable(t.Context(), Principal{}, m.ID); err != nil {
		t.Fatal(err)
	}
	_, err = host.Keys.Of("admin").Authenticate(bearerRequest(m.Text))
	if AsError(err).Code != CodeInvalidToken {
		t.Errorf("disabled, without a slot: got %v, want code %s", err, CodeInvalidToken)
	}
	<-host.Keys.slow
	if err := host.Keys.Enable(t.Context(), Principal{}, m.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the slot is given back
		if _, err := host.Keys.Of("admin").Authenticate(bearerRequest(m.Text)); err != nil {
			t.Error(err)
		}
	}
	if n := len(host.Keys.slow); n != cap(host.Keys.slow)-1 {
		t.Errorf("%d slots are taken, want %d", n, cap(host.Keys.slow)-1)
	}
}

func TestProvesWaitsForASlot(t *testing.T) {
	host, m := bcryptHost(t)
	for range cap(host.Keys.slow) {
		host.Keys.slow <- struct{}{} // all are at work
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ok, err := host.Keys.Proves(ctx, m.Op.Record, m.Text); ok || err == nil || AsError(err).Code != CodeUnavailable {
		t.Errorf("without a slot: got %v, %v; want code %s", ok, err, CodeUnavailable)
	}
	<-host.Keys.slow
	if ok, err := host.Keys.Proves(t.Context(), m.Op.Record, m.Text); !ok || err != nil {
		t.Errorf("with a slot: got %v, %v; want true", ok, err)
	}
}

func bcryptHost(t *testing.T) (Host, MintedKey) {
	t.Helper()
	host, err := NewHost(HostConfig{
		Store: &store.Memory{}, Kinds: map[string]string{"admin": "kw_admin"}, Hash: KeyHash{BcryptCost: 4},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := host.Keys.Issue(t.Context(), Principal{}, KeySpec{Kind: "admin", Subject: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Keys.Flush(context.Background()) })
	return host, m
}

func bearerRequest(text string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+text)
	return r
}

// Stored records outlive versions of this library.
func TestCredentialJSONIsStable(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := newCredential(KeySpec{
		Kind: "admin", Method: MethodHost, Issuer: "i", Subject: "s", Scopes: []string{"a"}, Attrs: map[string]string{"k": "v"},
		Description: "d", Expires: at.Add(time.Hour), Parents: []Parent{{Key: store.Key{Kind: "p", ID: "q"}, Instance: "i"}}, FirstUse: true, Temporary: true,
	}, at)
	c.Hash.Method, c.Hash.Sum, c.Disabled, c.Successor = "sha256", []byte{1}, true, "n"
	const want = `{"hash":{"m":"sha256","s":"AQ=="},"kind":"admin","method":"host","iss":"i","sub":"s","scopes":["a"],"attrs":{"k":"v"},` +
		`"desc":"d","created":"2026-03-01T12:00:00Z","expires":"2026-03-01T13:00:00Z","disabled":true,"parents":[{"Kind":"p","ID":"q","instance":"i"}],` +
		`"first_use":true,"temporary":true,"successor":"n"}`
	r, err := c.record("id", 3)
	if err != nil || string(r.Data) != want {
		t.Errorf("got  %s, %v\nwant %s", r.Data, err, want)
	}
	c.Imported = "i"
	if r, err := c.record("id", 3); err != nil || string(r.Data) != strings.TrimSuffix(want, "}")+`,"imported":"i"}` {
		t.Errorf("imported: got %s, %v", r.Data, err)
	}
	if r.Key() != (store.Key{Kind: "key", ID: "id"}) || r.Version != 3 || !r.Expires.Equal(c.Expires) {
		t.Errorf("record %v version %d expires %v", r.Key(), r.Version, r.Expires)
	}
}
