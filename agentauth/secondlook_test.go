package agentauth_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// TestHeldBackBodies: what was in time when a body began must be so when it ends.
// Else one could hold back the ends of many copies of a request until nobody
// remembers the first.
func TestHeldBackBodies(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, "{}")
	w.mux.Handle("/data", w.verifier.Require(agentauth.Policy{CoverBody: true})(whoami))
	server := httptest.NewServer(w.mux)
	defer server.Close()
	r := w.sign(w.request("POST", "/data", "{}"), key, agentauth.SignOptions{Token: token})
	began := make(chan bool, 8)
	open := func() net.Conn {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		fmt.Fprint(c, "POST /data HTTP/1.1\r\nHost: ap.example\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n")
		for name, values := range r.Header {
			fmt.Fprintf(c, "%s: %s\r\n", name, values[0])
		}
		fmt.Fprint(c, "\r\n")
		go func() { // the server says when it begins to read the body
			line, _ := bufio.NewReader(c).ReadString('\n')
			began <- strings.Contains(line, "100")
		}()
		if !<-began {
			t.Fatal("the server did not begin to read the body")
		}
		return c
	}
	end := func(c net.Conn) string {
		fmt.Fprint(c, "{}")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if status, ok := strings.CutPrefix(lines.Text(), "HTTP/1.1 "); ok && !strings.HasPrefix(status, "100") {
				return status[:3]
			}
		}
		return "no answer"
	}
	if got := end(open()); got != "200" {
		t.Fatalf("the first: %s", got)
	}
	one, two := open(), open()
	w.clock.advance(3 * time.Minute)
	for _, c := range []net.Conn{one, two} {
		if got := end(c); got != "401" {
			t.Errorf("a copy whose end was held back: %s", got)
		}
	}
}

// TestTokenEndsWhileTheBodyComes: so does the token's end count.
func TestTokenEndsWhileTheBodyComes(t *testing.T) {
	w := newWorld(t, worldConfig{verifier: func(c *agentauth.VerifierConfig) { c.Profile.Window = 10 * time.Minute }})
	key := newEd25519(t)
	token := w.enroll(key, "{}")
	w.mux.Handle("/data", w.verifier.Require(agentauth.Policy{CoverBody: true})(whoami))
	w.clock.advance(time.Hour - time.Second)
	r := w.sign(w.request("POST", "/data", "{}"), key, agentauth.SignOptions{Token: token})
	r.Body = slowly{r.Body.(interface{ Read([]byte) (int, error) }), func() { w.clock.advance(time.Second) }}
	w.wantError(w.do(r), 401, "expired_jwt")
}

// slowly is a body that calls before with each read.
type slowly struct {
	from   interface{ Read([]byte) (int, error) }
	before func()
}

func (s slowly) Read(b []byte) (int, error) {
	s.before()
	return s.from.Read(b)
}

func (slowly) Close() error { return nil }

// TestRefusedCallersLeaveNothing: a request is remembered once its caller is known
// to be welcome, so that strangers do not fill the store.
func TestRefusedCallersLeaveNothing(t *testing.T) {
	w := newWorld(t, worldConfig{})
	enrolled := agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK}}
	w.mux.Handle("/enrolled", w.verifier.Require(enrolled)(whoami))
	key := newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:x@ap.example"}`)
	must(t, w.provider.DisableAgent(t.Context(), principal("admin"), "aauth:x@ap.example"))
	before := w.count(agentauth.KindSeen)
	w.wantError(w.do(w.sign(w.request("POST", "/enrolled", "{}"), newEd25519(t), agentauth.SignOptions{})), 403, "denied")
	w.wantError(w.do(w.sign(w.request("POST", "/whoami", "{}"), key, agentauth.SignOptions{Token: token})), 403, "denied")
	if n := w.count(agentauth.KindSeen); n != before {
		t.Errorf("%d markers more", n-before)
	}
}

func (w *world) count(kind string) int {
	w.t.Helper()
	n := 0
	for _, err := range w.store.List(w.t.Context(), store.Query{Kind: kind}) {
		must(w.t, err)
		n++
	}
	return n
}

