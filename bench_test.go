package keywright_test

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// A route's key as CI has it: scopes, attributes and an expiry.
func benchHost(b *testing.B, audit func(context.Context, keywright.Event)) (keywright.Host, string, *probe) {
	b.Helper()
	db := &probe{Store: &store.Memory{}}
	host, err := keywright.NewHost(keywright.HostConfig{Store: db, Kinds: kinds, Hooks: keywright.Hooks{Audit: audit}})
	if err != nil {
		b.Fatal(err)
	}
	m, err := host.Keys.Issue(b.Context(), keywright.Principal{}, keywright.KeySpec{
		Kind: "admin", Method: keywright.MethodHost, Subject: "ci", Scopes: []string{"read", "write"},
		Attrs: map[string]string{"repository": "a/b"}, Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	return host, m.Text, db
}

// BenchmarkBearer is authentication by a key in steady state. The target is
// 3 µs and 12 allocations.
func BenchmarkBearer(b *testing.B) {
	host, text, _ := benchHost(b, nil)
	auth, r := host.Keys.Of("admin"), bearer(text)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := auth.Authenticate(r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBearerRaw is the least that a server would write by hand: the
// digest of the key in a map.
func BenchmarkBearerRaw(b *testing.B) {
	_, text, _ := benchHost(b, nil)
	sum := sha256.Sum256([]byte(text))
	keys, r := map[string][32]byte{text[:21]: sum}, bearer(text)
	b.ReportAllocs()
	for b.Loop() {
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		want, known := keys[got[:21]]
		sum := sha256.Sum256([]byte(got))
		if !ok || !known || subtle.ConstantTimeCompare(sum[:], want[:]) == 0 {
			b.Fatal("refused")
		}
	}
}

// BenchmarkWrongChecksum is the refusal of an invented key, without and with
// somebody who listens to Hooks.Audit. The target is 300 ns, without the store.
func BenchmarkWrongChecksum(b *testing.B) {
	b.Run("quiet", func(b *testing.B) { benchWrongChecksum(b, nil) })
	b.Run("audited", func(b *testing.B) { benchWrongChecksum(b, func(context.Context, keywright.Event) {}) })
}

func benchWrongChecksum(b *testing.B, audit func(context.Context, keywright.Event)) {
	host, text, db := benchHost(b, audit)
	auth, r := host.Keys.Of("admin"), bearer(wrongChecksum(text))
	before := db.calls.Load()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := auth.Authenticate(r); err == nil || errors.Is(err, keywright.ErrNoCredential) {
			b.Fatal("not refused")
		}
	}
	if n := db.calls.Load() - before; n != 0 {
		b.Errorf("the store was asked %d times", n)
	}
}

// BenchmarkRequire adds the middleware, among two Authenticators.
func BenchmarkRequire(b *testing.B) {
	host, text, _ := benchHost(b, nil)
	h := keywright.Require(host.Keys.Of("prov", "admin"), other{})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := keywright.FromContext(r.Context()); !ok {
			b.Error("no principal")
		}
	}))
	w, r := httptest.NewRecorder(), bearer(text)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
	if w.Code != 200 {
		b.Fatal(w.Code)
	}
}

// other is an Authenticator that never recognises anything.
type other struct{}

func (other) Authenticate(*http.Request) (keywright.Principal, error) {
	return keywright.Principal{}, keywright.ErrNoCredential
}
