package agentauth_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// A reply is an answer of a stage.
type reply struct {
	status int
	header http.Header
}

// refusal is one of Signature-Error.
func refusal(text string) reply { return reply{401, http.Header{"Signature-Error": {text}}} }

// A stage is a server that gives one answer after the other, and 200 at the end. It
// keeps what it was asked.
type stage struct {
	mu      sync.Mutex
	replies []reply         // guarded by mu
	seen    []*http.Request // guarded by mu
	bodies  []string        // guarded by mu
}

// RoundTrip implements [http.RoundTripper].
func (s *stage) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body := ""
	if r.Body != nil {
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
	}
	s.seen, s.bodies = append(s.seen, r), append(s.bodies, body)
	next := reply{status: 200}
	if len(s.replies) > 0 {
		next, s.replies = s.replies[0], s.replies[1:]
	}
	h := next.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{StatusCode: next.status, Header: h, Body: io.NopCloser(strings.NewReader("the answer")), ContentLength: 10, Request: r}, nil
}

// signingTransport signs as a pseudonym for https://resource.example.
func signingTransport(t testing.TB, next http.RoundTripper, edit func(*agentauth.TransportConfig)) *agentauth.Transport {
	t.Helper()
	identity, err := agentauth.FixedIdentity(seedKey("agent"), agentauth.SignOptions{})
	must(t, err)
	c := agentauth.TransportConfig{Identity: identity, Origins: []string{"https://resource.example"}, Next: next}
	if edit != nil {
		edit(&c)
	}
	transport, err := agentauth.NewTransport(c)
	must(t, err)
	return transport
}

func clientRequest(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	must(t, err)
	if body != "" {
		r, err = http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		must(t, err)
		r.Header.Set("Content-Type", "text/plain")
	}
	return r
}

// coveredBy lists what a signature covers.
func coveredBy(r *http.Request) []string {
	list, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Signature-Input"), "sig=("), ")")
	return strings.Fields(strings.ReplaceAll(list, `"`, ""))
}

// TestTransportLeavesTheRequestAlone is the contract of [http.RoundTripper].
func TestTransportLeavesTheRequestAlone(t *testing.T) {
	s := &stage{replies: []reply{refusal(`error=invalid_input, required_input=("x-a" "@query")`)}}
	r := clientRequest(t, "POST", "https://Resource.example:443/a%2Fb?c", "body")
	r.Header["X-A"] = []string{"a"}
	r.Header["signature"] = []string{"of another"} // as nobody should write it
	r.Header.Set("Signature-Input", "of another")
	r.Header.Set("Signature-Key", "of another")
	r.Header.Set("Content-Digest", "of another")
	before, header, target := *r, r.Header.Clone(), *r.URL
	resp, err := signingTransport(t, s, nil).RoundTrip(r)
	must(t, err)
	if !maps.EqualFunc(r.Header, header, slices.Equal) || *r.URL != target || r.Host != before.Host || r.Body != before.Body || r.ContentLength != before.ContentLength {
		t.Errorf("changed: %+v", r)
	}
	if resp.Request != r {
		t.Error("the answer is to another request")
	}
	for i, sent := range s.seen {
		for name, values := range sent.Header {
			if len(values) != 1 || values[0] == "of another" || name == "signature" {
				t.Errorf("request %d: %s: %q", i, name, values)
			}
		}
		if sent.Header.Get("Content-Digest") != digestOf("body") || s.bodies[i] != "body" || sent.ContentLength != 4 {
			t.Errorf("request %d: %v, body %q", i, sent.Header, s.bodies[i])
		}
	}
	if len(s.seen) != 2 {
		t.Errorf("%d requests", len(s.seen))
	}
}

func TestADigestOfNoBodyIsNotSent(t *testing.T) {
	s := new(stage)
	r := clientRequest(t, "GET", "https://resource.example/a", "")
	r.Header["content-digest"] = []string{"of another"}
	_, err := signingTransport(t, s, nil).RoundTrip(r)
	must(t, err)
	for name := range s.seen[0].Header {
		if strings.EqualFold(name, "Content-Digest") {
			t.Errorf("sent %v", s.seen[0].Header)
		}
	}
}

