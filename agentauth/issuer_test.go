package agentauth_test

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// claims are a JSON object to be bent. In changes, nil takes a member away.
type claims map[string]any

// with returns c with changes.
func (c claims) with(changes claims) claims {
	c = maps.Clone(c)
	for name, value := range changes {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// null is the JSON value, as opposed to no member.
var null = json.RawMessage("null")

// compact signs a token with nothing but the standard library.
func compact(tb testing.TB, key crypto.Signer, header, set any) string {
	tb.Helper()
	h, err := json.Marshal(header)
	must(tb, err)
	p, err := json.Marshal(set)
	must(tb, err)
	return compactText(tb, key, string(h), string(p))
}

func compactText(tb testing.TB, key crypto.Signer, header, payload string) string {
	tb.Helper()
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	return input + "." + b64.EncodeToString(signBytes(tb, key, []byte(input)))
}

// A remote is a server elsewhere that publishes keys: an agent provider, or
// another. What it answers may be changed at any time.
type remote struct {
	tb   testing.TB
	srv  *httptest.Server
	id   string        // its identifier
	key  crypto.Signer // with which it signs
	role agentauth.Role

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // guarded by mu; by path
	fetched map[string]int              // guarded by mu; by path
}

const remoteKid = "key-1"

// newRemote starts a server that publishes its key as one of role.
func newRemote(tb testing.TB, role agentauth.Role) *remote {
	tb.Helper()
	o := &remote{tb: tb, key: seedKey("issuer"), role: role, answers: make(map[string]http.HandlerFunc), fetched: make(map[string]int)}
	o.srv = httptest.NewUnstartedServer(o)
	o.srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	o.srv.StartTLS()
	tb.Cleanup(o.srv.Close)
	o.id = o.srv.URL
	o.says(o.metadataPath(), claims{"issuer": o.id, "jwks_uri": o.id + "/jwks.json"})
	o.publishes(claims(jwk(tb, o.key)).with(claims{"kid": remoteKid}))
	return o
}

func (o *remote) metadataPath() string { return "/.well-known/" + string(o.role) }

func (o *remote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.fetched[r.URL.Path]++
	answer := o.answers[r.URL.Path]
	o.mu.Unlock()
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	answer(w, r)
}

// does sets what is answered at path.
func (o *remote) does(path string, answer http.HandlerFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers[path] = answer
}

// says sets a JSON document.
func (o *remote) says(path string, doc any) {
	text, err := json.Marshal(doc)
	must(o.tb, err)
	o.does(path, func(w http.ResponseWriter, _ *http.Request) { w.Write(text) })
}

// publishes sets the keys at /jwks.json.
func (o *remote) publishes(keys ...any) { o.says("/jwks.json", map[string]any{"keys": keys}) }

// fetches returns how often path was asked for; of "" it is all paths.
func (o *remote) fetches(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if path != "" {
		return o.fetched[path]
	}
	n := 0
	for _, times := range o.fetched {
		n += times
	}
	return n
}

// trusted is a configuration of a verifier that trusts o alone, in its role.
func (o *remote) trusted(c *agentauth.VerifierConfig) {
	o.reachable(c)
	c.Trust = func(id string, role agentauth.Role) bool { return id == o.id && role == o.role }
}

// reachable admits servers of this machine.
func (o *remote) reachable(c *agentauth.VerifierConfig) {
	roots := x509.NewCertPool()
	roots.AddCert(o.srv.Certificate())
	c.Profile.Network = agentauth.Network{RootCAs: roots, Development: true}
}

// agent is the identifier of an agent of o.
func (o *remote) agent() string {
	host, _, err := net.SplitHostPort(o.srv.Listener.Addr().String())
	must(o.tb, err)
	return "aauth:app@" + host
}

// claims are those of a good agent token of o for key.
func (o *remote) claims(key crypto.Signer) claims {
	return claims{
		"iss": o.id, "dwk": o.role, "sub": o.agent(), "jti": "t-1", "iat": t0.Unix(), "exp": t0.Add(time.Hour).Unix(),
		"cnf": claims{"jwk": jwk(o.tb, key)},
	}
}

var agentHeader = claims{"alg": "Ed25519", "typ": "aa-agent+jwt", "kid": remoteKid}

// token is an agent token of o, with changes of its header and of its claims.
func (o *remote) token(key crypto.Signer, header, changes claims) string {
	return compact(o.tb, o.key, agentHeader.with(header), o.claims(key).with(changes))
}

// shows is a member of Signature-Key of scheme jwt.
func shows(token string) string { return `jwt;jwt="` + token + `"` }
