package interop_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A seen is what the verifying server says of a request.
type seen struct {
	Verified  bool
	Scheme    string
	Error     string
	Code      string // of Signature-Error
	Input     string // the field Signature-Input
	Signature string

	Method, Authority, Path, Query, Body string
}

// A proxy passes requests for any server on to one, changed on the way.
type proxy struct {
	to     *url.URL
	change func(*http.Request) // nil: nothing is changed
}

// RoundTrip implements [http.RoundTripper].
func (p proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r.Clone(r.Context())
	if sent.Host == "" {
		sent.Host = r.URL.Host
	}
	sent.Header.Set("X-Scheme", r.URL.Scheme)
	sent.URL.Scheme, sent.URL.Host = p.to.Scheme, p.to.Host
	if p.change != nil {
		p.change(sent)
	}
	return http.DefaultTransport.RoundTrip(sent)
}

// A signer is a way to sign, and what it is called by the library.
type signer struct {
	name     string
	identity agentauth.Identity
	scheme   string
}

// signers are all ways that the library knows, with a key of an algorithm each.
func signers(t *testing.T) []signer {
	t.Helper()
	var all []signer
	for _, alg := range []keystore.Algorithm{keystore.Ed25519, keystore.ES256} {
		s := newSite(t)
		self, err := agentauth.NewSelfIssuer(agentauth.SelfIssuerConfig{Host: s.host, Agent: "caller", Keys: s.keys, Development: true})
		must(t, err)
		self.Register(s.mux)
		key, durable := newKey(t, s.store, alg), newKey(t, s.store, alg)
		token, _, err := self.Token(t.Context(), key.Public())
		must(t, err)
		kid, err := s.keys.Add(t.Context(), keywright.Principal{Method: keywright.MethodHost, Credential: "test"}, key.Handle())
		must(t, err)
		for _, as := range []struct {
			scheme string
			agentauth.SignOptions
		}{
			{"hwk", agentauth.SignOptions{}},
			{"jwt", agentauth.SignOptions{Token: token}},
			{"jkt_jwt", agentauth.SignOptions{Durable: durable}},
			{"jwks_uri", agentauth.SignOptions{Server: s.url, Role: agentauth.RoleAgentProvider, KeyID: kid}},
		} {
			identity, err := agentauth.FixedIdentity(key, as.SignOptions)
			must(t, err)
			all = append(all, signer{fmt.Sprintf("%s by %v", as.scheme, alg), identity, as.scheme})
		}
	}
	return all
}

func newKey(t *testing.T, keys *keystore.Memory, alg keystore.Algorithm) keystore.Key {
	t.Helper()
	key, err := keys.Generate(t.Context(), keystore.KeyOptions{Algorithm: alg})
	must(t, err)
	return key
}

// A call is a request to be signed.
type call struct {
	method, url, body string
	header            http.Header
	stream            bool // the length of the body is not known, and it cannot be had again
}

// do signs c on its way by transport and returns what the server saw.
func (c call) do(t *testing.T, transport http.RoundTripper) seen {
	t.Helper()
	var body io.Reader
	if c.body != "" {
		body = strings.NewReader(c.body)
	}
	if c.stream {
		body = io.MultiReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, c.url, body)
	must(t, err)
	for name, values := range c.header {
		r.Header[name] = values
	}
	resp, err := transport.RoundTrip(r)
	must(t, err)
	defer resp.Body.Close()
	var got seen
	must(t, json.NewDecoder(resp.Body).Decode(&got))
	return got
}

func newTransport(t *testing.T, c agentauth.TransportConfig) *agentauth.Transport {
	t.Helper()
	tr, err := agentauth.NewTransport(c)
	must(t, err)
	return tr
}

func verifyingServer(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(startNode(t, installNode(t), "verify.mjs"))
	must(t, err)
	return u
}

var jsonBody = http.Header{"Content-Type": {"application/json"}}

