package egress_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// A provider is a server with metadata and keys, each of which may be replaced.
type provider struct {
	*httptest.Server
	metadata, keys           atomic.Pointer[http.HandlerFunc] // nil: what it should be
	metadataCalls, keysCalls atomic.Int64
}

func newProvider(t *testing.T) (*provider, *egress.Client) {
	p := new(provider)
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		calls, other, good := &p.keysCalls, p.keys.Load(), string(jwks("a"))
		if r.URL.Path == "/.well-known/"+document {
			calls, other, good = &p.metadataCalls, p.metadata.Load(), fmt.Sprintf(`{"issuer":"https://%s","jwks_uri":"https://%s/keys"}`, r.Host, r.Host)
		}
		calls.Add(1)
		if other != nil {
			(*other)(w, r)
			return
		}
		fmt.Fprint(w, good)
	})
	p.Server = srv
	return p, c
}

func (p *provider) asked(t *testing.T, n int64, when string) {
	t.Helper()
	if m, k := p.metadataCalls.Swap(0), p.keysCalls.Swap(0); m != n || k != n {
		t.Errorf("%s: metadata was fetched %d times and keys %d times, want %d", when, m, k, n)
	}
}

// keysOf makes a KeySet as a verifier does that admits keys on any host.
func keysOf(c *egress.Client, now func() time.Time, issuer string) *egress.KeySet {
	s := egress.NewKeySet(now, func(ctx context.Context) (egress.Document, error) {
		m, err := c.Metadata(ctx, issuer, document)
		if err != nil {
			return egress.Document{}, err
		}
		uri, err := m.JWKSURI(func(*url.URL) bool { return true })
		if err != nil {
			return egress.Document{}, err
		}
		return c.JWKS(ctx, uri)
	})
	s.BackOff = true
	return s
}

// AGT-55: a thousand at once for one issuer are one fetch of each document, and
// so is every later minute, of invented key ids and of failures.
func TestFetchStorm(t *testing.T) {
	p, c := newProvider(t)
	clk := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	pool := egress.NewPool(clk.Now, 0)
	storm := func(when string, want error) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				s, err := pool.Get(p.URL, func() *egress.KeySet { return keysOf(c, clk.Now, p.URL) })
				if err != nil {
					t.Error(err)
					return
				}
				kid := "a"
				if want != nil {
					kid = fmt.Sprint("invented ", i)
				}
				if _, err := s.Keys(t.Context(), kid); !errors.Is(err, want) {
					t.Errorf("%s: got %v, want %v", when, err, want)
				}
			})
		}
		wg.Wait()
	}
	storm("first", nil)
	p.asked(t, 1, "first")
	storm("in the same minute", egress.ErrUnknownKey)
	p.asked(t, 0, "in the same minute")
	clk.add(time.Minute)
	storm("in the next", egress.ErrUnknownKey)
	p.asked(t, 1, "in the next")
	down := http.HandlerFunc(says(500, ""))
	p.keys.Store(&down)
	for _, minutes := range []time.Duration{1, 1, 2, 4} { // of pause before a storm
		clk.add(minutes*time.Minute - time.Second)
		storm("too soon", egress.ErrUnknownKey)
		p.asked(t, 0, "too soon")
		clk.add(time.Second)
		storm("failing", egress.ErrUnknownKey)
		p.asked(t, 1, "failing")
	}
}

