package agentauth_test

import (
	"context"
	"crypto"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// TestRotationOfAKeyID: an issuer gives an id to a new key, and tokens and
// signatures by it are good once a fetch may be made.
func TestRotationOfAKeyID(t *testing.T) {
	for _, way := range []string{"jwks_uri", "jwt", "jwks"} {
		t.Run(way, func(t *testing.T) {
			o := newRemote(t, agentauth.RoleAgentProvider)
			request := func(t *testing.T) *http.Request { return o.by(t, way).request(t) }
			g := newGate(t, o.trusted)
			g.wants("", everything, request(t))
			old := o.key
			o.key = seedKey("new")
			o.publishes(claims(jwk(t, o.key)).with(claims{"kid": remoteKid}))
			bad := map[string]string{"jwks_uri": "invalid_signature", "jwt": "invalid_jwt", "jwks": "invalid_signature"}[way]
			g.wants(bad, everything, request(t)) // no fetch within a minute
			g.clock.advance(time.Minute)
			if a := g.pass(everything, o.by(t, way).later(time.Minute).request(t)); a.status != 200 {
				t.Fatalf("the new key: %d %s (%s)", a.status, a.body, g.cause())
			} else if jkt := a.principal(t).Credential; way != "jwt" && jkt != jktOf(t, o.key) {
				t.Errorf("known as %s, want %s", jkt, jktOf(t, o.key))
			}
			o.key = old
			g.wants(bad, everything, request(t))
		})
	}
}

// TestNewerKeysMustFitToo: it is not enough that an issuer has another key.
func TestNewerKeysMustFitToo(t *testing.T) {
	thief := seedKey("thief")
	fresh := claims(jwk(t, seedKey("new"))).with(claims{"kid": remoteKid})
	for name, tt := range map[string]struct {
		key crypto.Signer // that signs
		jwk claims        // that is published
	}{
		"signed by neither": {thief, fresh}, "signed by one without alg": {seedKey("new"), fresh.with(claims{"alg": nil})},
	} {
		for way, code := range map[string]string{"jwks_uri": "invalid_signature", "jwks": "invalid_signature", "jwt": "invalid_jwt"} {
			t.Run(name+", "+way, func(t *testing.T) {
				o := newRemote(t, agentauth.RoleAgentProvider)
				g := newGate(t, o.trusted)
				g.wants("", everything, o.by(t, way).request(t))
				o.publishes(tt.jwk)
				o.key = tt.key
				g.clock.advance(time.Minute)
				if way == "jwt" && tt.jwk["alg"] == nil {
					code = "unsupported_algorithm"
				}
				g.wants(code, everything, o.by(t, way).later(time.Minute).request(t))
			})
		}
	}
}

// TestSameRequestByAnotherKey is no replay, although all that was signed is the same.
func TestSameRequestByAnotherKey(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	d := o.by(t, "jwks_uri").later(time.Minute)
	d.method = "POST"
	g.wants("", everything, d.request(t))
	d.key = seedKey("new")
	o.publishes(claims(jwk(t, d.key)).with(claims{"kid": remoteKid}))
	g.clock.advance(time.Minute)
	g.wants("", everything, d.request(t))
	g.wants("invalid_signature", everything, d.request(t))
}

// TestFetchStorm is AGT-55.
func TestFetchStorm(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	a, err := g.verifier.Authenticator(everything)
	must(t, err)
	r := o.byServer(o.id, o.role, remoteKid).request(t)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			if _, err := a.Authenticate(r.Clone(context.Background())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := func(when string, n int) {
		t.Helper()
		if m, k := o.fetches(o.metadataPath()), o.fetches("/jwks.json"); m != n || k != n {
			t.Errorf("%s: %d fetches of metadata, %d of keys, want %d of each", when, m, k, n)
		}
	}
	want("1,000 at once", 1)
	for i := range 1000 {
		if _, err := a.Authenticate(o.byServer(o.id, o.role, fmt.Sprint("random-", i)).request(t)); err == nil {
			t.Fatal("a key that is not published")
		}
	}
	want("1,000 unknown kids", 1)
	g.clock.advance(time.Minute)
	for range 3 {
		a.Authenticate(draft{key: o.key, member: o.byServer(o.id, o.role, "x").member, params: created(time.Minute)}.request(t))
	}
	want("a minute later", 2)
}

// TestFailuresAreRememberedToo: an issuer that is away is asked after 1, 2, 4 and
// then 5 minutes, whoever comes.
func TestFailuresAreRememberedToo(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	o.does(o.metadataPath(), nil)
	g := newGate(t, o.trusted)
	var asked []int
	for minute := range 20 {
		for range 3 {
			d := o.byServer(o.id, o.role, remoteKid)
			d.params = created(time.Duration(minute) * time.Minute)
			g.wants("unknown_key", everything, d.request(t))
		}
		if o.fetches(o.metadataPath()) > len(asked) {
			asked = append(asked, minute)
		}
		g.clock.advance(time.Minute)
	}
	if got := fmt.Sprint(asked); got != "[0 1 3 7 12 17]" {
		t.Errorf("asked in minutes %v", got)
	}
}

// TestStallingIssuer is AGT-54: ten seconds are not waited for.
func TestStallingIssuer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 5 seconds, and runs in the full suite")
	}
	t.Parallel()
	o := newRemote(t, agentauth.RoleAgentProvider)
	gone := make(chan struct{})
	o.does("/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	defer close(gone)
	began := time.Now()
	newGate(t, o.trusted).wants("unknown_key", everything, o.byServer(o.id, o.role, remoteKid).request(t))
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestPrivateAddresses is AGT-50 at this layer: names are judged by where they lead.
func TestPrivateAddresses(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Profile.Network.Development = false
		c.Trust = func(string, agentauth.Role) bool { return true }
	})
	g.wants("unknown_key", everything, o.byServer("https://localhost", o.role, remoteKid).request(t))
	g.wants("invalid_key", everything, o.byURL(o.id+"/jwks.json", remoteKid).request(t))
	g.wants("unknown_key", everything, o.byURL(strings.Replace(o.id, "127.0.0.1", "localhost", 1)+"/jwks.json", remoteKid).request(t))
	if n := o.fetches(""); n != 0 {
		t.Errorf("%d fetches", n)
	}
	open := newGate(t, func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Profile.Network.Development = false
		c.Profile.Network.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Trust = func(string, agentauth.Role) bool { return true }
	})
	open.wants("", everything, o.byURL(o.id+"/jwks.json", remoteKid).request(t))
}

