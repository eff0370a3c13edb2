package agentauth_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// seen counts the markers of requests in g's store.
func (g *gate) seen() int {
	g.tb.Helper()
	n := 0
	for _, err := range g.store.List(context.Background(), store.Query{Kind: agentauth.KindSeen}) {
		must(g.tb, err)
		n++
	}
	return n
}

func withReplay(r agentauth.Replay) agentauth.Policy {
	p := everything
	p.Replay = r
	return p
}

func TestWhichRequestsMustNotComeTwice(t *testing.T) {
	key := seedKey("agent")
	tests := []struct {
		replay agentauth.Replay
		method string
		again  string
	}{
		{agentauth.ReplayUnsafe, "GET", ""},
		{agentauth.ReplayUnsafe, "HEAD", ""},
		{agentauth.ReplayUnsafe, "OPTIONS", ""},
		{agentauth.ReplayUnsafe, "TRACE", ""},
		{agentauth.ReplayUnsafe, "POST", "invalid_signature"},
		{agentauth.ReplayUnsafe, "PUT", "invalid_signature"},
		{agentauth.ReplayUnsafe, "PATCH", "invalid_signature"},
		{agentauth.ReplayUnsafe, "DELETE", "invalid_signature"},
		{agentauth.ReplayUnsafe, "QUERY", "invalid_signature"},
		{agentauth.ReplayUnsafe, "get", "invalid_signature"},
		{agentauth.ReplayAll, "GET", "invalid_signature"},
		{agentauth.ReplayNone, "POST", ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.replay, " ", tt.method), func(t *testing.T) {
			g := newGate(t, nil)
			d := draft{key: key, method: tt.method}
			g.wants("", withReplay(tt.replay), d.request(t))
			g.wants(tt.again, withReplay(tt.replay), d.request(t))
			if marked := g.seen() > 0; marked != (tt.again != "") {
				t.Errorf("a marker was written: %v", marked)
			}
		})
	}
}

func TestReplaysAreKnownToAllReplicas(t *testing.T) {
	g := newGate(t, nil)
	replica := (&gate{tb: t, clock: g.clock, store: g.store}).build(nil)
	d := draft{key: seedKey("agent"), method: "POST"}
	g.wants("", everything, d.request(t))
	replica.wants("invalid_signature", everything, d.request(t))
}

// TestWhatIsNoReplay has requests that differ in one thing that is signed.
func TestWhatIsNoReplay(t *testing.T) {
	key, other := seedKey("agent"), seedKey("other")
	g := newGate(t, nil)
	for _, d := range []draft{
		{key: key}, {key: other}, {key: key, method: "PUT"}, {key: key, target: "/other"}, {key: key, body: "{}"}, {key: key, body: "[]"},
		{key: key, params: created(time.Second)}, {key: key, params: created(0) + fmt.Sprintf(";expires=%d", t0.Unix()+30)},
		{key: key, header: http.Header{"X-A": {"1"}}, components: append(base4[:4:4], `"x-a"`)},
		{key: key, member: names(namingJWT(t, seedKey("durable"), key, nil, nil))},
		{key: key, member: names(namingJWT(t, seedKey("durable"), key, nil, claims{"jti": "n-2"}))},
	} {
		if d.method == "" {
			d.method = "POST"
		}
		g.wants("", everything, d.request(t))
	}
	if n := g.seen(); n != 11 {
		t.Errorf("%d markers", n)
	}
}

// TestMarkersLastAsLongAsSignatures: at every second a request is a replay or too
// old, on a replica whose clock is a minute behind too.
func TestMarkersLastAsLongAsSignatures(t *testing.T) {
	key := seedKey("agent")
	for name, params := range map[string]string{
		"made a minute ahead": created(time.Minute), "made now": created(0), "made a minute ago": created(-time.Minute),
		"that expires": created(0) + fmt.Sprintf(";expires=%d", t0.Unix()+30),
	} {
		for _, skew := range []time.Duration{0, -time.Minute} {
			t.Run(fmt.Sprint(name, skew), func(t *testing.T) {
				g := newGate(t, nil)
				behind := &clock{now: t0.Add(skew)}
				replica := &gate{tb: t, clock: behind, store: g.store}
				replica.build(nil)
				d := draft{key: key, method: "POST", params: params}
				g.wants("", everything, d.request(t))
				for range 200 {
					g.clock.advance(time.Second)
					behind.advance(time.Second)
					if a := replica.pass(everything, d.request(t)); a.status == 200 {
						t.Fatalf("accepted again at %v", behind.Now().Sub(t0))
					}
				}
			})
		}
	}
}

// TestMarkersOfFarExpires: a signature is no good behind the window, whatever it
// says itself, and so its marker need not stay.
func TestMarkersOfFarExpires(t *testing.T) {
	g := newGate(t, nil)
	g.wants("", everything, draft{key: seedKey("agent"), method: "POST", params: created(0) + ";expires=999999999999999"}.request(t))
	for r, err := range g.store.List(t.Context(), store.Query{Kind: agentauth.KindSeen}) {
		must(t, err)
		if life := r.Expires.Sub(t0); life > 3*time.Minute {
			t.Errorf("stays for %v", life)
		}
	}
}

