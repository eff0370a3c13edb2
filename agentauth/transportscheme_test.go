package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

const tlsURL = "https://resource.example.com"

// tlsClock is near the end of a second, so that nobody waits long for the next.
var tlsClock = clock{now: t0.Add(999 * time.Millisecond)}

// newTLSResource serves everything at tlsURL, and answers with the Principal.
func newTLSResource(t testing.TB, http2 bool, trust *remote) *httptest.Server {
	t.Helper()
	u := clientRequest(t, "GET", tlsURL, "").URL
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{Now: tlsClock.Now}, URL: u, Hooks: keywright.Hooks{Now: tlsClock.Now}})
	must(t, err)
	c := agentauth.VerifierConfig{Host: host}
	trust.trusted(&c)
	v, err := agentauth.NewVerifier(c)
	must(t, err)
	p := everything
	p.CoverBody, p.Components, p.Replay = true, []string{"@query"}, agentauth.ReplayAll
	srv := httptest.NewUnstartedServer(v.Require(p)(whoami))
	srv.EnableHTTP2 = http2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

// ask sends a request and reads the Principal.
func ask(ctx context.Context, client http.RoundTripper, method, body string) (keywright.Principal, error) {
	var p keywright.Principal
	r, err := http.NewRequestWithContext(ctx, method, tlsURL+"/data?a=b", strings.NewReader(body))
	if err != nil {
		return p, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "text/plain")
	}
	resp, err := (&http.Client{Transport: client}).Do(r)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return p, fmt.Errorf("%d %s %v", resp.StatusCode, resp.Header.Get("Signature-Error"), err)
	}
	return p, json.Unmarshal(text, &p)
}

// TestAllSchemesGetThrough to a verifier, over TLS. It wants the query covered, which
// no one told the transport.
func TestAllSchemesGetThrough(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	ed, ec := seedKey("agent"), newP256(t)
	o.publishes(claims(jwk(t, o.key)).with(claims{"kid": remoteKid}), claims(jwk(t, ed)).with(claims{"kid": "ed"}), claims(jwk(t, ec)).with(claims{"kid": "ec"}))
	for name, as := range map[agentauth.Scheme]func(key crypto.Signer, kid string) (agentauth.SignOptions, string){
		agentauth.SchemeHWK: func(key crypto.Signer, _ string) (agentauth.SignOptions, string) {
			return agentauth.SignOptions{}, jktOf(t, key)
		},
		agentauth.SchemeJKTJWT: func(key crypto.Signer, _ string) (agentauth.SignOptions, string) {
			return agentauth.SignOptions{Durable: seedKey("durable")}, jktOf(t, seedKey("durable"))
		},
		agentauth.SchemeJWT: func(key crypto.Signer, _ string) (agentauth.SignOptions, string) {
			return agentauth.SignOptions{Token: o.token(key, nil, nil)}, "aauth:app@"
		},
		agentauth.SchemeJWKSURI: func(_ crypto.Signer, kid string) (agentauth.SignOptions, string) {
			return agentauth.SignOptions{Server: o.id, Role: o.role, KeyID: kid}, o.id
		},
		agentauth.SchemeJWKS: func(_ crypto.Signer, kid string) (agentauth.SignOptions, string) {
			return agentauth.SignOptions{URL: o.id + "/jwks.json", KeyID: kid}, o.id + "/jwks.json"
		},
	} {
		for kid, key := range map[string]crypto.Signer{"ed": ed, "ec": ec} {
			for _, http2 := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, HTTP/2 %v", name, kid, http2), func(t *testing.T) {
					srv := newTLSResource(t, http2, o)
					o, subject := as(key, kid)
					identity, err := agentauth.FixedIdentity(key, o)
					must(t, err)
					transport := signingTransport(t, srv.Client().Transport, func(c *agentauth.TransportConfig) {
						c.Identity, c.Origins, c.Now = identity, []string{tlsURL}, tlsClock.Now
					})
					for _, c := range [][2]string{{"GET", ""}, {"POST", "body"}, {"POST", "body"}, {"HEAD", ""}} {
						p, err := ask(t.Context(), transport, c[0], c[1])
						if c[0] == "HEAD" && err != nil && strings.HasPrefix(err.Error(), "unexpected end") {
							continue // an answer without a body
						}
						if err != nil || p.Attrs["scheme"] != string(name) || !strings.Contains(p.Subject, subject) {
							t.Errorf("%s: %v: %s by %s", c, err, p.Subject, p.Attrs["scheme"])
						}
					}
				})
			}
		}
	}
}

