package apptoken

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// mint does what the token endpoint does: one Commit, tried again when others
// were faster.
func (w *suWorld) mint(z *zeroTouch, caller keywright.Principal) (most time.Duration, err error) {
	err = endpoint.Retry(func() error {
		var ops []store.Op
		if ops, most, err = z.minting(w.t.Context(), caller); err != nil {
			return err
		}
		return w.host.Commit(w.t.Context(), keywright.Event{Name: "minted", Actor: caller.Credential}, ops...)
	})
	return most, err
}

// wantBarred wants a super user's mint to be refused like a bad credential.
func (w *suWorld) wantBarred(name string, err error, cause error) {
	w.t.Helper()
	e := keywright.AsError(err)
	if e.Code != keywright.CodeInvalidToken || e.Detail != textRefused || !errors.Is(err, cause) {
		w.t.Errorf("%s: got %v, want %v", name, err, cause)
	}
	if said := w.last(); said.Name != "apptoken.super_user_refused" || !strings.Contains(said.Detail, cause.Error()) || said.Attrs["user"] == "" {
		w.t.Errorf("%s: heard %+v", name, said)
	}
}

// records returns the records of kind, and until when.
func (w *suWorld) records(kind string) map[string]time.Time {
	w.t.Helper()
	found := make(map[string]time.Time)
	for r, err := range w.db.List(w.t.Context(), store.Query{Kind: kind}) {
		if err != nil {
			w.t.Fatal(err)
		}
		found[r.ID] = r.Expires
	}
	return found
}

func TestMintingByPassword(t *testing.T) {
	for configured, want := range map[time.Duration]time.Duration{0: 365 * 24 * time.Hour, time.Hour: time.Hour} {
		w := newSuWorld(t, func(c *ZeroTouch) { c.MaxLifetime = configured })
		caller := w.wantIn("good", suRequest(suBasic("admin", suPassword)))
		for range 3 { // as often as one likes
			if most, err := w.mint(w.zeroTouch, caller); err != nil || most != want {
				t.Errorf("got %v, %v, want %v", most, err, want)
			}
		}
		if n := len(w.records(KindZeroTouch)) + len(w.records(KindIdentity)); n != 0 {
			t.Errorf("%d records", n)
		}
	}
}

func TestMintingByOthers(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) { c.OneShot = true })
	own := w.wantIn("good", suRequest(suBasic("admin", suPassword)))
	for name, edit := range map[string]func(*keywright.Principal){
		"a key": func(p *keywright.Principal) {
			*p = keywright.Principal{Method: keywright.MethodProvisioning, Subject: "x"}
		},
		"nobody":        func(p *keywright.Principal) { *p = keywright.Principal{} },
		"the host's":    func(p *keywright.Principal) { p.Method = keywright.MethodHost },
		"no super user": func(p *keywright.Principal) { p.Attrs = map[string]string{"auth_method": "Basic"} },
		"super_user: false": func(p *keywright.Principal) {
			p.Attrs = map[string]string{"super_user": "false", "auth_method": "Basic"}
		},
	} {
		p := own
		edit(&p)
		ops, most, err := w.minting(t.Context(), p)
		if ops != nil || most != 0 || err != nil {
			t.Errorf("%s: got %v, %v, %v", name, ops, most, err)
		}
	}
	_, err := w.mint(w.another(func(c *ZeroTouch) { c.Enabled = false }), own)
	w.wantBarred("while it is off", err, errFlagOff)
	if got := keywright.AsError(err).Header.Get("WWW-Authenticate"); got != "Bearer" { // a 401 has a challenge
		t.Errorf("while it is off: challenge %q", got)
	}
}

// Of two mints that have both read that nothing stands, the store lets one through.
func TestMintsAtTheSameTime(t *testing.T) {
	w := newOIDCWorld(t)
	oneShot := w.another(append(w.edits, func(c *ZeroTouch) { c.OneShot = true })...)
	service := w.wantIn("service account", suRequest("Bearer "+w.token(nil)))
	password := w.wantIn("password", suRequest(suBasic("admin", suPassword)))
	for _, tt := range []struct {
		z           *zeroTouch
		first, last keywright.Principal
		cause       error
	}{
		{w.zeroTouch, service, service, errIdentityUsed}, {oneShot, password, w.wantIn("another", suRequest("Bearer "+w.token(nil))), errClosed},
	} {
		first, _, err1 := tt.z.minting(t.Context(), tt.first)
		last, _, err2 := tt.z.minting(t.Context(), tt.last)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if err := w.host.Commit(t.Context(), keywright.Event{Name: "minted"}, first...); err != nil {
			t.Fatal(err)
		}
		if err := w.host.Commit(t.Context(), keywright.Event{Name: "minted"}, last...); !errors.Is(err, store.ErrExists) {
			t.Errorf("got %v, want ErrExists", err)
		}
		_, _, err := tt.z.minting(t.Context(), tt.last)
		w.wantBarred("tried again", err, tt.cause)
	}
}

func TestOneShotRace(t *testing.T) {
	oneShot := func(c *ZeroTouch) { c.OneShot = true }
	w := newSuWorld(t, oneShot)
	w.race(w.wantIn("good", suRequest(suBasic("admin", suPassword))), errClosed, oneShot)
}

// race mints in two processes many times at once: once is what there is.
func (w *suWorld) race(caller keywright.Principal, cause error, edit ...func(*ZeroTouch)) {
	w.t.Helper()
	processes := []*zeroTouch{w.zeroTouch, w.another(edit...)}
	var minted atomic.Int64
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			_, err := w.mint(processes[i%2], caller)
			switch e := keywright.AsError(err); {
			case err == nil:
				minted.Add(1)
			case e.Code != keywright.CodeInvalidToken || !errors.Is(err, cause):
				w.t.Errorf("got %v, want %v", err, cause)
			}
		})
	}
	all.Wait()
	if minted.Load() != 1 {
		w.t.Errorf("%d minted, want 1", minted.Load())
	}
}

