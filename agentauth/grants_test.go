package agentauth_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// A turning identity has another credential when it is renewed.
type turning struct {
	mu      sync.Mutex
	now     agentauth.Credential
	next    []agentauth.Credential
	renewed int
}

func (s *turning) Credential(context.Context) (agentauth.Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, nil
}

func (s *turning) turn(c agentauth.Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = c
}

func (s *turning) Renew(context.Context, agentauth.Credential) (agentauth.Credential, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renewed++
	if len(s.next) == 0 {
		return agentauth.Credential{}, errors.New("the provider is away")
	}
	s.now, s.next = s.next[0], s.next[1:]
	return s.now, nil
}

func credentialOf(key ed25519.PrivateKey, token string) agentauth.Credential {
	return agentauth.Credential{Key: key, As: agentauth.SignOptions{Token: token}}
}

func (w *errandWorld) want(name, url string, status int, atShop, atDesk string) {
	w.t.Helper()
	got, err := w.fetch(url)
	if shop, desk := w.shop.took(), w.desk.tookPaths(); got != status || shop != atShop || desk != atDesk {
		w.t.Errorf("%s: %d, %v; want %d\nthe shop saw %s, want %s\nthe person server %s, want %s", name, got, err, status, shop, atShop, desk, atDesk)
	}
}

// TestTokensAreRenewedAheadOfTheirEnd: and used to their end where no other is to be
// had.
func TestTokensAreRenewedAheadOfTheirEnd(t *testing.T) {
	const wholeWay, both = "agent /data, person /data, auth /data", "POST /person, POST /auth"
	w := newErrandWorld(t, nil)
	w.want("first", shopURL, 200, wholeWay, both)
	w.clock.advance(54 * time.Minute)
	w.want("6 minutes left", shopURL, 200, "auth /data", "")
	w.clock.advance(90 * time.Second)
	away := []scripted{{503, "", "", ""}, {503, "", "", ""}}
	w.desk.set(func() { w.desk.script = away })
	w.want("the person server is away", shopURL, 200, wholeWay, both)
	w.clock.advance(30 * time.Second)
	w.want("it was asked just now", shopURL, 200, "auth /data", "")
	w.clock.advance(30 * time.Second)
	w.want("it is back", shopURL, 200, wholeWay, both)
	w.clock.advance(2 * time.Minute)
	w.want("new ones", shopURL, 200, "auth /data", "")
	w.clock.advance(50 * time.Second)
	w.desk.set(func() { w.desk.script = []scripted{{403, "", "", `{"error":"denied"}`}} })
	w.want("the person has changed their mind", shopURL, 0, "agent /data", "POST /person")
}