// TestStrangersTakeNoRoom: names that lead nowhere do not drive out the keys that
// have verified something, and those of servers have room that URLs do not take.
func TestStrangersTakeNoRoom(t *testing.T) {
	for _, way := range []string{"jwks_uri", "jwks", "jwt"} {
		t.Run(way, func(t *testing.T) {
			o := newRemote(t, agentauth.RoleAgentProvider)
			g := newGate(t, func(c *agentauth.VerifierConfig) {
				o.trusted(c)
				c.Trust = func(string, agentauth.Role) bool { return true }
			})
			g.verifier.KeepAtMost(3)
			g.wants("", everything, o.by(t, way).request(t))
			nowhere := func(i int, after time.Duration) {
				t.Helper()
				for _, d := range []draft{o.byServer(fmt.Sprintf("https://localhost:%d", i+1), o.role, "x"), o.byURL(fmt.Sprintf("https://localhost:%d/", i+1), "x")} {
					g.wants("unknown_key", everything, d.later(after).request(t))
				}
			}
			for i := range 5 { // of whom two find room
				nowhere(i, 0)
			}
			g.clock.advance(time.Minute)
			nowhere(5, time.Minute)
			g.wants("", everything, o.by(t, way).later(time.Minute).request(t))
			if n := o.fetches("/jwks.json"); n != 1 {
				t.Errorf("%d fetches, want one", n)
			}
		})
	}
	t.Run("URLs beside servers", func(t *testing.T) {
		o := newRemote(t, agentauth.RoleAgentProvider)
		g := newGate(t, o.trusted)
		g.verifier.KeepAtMost(1)
		g.wants("unknown_key", everything, o.byURL(o.id+"/nothing.json", "x").request(t))
		g.wants("", everything, o.by(t, "jwks_uri").request(t))
		g.wants("unknown_key", everything, o.by(t, "jwks").request(t)) // there is no room for another URL
	})
}
