package keywright_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// Every change is one Commit that holds exactly one event, which is stored and
// told alike.
func TestEveryChangeHasItsEvent(t *testing.T) {
	w := newWorld(t)
	ctx := keywright.WithRemoteAddr(t.Context(), "198.51.100.7")
	var m, next keywright.MintedKey
	var err error
	for _, tt := range []struct {
		name  string
		do    func() error
		attrs func() map[string]string
	}{
		{"key.issued", func() error { m, err = w.Keys.Issue(ctx, operator, adminSpec()); return err },
			func() map[string]string { return map[string]string{"kind": "admin", "subject": "ci"} }},
		{"key.disabled", func() error { return w.Keys.Disable(ctx, operator, m.ID) }, nil},
		{"key.enabled", func() error { return w.Keys.Enable(ctx, operator, m.ID) }, nil},
		{"key.rotated", func() error {
			next, err = w.Keys.Rotate(ctx, operator, m.ID, keywright.Rotation{Overlap: time.Hour})
			return err
		}, func() map[string]string { return map[string]string{"successor": next.ID} }},
		{"key.deleted", func() error { return w.Keys.Delete(ctx, operator, m.ID) }, nil},
	} {
		w.clock.Advance(time.Second)
		before := len(w.db.commits(keywright.KindEvent))
		if err := tt.do(); err != nil {
			t.Fatal(err)
		}
		commits := w.db.commits(keywright.KindEvent)[before:]
		if len(commits) != 1 {
			t.Fatalf("%s: %d Commits with an event, want 1", tt.name, len(commits))
		}
		want := keywright.Event{Time: w.clock.Now(), Name: tt.name, Actor: operator.Credential, Target: m.ID, Remote: "198.51.100.7"}
		if tt.attrs != nil {
			want.Attrs = tt.attrs()
		}
		wantEvents(t, tt.name, want, commits[0], w.events(tt.name))
	}
}

// wantEvents fails the test unless a Commit holds a key and exactly the event
// want, and want was told once.
func wantEvents(t *testing.T, name string, want keywright.Event, commit []store.Op, told []keywright.Event) {
	t.Helper()
	var stored []keywright.Event
	keys := 0
	for _, op := range commit {
		switch op.Record.Kind {
		case keywright.KindKey:
			keys++
		case keywright.KindEvent:
			var e keywright.Event
			if err := json.Unmarshal(op.Record.Data, &e); err != nil {
				t.Fatal(err)
			}
			stored = append(stored, e)
		}
	}
	if keys == 0 {
		t.Errorf("%s: the event was committed without its change", name)
	}
	if diff := cmp.Diff([]keywright.Event{want}, stored, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: stored (-want +got):\n%s", name, diff)
	}
	if diff := cmp.Diff([]keywright.Event{want}, told, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: told (-want +got):\n%s", name, diff)
	}
}

// A store with room for the key but not for its event takes neither.
func TestNoChangeWithoutItsEvent(t *testing.T) {
	c := new(clock)
	w := worldOn(t, &store.Memory{Now: c.Now, Max: 1}, c)
	m, err := w.Keys.Issue(t.Context(), operator, adminSpec())
	if !errors.Is(err, store.ErrFull) || m.Text != "" {
		t.Fatalf("got a key or %v, want ErrFull", err)
	}
	for _, kind := range []string{keywright.KindKey, keywright.KindEvent} {
		for r, err := range w.db.List(t.Context(), store.Query{Kind: kind}) {
			t.Errorf("left behind: %s %s, %v", r.Kind, r.ID, err)
		}
	}
	if n := len(w.events("key.issued")); n != 0 {
		t.Errorf("Audit was told %d times of what did not happen", n)
	}
}

