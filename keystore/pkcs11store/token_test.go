package pkcs11store_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
	"github.com/miekg/pkcs11"
)

func TestNewChecksItsConfig(t *testing.T) {
	good := pkcs11store.Config{Module: "/nonexistent/module.so", Token: "t", PIN: pin("p")}
	for name, change := range map[string]func(*pkcs11store.Config){
		"Module":   func(c *pkcs11store.Config) { c.Module = "" },
		"Token":    func(c *pkcs11store.Config) { c.Token = "" },
		"PIN":      func(c *pkcs11store.Config) { c.PIN = nil },
		"Sessions": func(c *pkcs11store.Config) { c.Sessions = -1 },
	} {
		c := good
		change(&c)
		if s, err := pkcs11store.New(c); err == nil || s != nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New without a good %s: %v", name, err)
		}
	}
	s, err := pkcs11store.New(good)
	if err != nil {
		t.Fatalf("New does I/O: %v", err)
	}
	if err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), good.Module) {
		t.Errorf("Open without a module: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestATokenIsFoundByLabelOrSerialNumber(t *testing.T) {
	k := newToken(t)
	k.initialize("twin")
	k.initialize("twin")
	if err := k.store().Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := k.ctx().GetTokenInfo(k.slot())
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) *pkcs11store.Store {
		return k.store(func(c *pkcs11store.Config) { c.Token = name })
	}
	if err := named(info.SerialNumber).Open(t.Context()); err != nil {
		t.Errorf("by serial number: %v", err)
	}
	if err := named("keywrigh").Open(t.Context()); !errors.Is(err, pkcs11store.ErrTokenNotFound) {
		t.Errorf("another label: %v, want ErrTokenNotFound", err)
	}
	if err := named("twin").Open(t.Context()); err == nil || !strings.Contains(err.Error(), "2 tokens") {
		t.Errorf("a label of two tokens: %v", err)
	}
}

// What is not there because the token is not must not be taken for absent: the
// caller would make another key.
func TestKST14_ARemovedTokenIsNotAnEmptyOne(t *testing.T) {
	k := newToken(t)
	s := k.store()
	key := generate(t, s, keystore.Ed25519, "handle")
	if err := os.Rename(k.dir, k.dir+"-away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for method, err := range everything(t.Context(), s) {
			if !errors.Is(err, pkcs11store.ErrTokenNotFound) || errors.Is(err, keystore.ErrKeyNotFound) {
				t.Errorf("%s: %v, want ErrTokenNotFound", method, err)
			}
		}
		if _, err := sign(t.Context(), key); !errors.Is(err, pkcs11store.ErrTokenNotFound) || errors.Is(err, keystore.ErrKeyNotFound) {
			t.Errorf("Sign: %v, want ErrTokenNotFound", err)
		}
		if err := s.Open(t.Context()); !errors.Is(err, pkcs11store.ErrTokenNotFound) {
			t.Errorf("Open: %v, want ErrTokenNotFound", err)
		}
	}
	if got := k.count("logins"); got > 2 {
		t.Errorf("%d logins", got)
	}
	if err := os.Rename(k.dir+"-away", k.dir); err != nil {
		t.Fatal(err)
	}
	k.ctx().Finalize() // SoftHSM looks for tokens when it is initialized
	wantKey(t, s, key)
	wantSigns(t, key)
}

// When the module is finalized while the store has no session, it finds out
// when it opens one.
func TestFinalizedWithoutASession(t *testing.T) {
	k := newToken(t)
	s := k.store()
	key := generate(t, s, keystore.Ed25519, "handle")
	k.fault("sign", pkcs11.CKR_FUNCTION_FAILED)
	if _, err := sign(t.Context(), key); err == nil { // which closes the session
		t.Fatal("signed")
	}
	k.fault("sign", 0)
	if err := k.ctx().Finalize(); err != nil {
		t.Fatal(err)
	}
	wantKey(t, s, key)
	wantSigns(t, key)
}

