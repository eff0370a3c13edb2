package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/keystoretest"
)

// newStore returns one of a service.
func newStore(t *testing.T, service http.Handler) *Store {
	t.Helper()
	srv := httptest.NewServer(service)
	t.Cleanup(srv.Close)
	s, err := NewStore(Config{URL: srv.URL, HTTP: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	latency := 200 * time.Millisecond
	if testing.Short() {
		latency = 10 * time.Millisecond
	}
	keystoretest.Run(t, func(t *testing.T) keystore.KeyStore {
		return newStore(t, &Fake{Latency: latency, FailEvery: 5})
	})
}

func TestNewStoreChecksItsConfig(t *testing.T) {
	for _, url := range []string{"", "kms", "http://", "http://a b"} {
		if _, err := NewStore(Config{URL: url}); err == nil {
			t.Errorf("NewStore accepts %q", url)
		}
	}
}

// What the service does once, however often it is asked.
func TestFailuresAreTriedAgain(t *testing.T) {
	fake := &Fake{FailEvery: 2}
	s := newStore(t, fake)
	for range 20 {
		key := generate(t, s, "")
		if ok, err := sign(t.Context(), key); !ok {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), key.Handle()); err != nil {
			t.Fatal(err)
		}
	}
	if len(fake.keys) != 0 {
		t.Errorf("the service has %d keys that nobody uses", len(fake.keys))
	}
}

func TestFailuresThatLast(t *testing.T) {
	calls := 0
	s := newStore(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	_, err := s.Load(t.Context(), "handle")
	if err == nil || errors.Is(err, keystore.ErrKeyNotFound) || calls != attempts {
		t.Errorf("after %d attempts: %v", calls, err)
	}
}

func TestRefusalsAreNotTriedAgain(t *testing.T) {
	calls := 0
	s := newStore(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		w.WriteHeader(http.StatusForbidden)
	}))
	_, err := s.Load(t.Context(), "handle")
	if err == nil || errors.Is(err, keystore.ErrKeyNotFound) || calls != 1 {
		t.Errorf("after %d attempts: %v", calls, err)
	}
}

// The context of a request ends the call to the service, and the attempts.
func TestTheContextEndsACall(t *testing.T) {
	fake := &Fake{}
	s := newStore(t, fake)
	key := generate(t, s, "handle")
	fake.Latency = time.Minute
	overloaded := newStore(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	for what, call := range map[string]func(context.Context) error{
		"Sign": func(ctx context.Context) error { _, err := sign(ctx, key); return err },
		"SignRequest": func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/", nil)
			if err != nil {
				return err
			}
			return agentauth.SignRequest(r, key, agentauth.SignOptions{})
		},
		"Load": func(ctx context.Context) error { _, err := overloaded.Load(ctx, "handle"); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		start := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 10*time.Second {
			t.Errorf("%s: %v after %v", what, err, took)
		}
	}
}

// A service that signs with another key, or gives nonsense.
func TestAWrongSignatureIsNotHandedOut(t *testing.T) {
	fake := &Fake{}
	lies := false
	s := newStore(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lies && r.Method == http.MethodPost {
			json.NewEncoder(w).Encode(wireSigned{[]byte("signature")})
			return
		}
		fake.ServeHTTP(w, r)
	}))
	key := generate(t, s, "handle")
	lies = true
	if _, err := sign(t.Context(), key); !errors.Is(err, keystore.ErrKeyCorrupt) {
		t.Errorf("got %v, want ErrKeyCorrupt", err)
	}
}

func generate(t *testing.T, s *Store, handle string) keystore.Key {
	t.Helper()
	k, err := s.Generate(t.Context(), keystore.KeyOptions{Algorithm: keystore.ES256, Handle: handle})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(ctx context.Context, k keystore.Key) (bool, error) {
	digest := sha256.Sum256([]byte("message"))
	signature, err := keystore.Sign(ctx, k, digest[:], crypto.SHA256)
	return err == nil && ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest[:], signature), err
}