// AGT-54: whatever one issuer serves, the caller knows in time, and the keys of
// another are not in doubt.
func TestBadIssuerStopsNoOther(t *testing.T) {
	bad, c := newProvider(t)
	good, _ := newProvider(t)
	pool := egress.NewPool(nil, 0)
	try := func(name, issuer string) error {
		s, err := pool.Get(name, func() *egress.KeySet {
			s := keysOf(c, nil, issuer)
			if issuer == bad.URL && (strings.Contains(name, "silence") || strings.Contains(name, "a byte at a time")) {
				s.SetBudget(50 * ms)
			}
			return s
		})
		if err != nil {
			return err
		}
		_, err = s.Keys(t.Context(), "a")
		return err
	}
	for name, far := range hostile {
		for _, of := range []string{"metadata", "keys"} {
			bad.metadata.Store(nil)
			bad.keys.Store(nil)
			if of == "metadata" {
				bad.metadata.Store(&far)
			} else {
				bad.keys.Store(&far)
			}
			start := time.Now()
			err := try(of+": "+name, bad.URL)
			if _, ok := errors.AsType[*egress.UnavailableError](err); !ok || time.Since(start) > 3*time.Second {
				t.Errorf("%s as %s: got %v after %v, want unavailable", name, of, err, time.Since(start))
			}
			if err := try("beside "+of+": "+name, good.URL); err != nil {
				t.Errorf("beside %s as %s: %v", name, of, err)
			}
		}
	}
}

// AGT-54: what stands beside a good key does not spoil it.
func TestWhatStandsBesideAGoodKey(t *testing.T) {
	p, c := newProvider(t)
	good := strings.TrimSuffix(strings.TrimPrefix(string(jwks("a")), `{"keys":[`), `]}`)
	bare := `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"`
	for _, tt := range []struct {
		name, keys string
		algorithms []string // as each key of kid a declares it
	}{
		{"unknown kty", `{"kty":"AKP","kid":"a","alg":"ML-DSA-44","pub":"AA"},` + good, []string{""}},
		{"no object", `7,` + good, []string{""}},
		{"duplicate kid", good + `,` + bare + `,"alg":"Ed25519"}`, []string{"", "Ed25519"}},
		{"no alg, which the caller judges", bare + `}`, []string{""}},
		{"alg of another key", bare + `,"alg":"ES256"},` + good, []string{""}},
	} {
		far := http.HandlerFunc(says(200, `{"keys":[`+tt.keys+`]}`))
		p.keys.Store(&far)
		keys, err := keysOf(c, nil, p.URL).Keys(t.Context(), "a")
		var got []string
		for _, k := range keys {
			got = append(got, k.DeclaredAlgorithm())
		}
		if err != nil || strings.Join(got, " ") != strings.Join(tt.algorithms, " ") || len(got) != len(tt.algorithms) {
			t.Errorf("%s: got keys for %q, %v, want %q", tt.name, got, err, tt.algorithms)
		}
	}
}

// AGT-50: nobody is connected to, be the address in the URL or what its name
// resolves to.
func TestAddressesOfKeys(t *testing.T) {
	ln, err := net.Listen("tcp", ":0") // on every address of this machine
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := fmt.Sprint(ln.Addr().(*net.TCPAddr).Port)
	p := new(provider)
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*p.metadata.Load())(w, r) }))
	p.StartTLS()
	defer p.Close()
	roots := x509.NewCertPool()
	roots.AddCert(p.Certificate())
	// The issuer is the one address that is admitted, though it is loopback.
	c := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, RootCAs: roots})
	names := make(map[string]netip.Addr)
	var hosts []string
	for i, text := range []string{
		"127.0.0.2", "::1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::ffff:127.0.0.2", "fd00::1", "fe80::1", "64:ff9b::7f00:1",
	} {
		addr := netip.MustParseAddr(text)
		name := fmt.Sprintf("name%d.attack.example", i)
		names[name+"."] = addr
		hosts = append(hosts, name)
		if addr.Is6() {
			text = "[" + text + "]"
		}
		hosts = append(hosts, text)
	}
	resolve(t, names)
	for _, host := range append(hosts, "0x7f.2", "2130706434", "127.2", "0177.0.0.2") {
		for _, scheme := range []string{"https", "http"} {
			uri := scheme + "://" + host + ":" + port + "/keys"
			far := http.HandlerFunc(says(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, p.URL, uri)))
			p.metadata.Store(&far)
			s := keysOf(c, nil, p.URL)
			if _, err := s.Keys(t.Context(), "a"); !errors.Is(err, egress.ErrRefused) {
				t.Errorf("%s: got %v, want ErrRefused", uri, err)
			}
		}
	}
	untouched(t, ln)
}
