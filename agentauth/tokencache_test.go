package agentauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// later is a draft signed d after t0.
func (d draft) later(after time.Duration) draft {
	d.params = created(after)
	return d
}

func TestKnownTokensAreVerifiedOnce(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	d := draft{key: key, member: shows(o.token(key, nil, nil))}
	for range 3 {
		g.wants("", everything, d.request(t))
	}
	if n := g.verifier.Remembered(); n != 1 {
		t.Errorf("%d tokens are remembered", n)
	}
	g.wants("invalid_signature", everything, draft{key: seedKey("thief"), member: d.member}.request(t))
}

// TestWhatEndsATokenEndsAKnownOne has, for each way in which a token ends, one
// that was accepted before.
func TestWhatEndsATokenEndsAKnownOne(t *testing.T) {
	key := seedKey("agent")
	other := claims(jwk(t, seedKey("other"))).with(claims{"kid": "other"})
	tests := []struct {
		name string
		end  func(o *remote, g *gate, trusted *bool)
		code string
	}{
		{"nothing", func(*remote, *gate, *bool) {}, ""},
		{"its exp", func(_ *remote, g *gate, _ *bool) { g.clock.advance(time.Hour) }, "expired_jwt"},
		{"its issuer is not trusted any more", func(_ *remote, _ *gate, trusted *bool) { *trusted = false }, "invalid_key"},
		{"its key was withdrawn", func(o *remote, g *gate, _ *bool) {
			o.publishes(other)
			g.clock.advance(61 * time.Second)
			// Whoever names an unknown key makes us look.
			g.wants("unknown_key", everything, draft{key: key, member: shows(o.token(key, claims{"kid": "unknown"}, nil))}.later(61*time.Second).request(t))
		}, "unknown_key"},
		{"its key's id is another's", func(o *remote, g *gate, _ *bool) {
			o.publishes(other.with(claims{"kid": remoteKid}))
			g.clock.advance(61 * time.Second)
			g.wants("unknown_key", everything, draft{key: key, member: shows(o.token(key, claims{"kid": "unknown"}, nil))}.later(61*time.Second).request(t))
		}, "invalid_jwt"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newRemote(t, agentauth.RoleAgentProvider)
			trusted := true
			g := newGate(t, func(c *agentauth.VerifierConfig) {
				o.trusted(c)
				c.Trust = func(string, agentauth.Role) bool { return trusted }
			})
			d := draft{key: key, member: shows(o.token(key, nil, nil))}
			g.wants("", everything, d.request(t))
			tt.end(o, g, &trusted)
			d = d.later(g.clock.Now().Sub(t0))
			g.wants(tt.code, everything, d.request(t))
			g.wants(tt.code, everything, d.request(t))
			if forgotten := g.verifier.Remembered() == 0; forgotten != (tt.code != "" && tt.code != "invalid_key") {
				t.Errorf("forgotten: %v", forgotten)
			}
		})
	}
}

func TestExpiredTokensLeaveTheCacheAtTheSecond(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	d := draft{key: key, member: shows(o.token(key, nil, claims{"exp": t0.Add(10 * time.Second).Unix()}))}
	g.wants("", everything, d.request(t))
	g.clock.advance(9999 * time.Millisecond)
	g.wants("", everything, d.request(t))
	g.clock.advance(time.Millisecond)
	g.wants("expired_jwt", everything, d.request(t))
}

func TestSubAgentsGoWithTheirParents(t *testing.T) {
	w := newWorld(t, worldConfig{})
	g := &gate{tb: t, verifier: w.verifier}
	parent, child := seedKey("parent"), seedKey("child")
	token := w.enroll(parent, `{"agent_id":"aauth:app@ap.example"}`)
	r := w.request("POST", "/subagent", string(mustJSON(t, claims{"jwk": jwk(t, child), "discriminator": "one"})))
	a := w.do(w.sign(r, parent, agentauth.SignOptions{Token: token}))
	if a.status != http.StatusOK {
		t.Skip("no sub-agents here: ", a.status)
	}
	d := draft{key: child, member: shows(a.json(t)["agent_token"].(string))}
	p := g.pass(everything, d.request(t)).principal(t)
	if p.Subject != "aauth:app+one@ap.example" || p.Attrs["parent_agent"] != "aauth:app@ap.example" {
		t.Errorf("principal %+v", p)
	}
	amend(t, w.store, parent, disabled)
	g.wants("denied", everything, d.request(t))
}