func TestRefusedRequestsLeaveNoMarker(t *testing.T) {
	key := seedKey("agent")
	genuine := draft{key: key, method: "POST", body: "{}"}
	for name, tamper := range map[string]func(*http.Request){
		"a bad signature":    set("Signature", "sig="+someSignature),
		"another body":       func(r *http.Request) { r.Body = body("[]") },
		"too large a body":   func(r *http.Request) { r.Body, r.ContentLength = body(strings.Repeat("x", 2<<20)), -1 },
		"a component less":   change("Signature-Input", `"@path" `, ""),
		"another algorithm":  change("Signature-Key", `alg="Ed25519"`, `alg="EdDSA"`),
		"a future signature": change("Signature-Input", created(0), created(time.Hour)),
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			bad := genuine
			bad.tamper = tamper
			if a := g.pass(everything, bad.request(t)); a.status == 200 || g.seen() != 0 {
				t.Errorf("%d, and %d markers", a.status, g.seen())
			}
			g.wants("", everything, genuine.request(t))
		})
	}
}

// TestReplaysInDisguise is AGT-31: what differs is nothing that was signed.
func TestReplaysInDisguise(t *testing.T) {
	ec := newP256(t)
	signature := func(t *testing.T, edit func([]byte) string) func(*http.Request) {
		return func(r *http.Request) {
			text := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Signature"), "sig=:"), ":")
			b, err := base64.StdEncoding.DecodeString(text)
			must(t, err)
			r.Header.Set("Signature", "sig=:"+edit(b)+":")
		}
	}
	rename := func(r *http.Request) {
		for _, name := range []string{"Signature", "Signature-Input", "Signature-Key"} {
			change(name, "sig=", "x=")(r)
		}
	}
	for name, disguise := range map[string]func(*http.Request){
		"none": func(*http.Request) {},
		"the twin of an ECDSA signature": signature(t, func(b []byte) string {
			return base64.StdEncoding.EncodeToString(twin(b))
		}),
		"spare bits": signature(t, func(b []byte) string {
			text := base64.StdEncoding.EncodeToString(b) // of 64 bytes: 4 spare bits before two "="
			last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", text[85]) + 1
			return text[:85] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last]) + "=="
		}),
		"no padding":                  signature(t, func(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }),
		"spaces in Signature-Input":   change("Signature-Input", `"@method" `, `"@method"  `),
		"spaces around the fields":    func(r *http.Request) { r.Header.Set("Signature", " "+r.Header.Get("Signature")+" ") },
		"parameters of the signature": func(r *http.Request) { r.Header.Set("Signature", r.Header.Get("Signature")+";x=1") },
		"another label":               rename,
		"HTTP/2":                      func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 },
		"more fields":                 set("X-A", "1"),
		"Host with its port":          func(r *http.Request) { r.Host = "AP.example:443" },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			r := draft{key: ec, method: "POST"}.request(t)
			disguised := r.Clone(t.Context())
			disguise(disguised)
			g.wants("", everything, r)
			g.wants("invalid_signature", everything, disguised)
		})
	}
}

// TestStoreTroubleRefuses: what cannot be remembered or looked up is not let in.
func TestStoreTroubleRefuses(t *testing.T) {
	key := seedKey("agent")
	t.Run("no marker can be written", func(t *testing.T) {
		for _, cause := range []error{errStore, store.ErrFull, &store.OpError{Err: store.ErrFull}, context.DeadlineExceeded, store.ErrConflict} {
			g, st := newFailing(t)
			st.commit = cause
			g.wants("unavailable", everything, draft{key: key, method: "POST"}.request(t))
			g.wants("", everything, draft{key: key}.request(t))
			st.commit = nil
			g.wants("", everything, draft{key: key, method: "POST"}.request(t))
		}
	})
	t.Run("a store that is full", func(t *testing.T) {
		now := &clock{now: t0}
		g := (&gate{tb: t, clock: now, store: &store.Memory{Now: now.Now, Max: 1}}).build(nil)
		g.wants("", everything, draft{key: key, method: "POST"}.request(t))
		g.wants("unavailable", everything, draft{key: key, method: "PUT"}.request(t))
		g.wants("invalid_signature", everything, draft{key: key, method: "POST"}.request(t))
	})
	for _, kind := range []string{agentauth.KindRevoked, "agent", agentauth.KindSigningKeys, agentauth.KindAgentID} {
		t.Run("no record can be read of kind "+kind, func(t *testing.T) {
			for _, known := range []bool{false, true} {
				st := &failing{Store: new(store.Memory)}
				w := newWorld(t, worldConfig{store: st})
				g := &gate{tb: t, verifier: w.verifier}
				d := draft{key: key, member: shows(w.enroll(key, "{}"))}
				if known {
					g.wants("", everything, d.request(t))
				}
				st.get = func(k store.Key) bool { return k.Kind == kind }
				code := "unavailable"
				if known && kind == agentauth.KindAgentID {
					code = "" // an identifier has one owner for ever
				}
				g.wants(code, everything, d.request(t))
				st.get = nil
				g.wants("", everything, d.request(t))
			}
		})
	}
	t.Run("enrolled or not", func(t *testing.T) {
		g, st := newFailing(t)
		st.get = func(k store.Key) bool { return k.Kind == "agent" }
		g.wants("unavailable", agentauth.Policy{Schemes: everything.Schemes}, draft{key: key}.request(t))
	})
	t.Run("tells nothing of the store", func(t *testing.T) {
		g, st := newFailing(t)
		st.commit = errStore
		a := g.pass(everything, draft{key: key, method: "POST"}.request(t))
		if a.status != keywright.CodeUnavailable.Status() || strings.Contains(a.body, "disk") || !strings.Contains(g.cause(), "disk") {
			t.Errorf("%d %s; audit: %s", a.status, a.body, g.cause())
		}
	})
}

// newFailing makes a gate on a store that can fail.
func newFailing(tb testing.TB) (*gate, *failing) {
	tb.Helper()
	now := &clock{now: t0}
	st := &failing{Store: &store.Memory{Now: now.Now}}
	return (&gate{tb: tb, clock: now, store: st}).build(nil), st
}