// TestSessionsEndWhenTheyAreRefused, and not when a signature is.
func TestSessionsEndWhenTheyAreRefused(t *testing.T) {
	given := func(session string) reply { return reply{200, http.Header{"Aauth-Access": {session}}} }
	s := &stage{replies: []reply{given("one"), given("two"), refusal("error=invalid_signature"), {401, nil}, given("three")}}
	transport := signingTransport(t, s, func(c *agentauth.TransportConfig) { c.Now = tlsClock.Now })
	for _, own := range []string{"", "", "", "", "", "", "Bearer of-the-caller"} {
		r := clientRequest(t, "GET", "https://resource.example/a", "")
		if own != "" {
			r.Header.Set("Authorization", own)
		}
		_, err := transport.RoundTrip(r)
		must(t, err)
	}
	var sent []string
	for _, r := range s.seen {
		credential := r.Header.Get("Authorization")
		if sent = append(sent, credential); credential != "" && !slices.Contains(coveredBy(r), "authorization") {
			t.Errorf("%s is not covered", credential)
		}
	}
	if want := []string{"", "AAuth one", "AAuth two", "AAuth two", "", "AAuth three", "AAuth three", "Bearer of-the-caller"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
}

func TestResourcesAreToldWhatAnAgentCanDo(t *testing.T) {
	person, err := agentauth.NewPersonServer(agentauth.PersonServerConfig{
		Interact: func(context.Context, agentauth.Interaction) error { return nil },
	})
	must(t, err)
	s := new(stage)
	transport := signingTransport(t, s, func(c *agentauth.TransportConfig) { c.Person = person })
	for _, own := range []string{"", "payment"} {
		r := clientRequest(t, "GET", "https://resource.example/a", "")
		if own != "" {
			r.Header.Set("AAuth-Capabilities", own)
		}
		_, err := transport.RoundTrip(r)
		must(t, err)
	}
	if got := []string{s.seen[0].Header.Get("AAuth-Capabilities"), s.seen[1].Header.Get("AAuth-Capabilities")}; !slices.Equal(got, []string{"interaction", "payment"}) {
		t.Errorf("told %q", got)
	}
}

// A closer of connections.
type idle struct {
	http.RoundTripper
	closed bool
}

func (i *idle) CloseIdleConnections() { i.closed = true }

func TestIdleConnectionsAreClosed(t *testing.T) {
	next := &idle{RoundTripper: new(stage)}
	(&http.Client{Transport: signingTransport(t, next, nil)}).CloseIdleConnections()
	if !next.closed {
		t.Error("not passed on")
	}
	signingTransport(t, new(stage), nil).CloseIdleConnections() // which has none
}

func TestErrorsOfOthersAreReturned(t *testing.T) {
	broken := roundTripper(func(r *http.Request) (*http.Response, error) {
		closeOf(r)
		return nil, errStore
	})
	if _, err := signingTransport(t, broken, nil).RoundTrip(clientRequest(t, "GET", "https://resource.example", "")); !errors.Is(err, errStore) {
		t.Errorf("of the connection: %v", err)
	}
	body := &tracked{Reader: strings.NewReader("body")}
	r := clientRequest(t, "POST", "https://resource.example", "body")
	r.Body = body
	_, err := signingTransport(t, new(stage), func(c *agentauth.TransportConfig) { c.Identity = &renewing{err: errStore} }).RoundTrip(r)
	if !errors.Is(err, errStore) || !body.isClosed() {
		t.Errorf("of the identity: %v", err)
	}
}

// TestRedirects: each hop has a signature of its own, and others get none.
func TestRedirects(t *testing.T) {
	var mu sync.Mutex
	hops := make(map[string]*http.Request)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		hops[r.Host+r.URL.Path+" "+string(body)] = r
		mu.Unlock()
		switch r.URL.Path {
		case "/a":
			w.Header().Set("AAuth-Access", "session")
			http.Redirect(w, r, "/b", http.StatusTemporaryRedirect)
		case "/b":
			http.Redirect(w, r, "https://other.example.com/c", http.StatusPermanentRedirect)
		}
	}))
	defer srv.Close()
	transport := signingTransport(t, srv.Client().Transport, func(c *agentauth.TransportConfig) { c.Origins = []string{"https://resource.example.com"} })
	resp, err := (&http.Client{Transport: transport}).Do(clientRequest(t, "POST", "https://resource.example.com/a", "body"))
	must(t, err)
	resp.Body.Close()
	if resp.Request.URL.String() != "https://other.example.com/c" {
		t.Errorf("ended at %s", resp.Request.URL)
	}
	a, b, c := hops["resource.example.com/a body"], hops["resource.example.com/b body"], hops["other.example.com/c body"]
	if a == nil || b == nil || c == nil {
		t.Fatalf("hops: %v", slices.Collect(maps.Keys(hops)))
	}
	if a.Header.Get("Signature") == "" || a.Header.Get("Signature") == b.Header.Get("Signature") || b.Header.Get("Authorization") != "AAuth session" {
		t.Errorf("%v, then %v", a.Header, b.Header)
	}
	for _, name := range []string{"Signature", "Signature-Input", "Signature-Key", "Content-Digest", "Authorization"} {
		if c.Header.Get(name) != "" {
			t.Errorf("others get %s: %v", name, c.Header)
		}
	}
}

func TestSwitchedConnectionsAreTheCallers(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		rw.WriteString(r.Header.Get("Upgrade") + " " + line)
		rw.Flush()
	}))
	srv.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	srv.StartTLS()
	defer srv.Close()
	transport := signingTransport(t, srv.Client().Transport, func(c *agentauth.TransportConfig) { c.Origins = []string{"https://resource.example.com"} })
	r := clientRequest(t, "GET", "https://resource.example.com/a", "")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	resp, err := transport.RoundTrip(r)
	must(t, err)
	defer resp.Body.Close()
	io.WriteString(resp.Body.(io.Writer), "hello\n")
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != 101 || string(text) != "echo hello\n" {
		t.Errorf("%d %q", resp.StatusCode, text)
	}
}