// TestFloodOfTokens: those that are known stay known, and newcomers are verified
// each time.
func TestFloodOfTokens(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	g.verifier.RememberAtMost(3)
	show := func(i int, exp time.Duration) draft {
		return draft{key: key, member: shows(o.token(key, nil, claims{"jti": fmt.Sprint(i), "exp": t0.Add(exp).Unix()}))}.later(g.clock.Now().Sub(t0))
	}
	for i := range 5 {
		for range 2 {
			g.wants("", everything, show(i, time.Minute).request(t))
		}
	}
	if n := g.verifier.Remembered(); n != 3 {
		t.Fatalf("%d tokens are remembered, want 3", n)
	}
	g.clock.advance(3 * time.Minute) // past all of them, and the most that is allowed for clocks
	g.wants("", everything, show(9, time.Hour).request(t))
	if n := g.verifier.Remembered(); n != 1 {
		t.Errorf("%d tokens are remembered, want the newcomer alone", n)
	}
}

func TestPrincipalsShareNothing(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	a, err := g.verifier.Authenticator(everything)
	must(t, err)
	d := draft{key: key, member: shows(o.token(key, nil, nil))}
	first, err := a.Authenticate(d.request(t))
	must(t, err)
	want := string(first.Claims)
	for i := range first.Claims {
		first.Claims[i] = 'x'
	}
	clear(first.Attrs)
	second, err := a.Authenticate(d.request(t))
	must(t, err)
	if string(second.Claims) != want || len(second.Attrs) == 0 {
		t.Errorf("the next principal has %s and %v", second.Claims, second.Attrs)
	}
}

// TestTokensAtOnce is for the race detector.
func TestTokensAtOnce(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	g.verifier.RememberAtMost(2)
	a, err := g.verifier.Authenticator(everything)
	must(t, err)
	var requests []*http.Request
	for i := range 4 {
		requests = append(requests, draft{key: key, member: shows(o.token(key, nil, claims{"jti": fmt.Sprint(i)}))}.request(t))
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			p, err := a.Authenticate(requests[i%4].Clone(t.Context()))
			if err != nil || p.Attrs["jti"] != fmt.Sprint(i%4) {
				t.Errorf("%v, %v", p.Attrs, err)
			}
		})
	}
	wg.Wait()
}

// TestEnrolledKeysAlone is Policy.Pseudonyms, which is off, with each scheme of a key.
func TestEnrolledKeysAlone(t *testing.T) {
	w := newWorld(t, worldConfig{})
	g := &gate{tb: t, verifier: w.verifier}
	key, stranger, fresh := seedKey("agent"), seedKey("stranger"), seedKey("fresh")
	w.enroll(key, `{"agent_id":"aauth:app@ap.example"}`)
	p := everything
	p.Pseudonyms = false
	url := fmt.Sprintf(`jwks;url="https://ap.example/agents/aauth:app@ap.example/jwks.json";kid=%q`, jktOf(t, key))
	known := map[string]draft{
		"hwk": {key: key}, "jwks": {key: key, member: url}, "jkt-jwt": {key: fresh, member: names(namingJWT(t, key, fresh, nil, nil))},
	}
	for name, d := range known {
		t.Run(name, func(t *testing.T) {
			who := g.pass(p, d.request(t)).principal(t)
			if who.Subject != "aauth:app@ap.example" || who.Attrs["agent"] != who.Subject || who.Attrs["scheme"] != name {
				t.Errorf("principal %+v", who)
			}
		})
	}
	for name, d := range map[string]draft{
		"hwk of a stranger": {key: stranger}, "jkt-jwt of a stranger": {key: key, member: names(namingJWT(t, stranger, key, nil, nil))},
	} {
		t.Run(name, func(t *testing.T) {
			g.wants("denied", p, d.request(t))
			g.wants("", everything, d.request(t))
		})
	}
	g.wants("unknown_key", p, draft{key: key, member: strings.Replace(url, "kid=\"", "kid=\"x", 1)}.request(t))
	amend(t, w.store, key, disabled)
	for name, d := range known {
		want := map[string]string{"jwks": "unknown_key"}[name]
		if want == "" {
			want = "denied"
		}
		t.Run(name+" of one who is disabled", func(t *testing.T) { g.wants(want, p, d.request(t)) })
	}
}