// One token, and the door is shut: for everybody, in all processes, before a
// password is verified or a key fetched.
func TestOneShot(t *testing.T) {
	w := newOIDCWorld(t)
	oneShot := append(w.edits, func(c *ZeroTouch) { c.OneShot = true })
	open := w.zeroTouch
	w.zeroTouch = w.another(oneShot...)
	good, token := suRequest(suBasic("admin", suPassword)), w.token(nil)
	first, service := w.wantIn("password", good), w.wantIn("service account", suRequest("Bearer "+token))
	w.wantIn("nothing was made yet", good)
	if most, err := w.mint(w.zeroTouch, first); err != nil || most != 365*24*time.Hour {
		t.Fatal(most, err)
	}
	if marks := w.records(KindZeroTouch); len(marks) != 1 || !marks["closed"].IsZero() {
		t.Errorf("marks %v", marks)
	}
	verified, before := w.passwords.calls.Load(), fetches(w)
	w.advance(1000 * time.Hour)
	w.issuer.Rotate()
	for name, z := range map[string]*zeroTouch{"this": w.zeroTouch, "another": w.another(oneShot...)} {
		w.zeroTouch = z
		w.wantOut(name+": password", good, keywright.CodeInvalidToken, "is closed")
		w.wantOut(name+": another's", suRequest(suBasic("x", "y")), keywright.CodeInvalidToken, "is closed")
		w.wantOut(name+": service account", suRequest("Bearer "+w.token(nil)), keywright.CodeInvalidToken, "is closed")
		_, err := w.mint(z, service)
		w.wantBarred(name+": one who was in", err, errClosed)
	}
	if w.passwords.calls.Load() != verified || fetches(w) != before {
		t.Errorf("%d passwords verified, %d fetches, while closed", w.passwords.calls.Load()-verified, fetches(w)-before)
	}
	if len(w.records(KindIdentity)) != 0 {
		t.Error("a refused mint has marked its identity token")
	}
	w.zeroTouch = open
	w.wantIn("without OneShot", good)
}

func fetches(w *oidcWorld) int {
	discovery, jwks := w.issuer.Fetches()
	return discovery + jwks
}

func TestReopen(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) { c.OneShot = true })
	good, actor := suRequest(suBasic("admin", suPassword)), keywright.Principal{Credential: "operator"}
	h := &Handler{zero: w.zeroTouch}
	if err := h.ReopenZeroTouch(t.Context(), actor); err != nil || len(w.heard) != 0 {
		t.Errorf("while it is open: %v, heard %+v", err, w.heard)
	}
	for range 2 {
		caller := w.wantIn("open", good)
		if _, err := w.mint(w.zeroTouch, caller); err != nil {
			t.Fatal(err)
		}
		w.wantOut("closed", good, keywright.CodeInvalidToken, "is closed")
		if err := h.ReopenZeroTouch(t.Context(), actor); err != nil {
			t.Fatal(err)
		}
		want := keywright.Event{Time: suStart, Name: "apptoken.zero_touch_reopened", Actor: "operator", Target: "closed"}
		if diff := cmp.Diff(want, w.last()); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	}
	w.wantIn("open", good)
}

// What the store does not say is no leave to go on.
func TestStoreInTrouble(t *testing.T) {
	w := newOIDCWorld(t)
	w.zeroTouch = w.another(append(w.edits, func(c *ZeroTouch) { c.OneShot, c.Guesses.Burst = true, 1 })...)
	caller := w.wantIn("good", suRequest(suBasic("admin", suPassword)))
	broken := errors.New("the disk is on fire")
	w.db.fault.Store(&broken)
	for range 3 { // not counted
		w.wantOut("password", suRequest(suBasic("admin", suPassword)), keywright.CodeUnavailable, broken.Error())
		w.wantOut("service account", suRequest("Bearer "+w.token(nil)), keywright.CodeUnavailable, broken.Error())
	}
	if _, err := w.mint(w.zeroTouch, caller); keywright.AsError(err).Code != keywright.CodeUnavailable || !errors.Is(err, broken) {
		t.Errorf("mint: got %v", err)
	}
	if err := w.reopen(t.Context(), caller); keywright.AsError(err).Code != keywright.CodeUnavailable || !errors.Is(err, broken) {
		t.Errorf("reopen: got %v", err)
	}
}

// What is refused because it is closed counts against the address like the rest.
func TestRefusalsWhileClosedCount(t *testing.T) {
	w := newOIDCWorld(t)
	w.zeroTouch = w.another(append(w.edits, func(c *ZeroTouch) { c.OneShot, c.Guesses.Burst = true, 1 })...)
	good, token := suBasic("admin", suPassword), "Bearer "+w.token(nil)
	caller := w.wantIn("good", suRequest(good))
	if _, err := w.mint(w.zeroTouch, caller); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.minting(keywright.WithRemoteAddr(t.Context(), "192.0.2.1"), caller); !errors.Is(err, errClosed) {
		t.Fatal(err)
	}
	w.wantOut("after a mint", suRequest(good), keywright.CodeRateLimited, "")
	for addr, authorization := range map[string]string{"192.0.2.2": good, "192.0.3.2": token} {
		w.wantOut("first", suFrom(suRequest(authorization), addr), keywright.CodeInvalidToken, "is closed")
		w.wantOut("then", suFrom(suRequest(authorization), addr), keywright.CodeRateLimited, "")
	}
}