func TestTransportIsUnderstood(t *testing.T) {
	server := verifyingServer(t)
	calls := []struct {
		name string
		call
		authority, path, query string // that the server sees
	}{
		{"GET", call{"GET", "https://resource.example/api/data", "", nil, false}, "resource.example", "/api/data", ""},
		{"a query", call{"GET", "https://resource.example/api/data?a=1&b=%20x&a=2", "", nil, false}, "resource.example", "/api/data", "a=1&b=%20x&a=2"},
		{"an empty query", call{"GET", "https://resource.example/api?", "", nil, false}, "resource.example", "/api", ""},
		{"no path", call{"GET", "https://resource.example", "", nil, false}, "resource.example", "/", ""},
		{"no path but a query", call{"GET", "https://resource.example?q=/x", "", nil, false}, "resource.example", "/", "q=/x"},
		{"an escaped path", call{"GET", "https://resource.example/a%2Fb/%c3%a9//c/../d;e=f/", "", nil, false}, "resource.example", "/a%2Fb/%c3%a9//c/../d;e=f/", ""},
		{"a port", call{"GET", "https://resource.example:8443/x", "", nil, false}, "resource.example:8443", "/x", ""},
		{"the port of https", call{"GET", "https://resource.example:443/x", "", nil, false}, "resource.example", "/x", ""},
		{"the port of http", call{"GET", "http://localhost:80/x", "", nil, false}, "localhost", "/x", ""},
		{"https at the port of http", call{"GET", "https://resource.example:80/x", "", nil, false}, "resource.example:80", "/x", ""},
		{"another port of http", call{"GET", "http://127.0.0.1:8080/x", "", nil, false}, "127.0.0.1:8080", "/x", ""},
		{"IPv6", call{"GET", "http://[::1]:8080/x", "", nil, false}, "[::1]:8080", "/x", ""},
		{"upper case", call{"GET", "https://Resource.Example/X", "", nil, false}, "resource.example", "/X", ""},
		{"a body", call{"POST", "https://resource.example/api/data", `{"a": 1}`, jsonBody, false}, "resource.example", "/api/data", ""},
		{"a body and a query", call{"PUT", "https://resource.example:8443/api/data?x=y", "plain\r\n\x00", http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, false}, "resource.example:8443", "/api/data", "x=y"},
		{"a body without a length", call{"PATCH", "https://resource.example/", strings.Repeat("long ", 50_000), http.Header{"Content-Type": {"a/b"}}, true}, "resource.example", "/", ""},
		{"POST without a body", call{"POST", "https://resource.example/", "", nil, false}, "resource.example", "/", ""},
		{"DELETE", call{"DELETE", "https://resource.example/x", "", nil, false}, "resource.example", "/x", ""},
		{"another method", call{"M-SEARCH", "https://resource.example/x", "", nil, false}, "resource.example", "/x", ""},
		{"a credential", call{"GET", "https://resource.example/x", "", http.Header{"Authorization": {"AAuth abc"}}, false}, "resource.example", "/x", ""},
	}
	for _, s := range signers(t) {
		t.Run(s.name, func(t *testing.T) {
			for _, tt := range calls {
				u, err := url.Parse(tt.url)
				must(t, err)
				tr := newTransport(t, agentauth.TransportConfig{
					Identity: s.identity, Origins: []string{u.Scheme + "://" + u.Host}, Next: proxy{to: server}, Development: true,
				})
				got := tt.do(t, tr)
				if !got.Verified || got.Scheme != s.scheme {
					t.Errorf("%s: refused as %s: %s", tt.name, got.Code, got.Error)
				}
				if got.Method != tt.method || got.Authority != tt.authority || got.Path != tt.path || got.Query != tt.query || got.Body != tt.body {
					t.Errorf("%s: the server saw %s %q %q %q with %d bytes", tt.name, got.Method, got.Authority, got.Path, got.Query, len(got.Body))
				}
			}
		})
	}
}

// Requests of one second have a signature each, which is understood too.
func TestTransportIsUnderstoodWhenItRepeatsItself(t *testing.T) {
	server := verifyingServer(t)
	now := time.Now()
	for _, s := range signers(t) {
		tr := newTransport(t, agentauth.TransportConfig{
			Identity: s.identity, Origins: []string{"https://resource.example"}, Next: proxy{to: server}, Now: func() time.Time { return now },
		})
		signatures := make(map[string]bool)
		for range 3 {
			got := call{"POST", "https://resource.example/x", "{}", jsonBody, false}.do(t, tr)
			if !got.Verified {
				t.Errorf("%s: refused as %s: %s", s.name, got.Code, got.Error)
			}
			signatures[got.Signature] = true
		}
		if len(signatures) != 3 {
			t.Errorf("%s: %d signatures of 3 requests", s.name, len(signatures))
		}
	}
}