func TestEventsNewestFirst(t *testing.T) {
	w := newWorld(t, func(c *keywright.HostConfig) { c.AuditRetention = time.Hour })
	var want []string
	for _, name := range []string{"a", "b", "c"} {
		if err := w.Commit(t.Context(), keywright.Event{Name: name}); err != nil {
			t.Fatal(err)
		}
		want = append([]string{name}, want...)
		w.clock.Advance(time.Nanosecond)
	}
	if diff := cmp.Diff(want, w.names(t)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	for e, err := range w.Events(t.Context(), "") {
		var older []string
		for e, err := range w.Events(t.Context(), e.ID) {
			if err != nil {
				t.Fatal(err)
			}
			older = append(older, e.Name)
		}
		if diff := cmp.Diff(want[1:], older); err != nil || diff != "" {
			t.Errorf("%v; before the newest (-want +got):\n%s", err, diff)
		}
		break // an early end is no error
	}
	for _, err := range w.Events(t.Context(), "\x00") {
		wantCode(t, "no ID", err, keywright.CodeInvalidRequest)
	}
	// a is an hour old at three steps less than this.
	w.clock.Advance(time.Hour - 3)
	if diff := cmp.Diff(want[:2], w.names(t)); diff != "" {
		t.Errorf("after the retention of one (-want +got):\n%s", diff)
	}
}

func (w *world) names(t *testing.T) []string {
	t.Helper()
	var names []string
	for e, err := range w.Events(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

func TestBrokenEventEndsTheList(t *testing.T) {
	w := newWorld(t)
	r := store.Record{Kind: keywright.KindEvent, ID: "x", Data: []byte(`{`)}
	if err := w.db.Commit(t.Context(), store.Insert(r)); err != nil {
		t.Fatal(err)
	}
	for _, err := range w.Events(t.Context(), "") {
		wantCode(t, "broken event", err, keywright.CodeInternal)
	}
}

func TestCommitFillsInTimeAndAddress(t *testing.T) {
	w := newWorld(t)
	e := keywright.Event{Name: "x", Time: time.Unix(1, 0), Remote: "forged"}
	if err := w.Commit(keywright.WithRemoteAddr(t.Context(), "198.51.100.7"), e); err != nil {
		t.Fatal(err)
	}
	want := keywright.Event{Name: "x", Time: epoch, Remote: "198.51.100.7"}
	if diff := cmp.Diff([]keywright.Event{want}, w.events("x")); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
}

func TestRemoteAddr(t *testing.T) {
	if got := keywright.RemoteAddr(t.Context()); got != "" {
		t.Errorf("without one: %q", got)
	}
	for _, tt := range []struct{ connection, proxy, want string }{
		{"192.0.2.1:1234", "", "192.0.2.1"},
		{"[2001:db8::1]:1234", "", "2001:db8::1"},
		{"@", "", "@"}, // a Unix socket
		{"192.0.2.1:1234", "198.51.100.7", "198.51.100.7"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.connection
		if tt.proxy != "" {
			r = r.WithContext(keywright.WithRemoteAddr(r.Context(), tt.proxy))
		}
		if got := keywright.RemoteAddr(keywright.WithRequestAddr(r)); got != tt.want {
			t.Errorf("%q behind %q: got %q, want %q", tt.connection, tt.proxy, got, tt.want)
		}
		w := newWorld(t)
		r.Header.Set("Authorization", "Bearer kw_admin_x")
		w.Keys.Of("admin").Authenticate(r)
		if e := w.events("key.refused"); len(e) != 1 || e[0].Remote != tt.want {
			t.Errorf("%q behind %q: the event says %v", tt.connection, tt.proxy, e)
		}
	}
}

func TestRefusedLogsOnlyOurOwnTrouble(t *testing.T) {
	w := newWorld(t)
	w.Hooks.Refused(context.Background(), "a.refused", keywright.Errorf(keywright.CodeInvalidToken, "expired"))
	if w.log.String() != "" {
		t.Errorf("a refusal was logged: %s", w.log)
	}
	w.Hooks.Refused(context.Background(), "b.refused", errors.New("defect"))
	if !strings.Contains(w.log.String(), "b.refused") || !strings.Contains(w.log.String(), "defect") {
		t.Errorf("a defect was not logged: %s", w.log)
	}
	before := w.log.String()
	gone, hangUp := context.WithCancel(context.Background())
	hangUp()
	w.Hooks.Refused(gone, "c.refused", keywright.Wrap(keywright.CodeUnavailable, gone.Err()))
	if w.log.String() != before {
		t.Errorf("that a client hung up was logged: %s", w.log)
	}
	if len(w.events("c.refused")) != 1 || len(w.events("a.refused")) != 1 || len(w.events("b.refused")) != 1 {
		t.Error("Audit was not told of all")
	}
}

// Who connects to a Unix socket may give its own end any name.
func TestAddressOfAUnixSocket(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "203.0.113.9:1"
	ctx := context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/server.sock", Net: "unix"})
	if got := keywright.RemoteAddr(keywright.WithRequestAddr(r.WithContext(ctx))); got != "127.0.0.1" {
		t.Errorf("got %s, want 127.0.0.1", got)
	}
	if got := keywright.RemoteAddr(keywright.WithRequestAddr(r)); got != "203.0.113.9" {
		t.Errorf("of TCP: got %s", got)
	}
}