// TestWhatIsChangedOnTheWayIsRefused, so that the verifier is known to look.
func TestWhatIsChangedOnTheWayIsRefused(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	srv := newTLSResource(t, false, o)
	for name, change := range map[string]func(*http.Request){
		"nothing":       func(*http.Request) {},
		"the method":    func(r *http.Request) { r.Method = "PUT" },
		"the path":      func(r *http.Request) { r.URL.Path = "/other" },
		"the query":     func(r *http.Request) { r.URL.RawQuery = "a=c" },
		"the host":      func(r *http.Request) { r.Host = "other.example.com" },
		"the body":      func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("ydob")) },
		"the type":      func(r *http.Request) { r.Header.Set("Content-Type", "text/html") },
		"a credential":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer other") },
		"no credential": func(r *http.Request) { r.Header.Del("Authorization") },
		"the key":       func(r *http.Request) { r.Header.Set("Signature-Key", "sig="+hwk(t, seedKey("other"))) },
	} {
		next := roundTripper(func(r *http.Request) (*http.Response, error) {
			u := *r.URL
			r.URL = &u
			change(r)
			return srv.Client().Transport.RoundTrip(r)
		})
		transport := signingTransport(t, next, func(c *agentauth.TransportConfig) {
			c.Origins, c.Now, c.Components = []string{tlsURL}, tlsClock.Now, []string{"@query"}
		})
		r := clientRequest(t, "POST", tlsURL+"/data?a=b", "body")
		r.Header.Set("Authorization", "Bearer of-the-caller")
		resp, err := transport.RoundTrip(r)
		must(t, err)
		resp.Body.Close()
		if want := 401; name != "nothing" && resp.StatusCode != want || name == "nothing" && resp.StatusCode != 200 {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

// TestIdentitiesDoNotMix: two agents share the connections of one process.
func TestIdentitiesDoNotMix(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	srv := newTLSResource(t, true, o)
	agents := make(map[string]*agentauth.Transport) // by thumbprint
	for _, key := range []crypto.Signer{seedKey("one"), newP256(t)} {
		identity, err := agentauth.FixedIdentity(key, agentauth.SignOptions{})
		must(t, err)
		agents[jktOf(t, key)] = signingTransport(t, srv.Client().Transport, func(c *agentauth.TransportConfig) {
			c.Identity, c.Origins, c.Now = identity, []string{tlsURL}, tlsClock.Now
		})
	}
	var wg sync.WaitGroup
	for i := range 50 {
		for jkt, transport := range agents {
			wg.Go(func() {
				p, err := ask(t.Context(), transport, "POST", fmt.Sprintf("body %d", i%5))
				if err != nil || p.Attrs["jkt"] != jkt {
					t.Errorf("%v: %s, want %s", err, p.Subject, jkt)
				}
			})
		}
	}
	wg.Wait()
}

// TestServersMayAnswerBeforeTheBody: with Expect, and without.
func TestServersMayAnswerBeforeTheBody(t *testing.T) {
	asked := 0
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			w.Header().Set("Signature-Error", "error=invalid_signature")
			w.WriteHeader(401)
			return
		}
		io.Copy(w, r.Body)
	}))
	defer srv.Close()
	next := srv.Client().Transport.(*http.Transport)
	next.ExpectContinueTimeout = time.Minute
	transport := signingTransport(t, next, func(c *agentauth.TransportConfig) { c.Origins, c.Now = []string{tlsURL}, tlsClock.Now })
	for _, expect := range []string{"", "100-continue"} {
		asked = 0
		r := clientRequest(t, "POST", tlsURL+"/data", "body")
		if expect != "" {
			r.Header.Set("Expect", expect)
		}
		resp, err := transport.RoundTrip(r)
		must(t, err)
		if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "body" || asked != 2 {
			t.Errorf("%q: %q, %v, asked %d times", expect, text, err, asked)
		}
		resp.Body.Close()
	}
}

// TestAnswersStream: the caller has the beginning before there is an end.
func TestAnswersStream(t *testing.T) {
	end := make(chan struct{})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		http.NewResponseController(w).Flush()
		<-end
	}))
	defer srv.Close()
	transport := signingTransport(t, srv.Client().Transport, func(c *agentauth.TransportConfig) { c.Origins = []string{tlsURL} })
	resp, err := transport.RoundTrip(clientRequest(t, "GET", tlsURL+"/data", ""))
	must(t, err)
	defer resp.Body.Close()
	text := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, text); err != nil || string(text) != "begin" {
		t.Errorf("%q, %v", text, err)
	}
	close(end)
}
