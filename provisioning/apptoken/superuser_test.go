package apptoken

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

const (
	suURL      = "https://quay.example/api"
	suRealm    = `Basic realm="quay.example", charset="UTF-8"`
	suPassword = "sEcReT-of-admin"
)

var suStart = time.Unix(1767225600, 0)

// suPasswords is a directory with one super user. It counts what it is asked.
type suPasswords struct {
	calls atomic.Int64
	do    func(ctx context.Context, user, password string) (string, error) // nil: the one
}

var (
	errSuDisabled = errors.New("the account is disabled")
	errSuOrdinary = errors.New("not a super user")
)

func (v *suPasswords) VerifyPassword(ctx context.Context, user, password string) (string, error) {
	v.calls.Add(1)
	if v.do != nil {
		return v.do(ctx, user, password)
	}
	cause := errUnknownUser
	switch {
	case user == "admin" && password == suPassword:
		return "admin", nil
	case user == "admin":
		cause = errWrongPassword
	case user == "ordinary" && password == suPassword:
		cause = errSuOrdinary
	case user == "disabled" && password == suPassword:
		cause = errSuDisabled
	}
	return "", &keywright.Error{Code: keywright.CodeInvalidToken, Err: cause, Attrs: map[string]string{"entry": "cn=" + user}}
}

// A suStore fails where it is told to.
type suStore struct {
	store.Store
	gets  atomic.Int64
	fault atomic.Pointer[error] // of Get and Commit
}

func (s *suStore) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	s.gets.Add(1)
	if err := s.fault.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Get(ctx, keys...)
}

// A suWorld is a host whose super users come by password, unless told otherwise.
type suWorld struct {
	*zeroTouch
	t         testing.TB
	host      keywright.Host
	db        *suStore
	passwords *suPasswords
	sinceT0   *atomic.Int64

	mu    sync.Mutex
	heard []keywright.Event // guarded by mu; by Hooks.Audit
}

func newSuWorld(t testing.TB, edit ...func(*ZeroTouch)) *suWorld {
	t.Helper()
	w := &suWorld{t: t, passwords: new(suPasswords), sinceT0: new(atomic.Int64)}
	w.db = &suStore{Store: &store.Memory{Now: w.now}}
	external, err := url.Parse(suURL)
	if err != nil {
		t.Fatal(err)
	}
	w.host, err = keywright.NewHost(keywright.HostConfig{
		Store: w.db, URL: external, Kinds: map[string]string{"app": "quay_oat"},
		Hooks: keywright.Hooks{Now: w.now, Audit: w.audit, Logger: slog.New(slog.DiscardHandler)},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.zeroTouch = w.another(edit...)
	return w
}

// another is what another process on the same store has.
func (w *suWorld) another(edit ...func(*ZeroTouch)) *zeroTouch {
	w.t.Helper()
	c := ZeroTouch{Enabled: true, Passwords: w.passwords}
	for _, e := range edit {
		e(&c)
	}
	z, err := newZeroTouch(w.host, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return z
}

func (w *suWorld) now() time.Time          { return suStart.Add(time.Duration(w.sinceT0.Load())) }
func (w *suWorld) advance(d time.Duration) { w.sinceT0.Add(int64(d)) }

func (w *suWorld) audit(_ context.Context, e keywright.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, e)
}

func (w *suWorld) last() keywright.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.heard) == 0 {
		return keywright.Event{}
	}
	return w.heard[len(w.heard)-1]
}

// suRequest is a request over TLS from 192.0.2.1.
func suRequest(authorization ...string) *http.Request {
	r := httptest.NewRequest("POST", suURL+"/v1/organization/myorg/application/app123/tokens", nil)
	r.Header["Authorization"] = authorization
	return r
}

func suFrom(r *http.Request, addr string) *http.Request {
	r.RemoteAddr = netip.AddrPortFrom(netip.MustParseAddr(addr), 4711).String()
	return r
}

func suBasic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// wantIn wants r to be a super user's.
func (w *suWorld) wantIn(name string, r *http.Request) keywright.Principal {
	w.t.Helper()
	p, err := w.Authenticate(r)
	if err != nil || p.Subject == "" || p.Attrs["super_user"] != "true" {
		w.t.Errorf("%s: got %+v, %v", name, p, err)
	}
	return p
}

// wantOut wants r to be refused with code, for a cause that only the audit is told.
func (w *suWorld) wantOut(name string, r *http.Request, code keywright.Code, cause string) *keywright.Error {
	w.t.Helper()
	p, err := w.Authenticate(r)
	e, ok := errors.AsType[*keywright.Error](err)
	if !ok || e.Code != code || p.Subject != "" || p.Scopes != nil {
		w.t.Errorf("%s: got %+v, %v, want %s", name, p, err, code)
		return &keywright.Error{}
	}
	said := w.last()
	if said.Name != "apptoken.super_user_refused" || !strings.Contains(said.Detail, cause) || said.Remote == "" {
		w.t.Errorf("%s: heard %+v, want %q", name, said, cause)
	}
	if strings.Contains(fmt.Sprint(said, err), suPassword) {
		w.t.Errorf("%s: the audit has the password: %+v", name, said)
	}
	if code == keywright.CodeInvalidToken && e.Detail != "no valid super user credential" {
		w.t.Errorf("%s: told %q", name, e.Detail)
	}
	return e
}