// Whatever another part of this process does to the sessions, the key signs.
func TestOtherUsersOfTheModule(t *testing.T) {
	for _, tt := range []struct {
		name    string
		disturb func(c *pkcs11.Ctx, h pkcs11.SessionHandle, slot uint) error
		logins  int
	}{
		{"C_CloseAllSessions", func(c *pkcs11.Ctx, _ pkcs11.SessionHandle, slot uint) error { return c.CloseAllSessions(slot) }, 1},
		{"C_Logout", func(c *pkcs11.Ctx, h pkcs11.SessionHandle, _ uint) error { return c.Logout(h) }, 1},
		{"C_Finalize", func(c *pkcs11.Ctx, _ pkcs11.SessionHandle, _ uint) error { return c.Finalize() }, 1},
		{"C_CloseSession", closeOthers, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newToken(t)
			s := k.store()
			for method, use := range uses(t.Context(), s) {
				key := generate(t, s, keystore.ES256, "")
				wantSigns(t, key)
				before := k.count("logins")
				c, h := k.outsider()
				if err := tt.disturb(c, h, k.slot()); err != nil {
					t.Fatal(err)
				}
				if err := use(key); err != nil {
					t.Errorf("%s: %v", method, err)
				}
				if got := k.count("logins") - before; got > tt.logins {
					t.Errorf("%s: %d logins, want %d", method, got, tt.logins)
				}
			}
		})
	}
}

// uses are what can be done with a key of a store.
func uses(ctx context.Context, s *pkcs11store.Store) map[string]func(keystore.Key) error {
	return map[string]func(keystore.Key) error{
		"Sign": func(key keystore.Key) error {
			_, err := sign(ctx, key)
			return err
		},
		"Load": func(key keystore.Key) error {
			_, err := s.Load(ctx, key.Handle())
			return err
		},
		"List": func(key keystore.Key) error {
			for h, err := range s.List(ctx) {
				if h == key.Handle() || err != nil {
					return err
				}
			}
			return errors.New("not listed")
		},
		"Delete":   func(key keystore.Key) error { return s.Delete(ctx, key.Handle()) },
		"Generate": func(keystore.Key) error { return generated(ctx, s, "another") },
		"Open":     func(keystore.Key) error { return s.Open(ctx) },
	}
}

// closeOthers closes the sessions that are older than h.
func closeOthers(c *pkcs11.Ctx, h pkcs11.SessionHandle, _ uint) error {
	closed := 0
	for h--; h > 0; h-- {
		if c.CloseSession(h) == nil {
			closed++
		}
	}
	if closed == 0 {
		return errors.New("there was no other session")
	}
	return nil
}

func generated(ctx context.Context, s *pkcs11store.Store, handle string) error {
	_, err := s.Generate(ctx, keystore.KeyOptions{Handle: handle})
	return err
}

func TestAClosedStore(t *testing.T) {
	k := newToken(t)
	s, other := k.store(), k.store()
	key := generate(t, s, keystore.Ed25519, "handle")
	found, err := other.Load(t.Context(), "handle")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for method, err := range everything(t.Context(), s) {
		if err == nil || errors.Is(err, keystore.ErrKeyNotFound) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s: %v", method, err)
		}
	}
	if _, err := sign(t.Context(), key); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Sign: %v", err)
	}
	wantSigns(t, found)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	wantKey(t, k.store(), found)
	wantLogins(t, k, 2) // the last session has taken the login with it
}

func TestKST14_TheTokenAdmitsNoMoreSessions(t *testing.T) {
	k := newToken(t)
	k.fault("sessions", 2)
	s := k.store(func(c *pkcs11store.Config) { c.Sessions = 8 })
	key := generate(t, s, keystore.Ed25519, "handle")
	k.fault("slow", 10_000) // microseconds
	errs := make(chan error)
	for range 16 {
		go func() {
			_, err := sign(t.Context(), key)
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Errorf("Sign with less sessions than are allowed: %v", err)
		}
	}
	if k.count("full") == 0 {
		t.Error("the limit was not reached")
	}
	other := k.store()
	if _, err := other.Load(t.Context(), "handle"); !errors.Is(err, pkcs11store.ErrSessionLimit) || !hasCode(err, pkcs11.CKR_SESSION_COUNT) {
		t.Errorf("Load when others have all sessions: %v, want ErrSessionLimit", err)
	}
	s.Close()
	if _, err := other.Load(t.Context(), "handle"); err != nil {
		t.Errorf("Load when they have gone: %v", err)
	}
	wantLogins(t, k, 2)
}

// A call into the module cannot be interrupted, but its caller need not wait.
func TestTheContextEndsWaiting(t *testing.T) {
	k := newToken(t)
	s := k.store(func(c *pkcs11store.Config) { c.Sessions = 1 })
	key := generate(t, s, keystore.Ed25519, "handle")
	k.fault("slow", 700_000) // microseconds
	for _, what := range []string{"for the token", "for a session"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		start := time.Now()
		_, err := sign(ctx, key)
		cancel()
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 500*time.Millisecond {
			t.Errorf("waiting %s: %v after %v", what, err, took)
		}
	}
	k.fault("slow", 0)
	wantSigns(t, key)
}
