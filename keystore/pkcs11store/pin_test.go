package pkcs11store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
	"github.com/miekg/pkcs11"
)

// everything calls each method of a store once.
func everything(ctx context.Context, s *pkcs11store.Store) map[string]error {
	_, load := s.Load(ctx, "handle")
	_, generate := s.Generate(ctx, keystore.KeyOptions{Handle: "handle"})
	var list error
	for _, list = range s.List(ctx) {
	}
	return map[string]error{"Load": load, "Generate": generate, "List": list, "Delete": s.Delete(ctx, "handle")}
}

func TestKST14_AWrongPINIsTriedOnce(t *testing.T) {
	k := newToken(t)
	current := wrongPIN
	asked := 0
	s := k.store(func(c *pkcs11store.Config) {
		c.PIN = func(context.Context) (string, error) { asked++; return current, nil }
	})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for method, err := range everything(t.Context(), s) {
				if !errors.Is(err, pkcs11store.ErrPIN) || !hasCode(err, pkcs11.CKR_PIN_INCORRECT) {
					t.Errorf("%s: %v, want ErrPIN", method, err)
				}
			}
		})
	}
	all.Wait()
	wantLogins(t, k, 1)
	if asked != 1 {
		t.Errorf("the PIN was asked for %d times", asked)
	}
	for range 3 {
		if err := s.Open(t.Context()); !errors.Is(err, pkcs11store.ErrPIN) {
			t.Errorf("Open: %v, want ErrPIN", err)
		}
	}
	wantLogins(t, k, 1) // the same PIN
	current = goodPIN
	if _, err := s.Load(t.Context(), "handle"); !errors.Is(err, pkcs11store.ErrPIN) {
		t.Errorf("Load before Open: %v, want ErrPIN", err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantLogins(t, k, 2)
	generate(t, s, keystore.Ed25519, "handle")
}

func TestKST14_LoginsThatFail(t *testing.T) {
	broken := errors.New("vault is sealed")
	for _, tt := range []struct {
		name   string
		pin    func(context.Context) (string, error)
		fault  string
		value  int
		want   error
		logins int // of many attempts
	}{
		{"one try is left", pin(goodPIN), "flags", pkcs11.CKF_USER_PIN_FINAL_TRY, pkcs11store.ErrPIN, 0},
		{"the PIN is locked", pin(goodPIN), "flags", pkcs11.CKF_USER_PIN_LOCKED, pkcs11store.ErrPIN, 0},
		{"the answer is CKR_PIN_LOCKED", pin(goodPIN), "login", pkcs11.CKR_PIN_LOCKED, pkcs11store.ErrPIN, 1},
		{"the answer is CKR_PIN_EXPIRED", pin(goodPIN), "login", pkcs11.CKR_PIN_EXPIRED, pkcs11store.ErrPIN, 1},
		{"the answer is CKR_PIN_LEN_RANGE", pin(goodPIN), "login", pkcs11.CKR_PIN_LEN_RANGE, pkcs11store.ErrPIN, 1},
		{"the answer says nothing", pin(goodPIN), "login", pkcs11.CKR_FUNCTION_FAILED, pkcs11store.ErrPIN, 2},
		{"there is no PIN", func(context.Context) (string, error) { return "", broken }, "", 0, broken, 0},
		{"the PIN is empty", pin(""), "", 0, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newToken(t)
			if tt.fault != "" {
				k.fault(tt.fault, tt.value)
			}
			s := k.store(func(c *pkcs11store.Config) { c.PIN = tt.pin })
			var err error
			for range 5 {
				_, err = s.Load(t.Context(), "handle")
				if err == nil || errors.Is(err, keystore.ErrKeyNotFound) {
					t.Fatalf("Load: %v", err)
				}
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Load: %v, want %v", err, tt.want)
			}
			wantLogins(t, k, tt.logins)
		})
	}
}

func TestKST14_NothingPrintsThePIN(t *testing.T) {
	k := newToken(t)
	var out bytes.Buffer
	for _, secret := range []string{wrongPIN, goodPIN} {
		c := k.config()
		c.PIN = pin(secret)
		s, err := pkcs11store.New(c)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, err := range everything(t.Context(), s) {
				for e := err; e != nil; e = errors.Unwrap(e) {
					fmt.Fprintf(&out, "%v %+v %#v %q\n", e, e, e, e)
				}
			}
			fmt.Fprintln(&out, s.Open(t.Context()))
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			fmt.Fprintf(&out, verb+verb+verb, s, c, &c)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("store", "store", s, "config", c)
		for _, v := range []any{s, &s} {
			json.NewEncoder(&out).Encode(v)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, secret := range []string{wrongPIN, goodPIN} {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprint([]byte(secret))} {
			if strings.Contains(out.String(), form) {
				t.Errorf("the PIN is printed as %q", form)
			}
		}
	}
	if !strings.Contains(out.String(), "CKR_PIN_INCORRECT") {
		t.Error("an operator is not told why")
	}
}

// One login is enough for all sessions.
func TestManySessionsLogInOnce(t *testing.T) {
	k := newToken(t)
	s := k.store(func(c *pkcs11store.Config) { c.Sessions = 8 })
	key := generate(t, s, keystore.Ed25519, "handle")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { wantSigns(t, key) })
	}
	all.Wait()
	other := k.store()
	wantKey(t, other, key)
	wantLogins(t, k, 1)
}

func wantLogins(t *testing.T, k *token, want int) {
	t.Helper()
	if got := k.count("logins"); got != want {
		t.Errorf("%d logins, want %d", got, want)
	}
}

func hasCode(err error, code pkcs11.Error) bool {
	e, ok := errors.AsType[pkcs11.Error](err)
	return ok && e == code
}