func TestTokensEndWithTheAgentToken(t *testing.T) {
	w := newErrandWorld(t, nil)
	c := credentialOf(w.agent, w.token)
	c.Expires = w.clock.Now().Add(10 * time.Minute)
	w.client = w.as(&turning{now: c})
	w.want("first", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	w.clock.advance(9 * time.Minute)
	w.want("a minute left", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	w.desk.set(func() { w.desk.script = []scripted{{503, "", "", ""}, {503, "", "", ""}} })
	w.clock.advance(time.Minute)
	w.want("ended", shopURL, 0, "agent /data", "POST /person")
}

// TestAnotherKeyEndsAllTokens: they are bound to the key that they were got for.
func TestAnotherKeyEndsAllTokens(t *testing.T) {
	w := newErrandWorld(t, nil)
	other := newEd25519(t)
	second := w.enroll(other, `{"agent_id":"aauth:second@ap.example","ps":"https://ps.example"}`)
	identity := &turning{now: credentialOf(w.agent, w.token)}
	w.client = w.as(identity)
	w.want("first", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	identity.now = credentialOf(other, second)
	w.desk.set(func() { w.desk.agent = other })
	w.shop.set(func() { w.shop.agent = other })
	w.want("another key", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
}

// TestKeyTurnsOnTheWay: what was asked of one key is asked of the next anew.
func TestKeyTurnsOnTheWay(t *testing.T) {
	w := newErrandWorld(t, nil)
	other := newEd25519(t)
	second := w.enroll(other, `{"agent_id":"aauth:second@ap.example","ps":"https://ps.example"}`)
	identity := &turning{now: credentialOf(w.agent, w.token)}
	w.client = w.as(identity)
	w.shop.serve = func(_ http.ResponseWriter, _ *http.Request, typ string, c map[string]any) bool {
		if identity.now.As.Token != second && typ == "aa-agent+jwt" {
			identity.now = credentialOf(other, second)
			w.desk.set(func() { w.desk.agent = other })
			w.shop.agent = other
		}
		return false
	}
	w.want("turned", shopURL, 200, "agent /data, agent /data, person /data, auth /data", "POST /person, POST /auth")
}

// TestAPlaceIsRemembered: what takes an agent token alone gets that at once, the
// next time.
func TestAPlaceIsRemembered(t *testing.T) {
	w := newErrandWorld(t, nil)
	w.shop.serve = func(rw http.ResponseWriter, r *http.Request, typ string, _ map[string]any) bool {
		takes := map[string]string{"/agent": "agent", "/person": "person"}[r.URL.Path]
		if takes == "" || typ == "aa-"+takes+"+jwt" {
			return takes != ""
		}
		rw.Header().Set("AAuth-Requirement", "requirement="+takes+"-token")
		rw.WriteHeader(401)
		return true
	}
	w.want("data", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	w.want("agent", w.shop.id+"/agent", 200, "auth /agent, agent /agent", "")
	w.want("agent again", w.shop.id+"/agent", 200, "agent /agent", "")
	w.want("person", w.shop.id+"/person", 200, "auth /person, person /person", "")
	w.want("person again", w.shop.id+"/person", 200, "person /person", "")
	w.want("data again", shopURL, 200, "auth /data", "")
	w.shop.set(func() { w.shop.serve = nil })
	w.want("it wants more now", w.shop.id+"/agent", 200, "agent /agent, person /agent, auth /agent", "")
	w.want("and is remembered", w.shop.id+"/agent", 200, "auth /agent", "")
}

func TestRevokedGrant(t *testing.T) {
	w := newErrandWorld(t, nil)
	w.want("first", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	revoked := true
	w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, typ string, _ map[string]any) bool {
		if typ != "aa-auth+jwt" || !revoked {
			return false
		}
		revoked = false
		rw.Header().Set("AAuth-Requirement", "requirement=person-token")
		rw.Header().Set("Signature-Error", "error=revoked_jwt")
		rw.WriteHeader(401)
		return true
	}
	w.want("revoked", shopURL, 200, "auth /data, person /data, auth /data", "POST /auth")
	w.want("afterwards", shopURL, 200, "auth /data", "")
}

func (w *errandWorld) transport() *agentauth.Transport {
	return w.client.Transport.(*agentauth.Transport)
}

// TestRenewal: what ends no later than the refused token is renewed with it.
func TestRenewal(t *testing.T) {
	w := newErrandWorld(t, nil)
	identity := &turning{now: credentialOf(w.agent, w.token)}
	w.client = w.as(identity)
	if status, err := w.fetch(shopURL); status != 200 {
		t.Fatal(status, err)
	}
	req, err := http.NewRequest("GET", shopURL, nil)
	must(t, err)
	typ := func(name string, ctx context.Context, want agentauth.TokenType) agentauth.Credential {
		t.Helper()
		c, err := w.transport().CredentialFor(ctx, w.shop.id)
		must(t, err)
		r, err := http.NewRequest("GET", shopURL, nil)
		must(t, err)
		must(t, agentauth.SignRequest(r, c.Key, c.As))
		if got, _ := shownToken(t, r); got != string(want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		return c
	}
	ctx := w.transport().Begin(req)
	auth := typ("first", ctx, agentauth.AuthToken)
	again, err := w.transport().Renew(ctx, w.shop.id, auth, "revoked_jwt")
	if !again || err != nil || identity.renewed != 0 {
		t.Errorf("revoked: %v, %v, renewed %d times", again, err, identity.renewed)
	}
	person := typ("without the auth token", ctx, agentauth.PersonToken)
	if again, err = w.transport().Renew(ctx, w.shop.id, auth, "revoked_jwt"); again || err != nil {
		t.Errorf("a second time: %v, %v", again, err)
	}
	_, err = w.transport().Renew(ctx, w.shop.id, person, "expired_jwt")
	if e, ok := errors.AsType[*agentauth.ChallengeError](err); !ok || e.Origin != w.shop.id || identity.renewed != 1 {
		t.Errorf("the agent token ends with it: %v, renewed %d times", err, identity.renewed)
	}
	agent := typ("without the person token", ctx, agentauth.AgentToken)
	identity.next = []agentauth.Credential{identity.now}
	if again, err = w.transport().Renew(ctx, w.shop.id, agent, "revoked_jwt"); !again || err != nil || identity.renewed != 2 {
		t.Errorf("agent token: %v, %v, renewed %d times", again, err, identity.renewed)
	}
	if again, err = w.transport().Renew(ctx, w.shop.id, agentauth.Credential{Key: w.agent}, "expired_jwt"); again || err != nil {
		t.Errorf("no token: %v, %v", again, err)
	}
}

// TestPersonServerRefusesTheAgentToken: the agent gets another once.
func TestPersonServerRefusesTheAgentToken(t *testing.T) {
	w := newErrandWorld(t, nil)
	identity := &turning{now: credentialOf(w.agent, w.token)}
	identity.next = []agentauth.Credential{identity.now}
	w.client = w.as(identity)
	inner, refusals := w.servers["ps.example"], 0
	w.servers["ps.example"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/person" && refusals < 1 {
			refusals++
			rw.Header().Set("Signature-Error", "error=expired_jwt")
			rw.WriteHeader(401)
			return
		}
		inner.ServeHTTP(rw, r)
	})
	w.want("refused", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	if identity.renewed != 1 {
		t.Errorf("renewed %d times", identity.renewed)
	}
}

// TestNeverEnough: a resource that is not content with what it asked for is asked no
// more.
func TestNeverEnough(t *testing.T) {
	w := newErrandWorld(t, nil)
	w.want("first", shopURL, 200, "agent /data, person /data, auth /data", "POST /person, POST /auth")
	w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, typ string, c map[string]any) bool {
		if typ == "aa-auth+jwt" {
			w.shop.askAuth(rw, c)
		}
		return typ == "aa-auth+jwt"
	}
	w.want("more and more", shopURL, 401, "auth /data, auth /data", "POST /auth")
	w = newErrandWorld(t, nil)
	w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, _ string, _ map[string]any) bool {
		rw.Header().Set("AAuth-Requirement", "requirement=person-token")
		rw.WriteHeader(401)
		return true
	}
	w.want("another person token", shopURL, 401, "agent /data, person /data, person /data", "POST /person, POST /person")
}