// TestOneDocumentHasOneName: a URL of scheme jwks has no query, with which one
// document could fill all the room there is for keys.
func TestOneDocumentHasOneName(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	w := newWorld(t, worldConfig{verifier: o.trusted})
	w.clock.now = t0
	w.mux.Handle("/jwks", w.verifier.Require(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeJWKS}})(whoami))
	for _, tail := range []string{"?n=1", "?"} {
		w.wantError(w.do(w.sign(w.request("GET", "/jwks", ""), o.key, agentauth.SignOptions{URL: o.id + "/jwks.json" + tail, KeyID: "key-1"})), 401, "invalid_key")
	}
	if n := o.fetches(""); n != 0 {
		t.Errorf("%d fetches", n)
	}
}

// TestTokensOfADeletedAgentStayDead: when the same key enrols anew, too.
func TestTokensOfADeletedAgentStayDead(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, ephemeral := newEd25519(t), newEd25519(t)
	w.enroll(key, `{"agent_id":"aauth:x@ap.example"}`)
	old := w.wantToken(w.refresh(ephemeral, agentauth.SignOptions{Durable: key}))
	w.clock.advance(time.Minute)
	must(t, w.provider.DeleteAgent(t.Context(), principal("admin"), "aauth:x@ap.example"))
	w.wantError(w.whoami(ephemeral, old), 403, "denied")
	token := w.enroll(key, `{"agent_id":"aauth:x@ap.example"}`)
	w.wantAgent(w.whoami(key, token), "aauth:x@ap.example")
	w.wantError(w.whoami(ephemeral, old), 403, "denied")
}

// TestTwoMiddlewares: one request that passes two of them is no replay of itself;
// sent twice it is.
func TestTwoMiddlewares(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, "{}")
	w.mux.Handle("/nested", w.verifier.Optional(agentauth.Policy{})(w.verifier.Require(agentauth.Policy{CoverBody: true})(whoami)))
	r := w.sign(w.request("POST", "/nested", "{}"), key, agentauth.SignOptions{Token: token})
	again := w.request("POST", "/nested", "{}")
	again.Header = r.Header.Clone()
	if a := w.do(r); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	w.wantError(w.do(again), 401, "invalid_signature")
}

// TestAcceptSignatureNamesAll: who signs as the answer says is accepted.
func TestAcceptSignatureNamesAll(t *testing.T) {
	w := newWorld(t, worldConfig{})
	r := w.request("POST", "/enrol", "{}")
	r.Header.Set("Authorization", "Bearer x")
	const all = `sig=("@method" "@authority" "@path" "signature-key" "content-type" "content-digest" "authorization");created`
	if got := w.do(r).header.Get("Accept-Signature"); got != all {
		t.Errorf("not signed: %s", got)
	}
	r = signMember(t, w.request("POST", "/enrol", "{}"), newEd25519(t), "hwk", w.clock.Now())
	r.Header.Set("Authorization", "Bearer x")
	if got := w.do(r).header.Get("Accept-Signature"); got != all {
		t.Errorf("signed with less: %s", got)
	}
}

// TestEnrolledNamesTheProvider: an agent is the same principal by hwk as by its
// token, and a provider that the verifier does not know vouches for nobody.
func TestEnrolledNamesTheProvider(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:x@ap.example"}`)
	enrolled := agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK}}
	w.mux.Handle("/enrolled", w.verifier.Require(enrolled)(whoami))
	byKey := w.do(w.sign(w.request("GET", "/enrolled", ""), key, agentauth.SignOptions{})).json(t)
	byToken := w.whoami(key, token).json(t)
	if byKey["Issuer"] != byToken["Issuer"] || byKey["Subject"] != byToken["Subject"] || byKey["Issuer"] != issuer {
		t.Errorf("by key %v, by token %v", byKey, byToken)
	}

	alone, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: w.host})
	must(t, err)
	w.mux.Handle("/stranger", alone.Require(enrolled)(whoami))
	w.wantError(w.do(w.sign(w.request("GET", "/stranger", ""), key, agentauth.SignOptions{})), 403, "denied")
}

