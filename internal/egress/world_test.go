package egress_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/jose"
)

// proxy is what the environment of every test here names as its proxy. The
// standard library reads that once in a process.
var proxy net.Listener

// discard is for servers whose clients misbehave on purpose.
var discard = log.New(io.Discard, "", 0)

func TestMain(m *testing.M) {
	var err error
	if proxy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		os.Setenv(name, "http://"+proxy.Addr().String())
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

func newClient(t testing.TB, cfg egress.Config) *egress.Client {
	t.Helper()
	c, err := egress.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newServer serves https on a loopback address to the client, which is made to
// admit it as a private network.
func newServer(t testing.TB, h http.HandlerFunc) (*httptest.Server, *egress.Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = discard
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return srv, newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, RootCAs: roots})
}

// newPlainServer serves http.
func newPlainServer(t testing.TB, h http.HandlerFunc) (*httptest.Server, *egress.Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = discard
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, newClient(t, egress.Config{InsecureLoopback: true})
}

// listen returns a listener that nobody serves: connections wait in its queue.
func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// untouched fails if anybody connected to ln before: the first in its queue
// must be the connection that is made here.
func untouched(t testing.TB, ln net.Listener) {
	t.Helper()
	mine, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	first, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if got, want := first.RemoteAddr().String(), mine.LocalAddr().String(); got != want {
		t.Errorf("somebody connected to %v", ln.Addr())
	}
}

// jwks is a JWK Set with one Ed25519 key for each key id.
func jwks(kids ...string) []byte {
	list := make([]string, len(kids))
	for i, kid := range kids {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = byte(i + 1)
		key, err := jose.PublicKey(ed25519.NewKeyFromSeed(seed).Public())
		if err != nil {
			panic(err)
		}
		text, err := jose.MarshalJWK(key.WithKeyID(kid), "")
		if err != nil {
			panic(err)
		}
		list[i] = string(text)
	}
	return fmt.Appendf(nil, `{"keys":[%s]}`, strings.Join(list, ","))
}

// An issuer is the far side of a KeySet: what it answers may be set at any time.
type issuer struct {
	mu     sync.Mutex
	answer func(context.Context) ([]byte, error) // guarded by mu
	fresh  time.Duration                         // guarded by mu; what it says of its answers
	calls  int                                   // guarded by mu
}

func (i *issuer) fetch(ctx context.Context) (egress.Document, error) {
	i.mu.Lock()
	i.calls++
	answer, fresh := i.answer, i.fresh
	i.mu.Unlock()
	text, err := answer(ctx)
	return egress.Document{Text: text, FreshFor: fresh}, err
}

func (i *issuer) says(fresh time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fresh = fresh
}

func (i *issuer) does(answer func(context.Context) ([]byte, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

func (i *issuer) publishes(kids ...string) {
	i.does(func(context.Context) ([]byte, error) { return jwks(kids...), nil })
}

func (i *issuer) fails(err error) {
	i.does(func(context.Context) ([]byte, error) { return nil, err })
}

// fetched returns how often it was asked since it was last looked at.
func (i *issuer) fetched() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.calls
	i.calls = 0
	return n
}

// A clock stands still until it is set.
type clock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