// TestNobodyElseNamesOurAgents: whatever the compat flag admits, agents of this
// server's domain are those of its provider.
func TestNobodyElseNamesOurAgents(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	w := newWorld(t, worldConfig{verifier: func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Profile.Compat.AnyAgentDomain = true
	}})
	w.clock.now = t0
	key := newEd25519(t)
	if a := w.whoami(key, o.token(key, nil, claims{"sub": "aauth:admin@third.example"})); a.status != 200 {
		t.Errorf("another domain: %d %s", a.status, a.body)
	}
	w.wantError(w.whoami(key, o.token(key, nil, claims{"sub": "aauth:admin@ap.example"})), 401, "invalid_jwt")
}

// TestTrailersAreNotSigned: nothing that comes behind the body reaches a handler
// that goes by signed fields alone.
func TestTrailersAreNotSigned(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, "{}")
	var got http.Header
	w.mux.Handle("/trailer", w.verifier.Require(agentauth.Policy{})(agentauth.OnlySigned()(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = r.Trailer
	}))))
	r := w.sign(w.request("POST", "/trailer", "{}"), key, agentauth.SignOptions{Token: token})
	r.Trailer = http.Header{"X-Admin": {"1"}}
	if a := w.do(r); a.status != 200 || got != nil {
		t.Errorf("%d, trailer %v", a.status, got)
	}
}

// TestUsualPortInAuthorities: it is dropped, as clients drop it.
func TestUsualPortInAuthorities(t *testing.T) {
	w := newWorld(t, worldConfig{verifier: func(c *agentauth.VerifierConfig) { c.Profile.Authorities = []string{"AP.example:443"} }})
	key := newEd25519(t)
	w.wantAgent(w.whoami(key, w.enroll(key, `{"agent_id":"aauth:x@ap.example"}`)), "aauth:x@ap.example")
}

// TestSignOptions that cannot be signed by say so.
func TestSignOptionsAreChecked(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, "{}")
	for name, o := range map[string]agentauth.SignOptions{
		"want one of":                  {Token: token, Durable: key},
		"SignOptions.Token is not":     {Token: token + "\n"},
		"Server wants Role and KeyID":  {Server: issuer},
		"URL wants KeyID":              {URL: issuer + "/jwks.json"},
		"Server wants Role and KeyID ": {Server: issuer, Role: agentauth.RoleAgentProvider},
	} {
		err := agentauth.SignRequest(w.request("GET", "/", ""), key, o)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if agentauth.SignRequest(w.request("GET", "/", ""), nil, agentauth.SignOptions{}) == nil {
		t.Error("signed without a key")
	}
}

// TestProfilesMustFit: a verifier that does not take what its provider issues is a
// mistake, and so is a field that is meant to be a derived component.
func TestProfilesMustFit(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Profile.Network.Development = true }, verifier: func(c *agentauth.VerifierConfig) { c.Profile.Network.Development = true }})
	if _, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: w.host, Providers: []*agentauth.Provider{w.provider}}); err == nil || !strings.Contains(err.Error(), "Development") {
		t.Errorf("got %v", err)
	}
	if _, err := w.verifier.Authenticator(agentauth.Policy{Components: []string{"query"}}); err == nil || !strings.Contains(err.Error(), `"@query"`) {
		t.Errorf("got %v", err)
	}
}

// TestAdmissionThatTakesTooLong: a request is not admitted when it would not be
// remembered any more, or else copies of it could be admitted again and again.
func TestAdmissionThatTakesTooLong(t *testing.T) {
	var w *world
	w = newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = func(ctx context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
			w.clock.advance(3 * time.Minute)
			return agentauth.AdmitAnybody(ctx, a)
		}
	}})
	w.wantError(w.tryEnroll(newEd25519(t), "{}"), 401, "invalid_signature")
	if n := len(w.agents()); n != 0 {
		t.Errorf("%d agents", n)
	}
}

// TestReplicaWithASlowClock: a replica whose clock is behind that of the one which
// has enrolled an agent gives it tokens that are good.
func TestReplicaWithASlowClock(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	w.enroll(key, `{"agent_id":"aauth:x@ap.example"}`)
	w.clock.advance(-3 * time.Second)
	token := w.wantToken(w.refresh(key, agentauth.SignOptions{}))
	w.wantAgent(w.whoami(key, token), "aauth:x@ap.example")
}
