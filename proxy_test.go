package keywright_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"

	"github.com/keywright/keywright"
)

// proxies are who is trusted in these tests. The third is 10.9.0.0/16.
var proxies = []netip.Prefix{
	netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParsePrefix("::ffff:10.9.0.0/112"),
	netip.MustParsePrefix("fe80::/64"), {},
}

// seen is what a handler below TrustProxies learns of r.
func seen(r *http.Request, proxies ...netip.Prefix) (addr string, secure bool) {
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		addr, secure = keywright.RemoteAddr(r.Context()), keywright.Secure(r)
	})
	keywright.TrustProxies(proxies...)(h).ServeHTTP(httptest.NewRecorder(), r)
	return addr, secure
}

func sentFrom(peer string, fields http.Header) *http.Request {
	r := httptest.NewRequest("POST", "/", nil)
	r.RemoteAddr, r.Header = peer, fields
	return r
}

// A route is how a request came, and who is then taken for its client.
type route struct {
	name, peer string
	forwarded  []string
	want       string
}

func (tt route) check(t *testing.T) {
	t.Helper()
	fields := http.Header{"Forwarded": {"for=203.0.113.1"}, "X-Real-Ip": {"203.0.113.2"}}
	if tt.forwarded != nil {
		fields["X-Forwarded-For"] = slices.Clone(tt.forwarded)
	}
	if got, _ := seen(sentFrom(tt.peer, fields), proxies...); got != tt.want {
		t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
	}
	if !slices.Equal(fields["X-Forwarded-For"], tt.forwarded) {
		t.Errorf("%s: the field has become %q", tt.name, fields["X-Forwarded-For"])
	}
}

func TestTrustProxiesFindTheClient(t *testing.T) {
	const proxy = "10.1.0.1:443"
	for _, tt := range []route{
		{"a stranger says nothing", "192.0.2.1:80", nil, "192.0.2.1"},
		{"a stranger is not believed", "192.0.2.1:80", []string{"198.51.100.7"}, "192.0.2.1"},
		{"a proxy says nothing", proxy, nil, "10.1.0.1"},
		{"a proxy says nothing in a field", proxy, []string{""}, "10.1.0.1"},
		{"a proxy names its client", proxy, []string{"198.51.100.7"}, "198.51.100.7"},
		{"what the client said comes before", proxy, []string{"203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"a proxy in what the client said", proxy, []string{"203.0.113.9, 10.1.0.2, 198.51.100.7, 10.1.0.3"}, "198.51.100.7"},
		{"the last of two fields counts", proxy, []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		{"the search goes on in the field before", proxy, []string{"203.0.113.9,198.51.100.7", "10.1.0.2\t,\t10.9.0.1"}, "198.51.100.7"},
		{"a client among the proxies", proxy, []string{"10.1.0.3, 10.1.0.2"}, "10.1.0.3"},
	} {
		tt.check(t)
	}
}

func TestTrustProxiesReadAddresses(t *testing.T) {
	const proxy = "10.1.0.1:443"
	for _, tt := range []route{
		{"no address", proxy, []string{"198.51.100.7, unknown"}, "10.1.0.1"},
		{"no address after a proxy", proxy, []string{"198.51.100.7, unknown, 10.1.0.2"}, "10.1.0.2"},
		{"an empty entry", proxy, []string{"198.51.100.7, , 10.1.0.2"}, "10.1.0.2"},
		{"an empty field", proxy, []string{"198.51.100.7", "", "10.1.0.2"}, "10.1.0.2"},
		{"a name of a host", proxy, []string{"client.example"}, "10.1.0.1"},
		{"an address and more", proxy, []string{"198.51.100.7 203.0.113.9"}, "10.1.0.1"},
		{"zeros before digits", proxy, []string{"198.051.100.007"}, "10.1.0.1"},
		{"with a port", proxy, []string{"198.51.100.7:1234"}, "198.51.100.7"},
		{"a proxy with a port", proxy, []string{"198.51.100.7, 10.1.0.2:1234"}, "198.51.100.7"},
		{"IPv6", proxy, []string{"2001:DB8::7"}, "2001:db8::7"},
		{"IPv6 in brackets", proxy, []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"IPv6 with a port", proxy, []string{"[2001:db8::7]:1234"}, "2001:db8::7"},
		{"IPv6 with a zone", proxy, []string{"fe80:0:0:1::7%a zone"}, "fe80:0:0:1::7"},
		{"a proxy with a zone", proxy, []string{"198.51.100.7, fe80::7%eth0"}, "198.51.100.7"},
		{"an IPv6 proxy with a port", proxy, []string{"198.51.100.7, [2001:db8:1::2]:1234"}, "198.51.100.7"},
		{"an IPv4-mapped client", proxy, []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"an IPv4-mapped proxy", proxy, []string{"198.51.100.7, [::ffff:10.1.0.2]:1234"}, "198.51.100.7"},
		{"by an IPv6 proxy", "[2001:db8:1::1]:443", []string{"198.51.100.7"}, "198.51.100.7"},
		{"by a proxy with a zone", "[fe80::1%eth0]:443", []string{"198.51.100.7"}, "198.51.100.7"},
		{"by an IPv4-mapped proxy", "[::ffff:10.1.0.1]:443", []string{"198.51.100.7"}, "198.51.100.7"},
		{"by a proxy in an IPv4-mapped network", "10.9.0.1:443", []string{"198.51.100.7"}, "198.51.100.7"},
		{"by what has no port, and so is of no connection", "10.1.0.1", []string{"198.51.100.7"}, ""},
		{"by what looks like a Unix socket", "@", []string{"198.51.100.7"}, ""},
	} {
		tt.check(t)
	}
}

func TestTrustProxiesWithoutProxiesTrustNobody(t *testing.T) {
	addr, secure := seen(sentFrom("127.0.0.1:80", http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}}))
	if addr != "127.0.0.1" || secure {
		t.Errorf("got %q secure %v, want the connection's and not secure", addr, secure)
	}
}

// What one TrustProxies believed, another within may know better.
func TestTrustProxiesNested(t *testing.T) {
	r := sentFrom("10.1.0.1:80", http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}})
	var addr string
	var secure bool
	keywright.TrustProxies(proxies...)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		addr, secure = seen(r)
	})).ServeHTTP(nil, r)
	if addr != "10.1.0.1" || secure {
		t.Errorf("got %q secure %v, want the connection's and not secure", addr, secure)
	}
}

func TestTrustProxiesKeepTheirOwnList(t *testing.T) {
	mine := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}
	var got string
	h := keywright.TrustProxies(mine...)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = keywright.RemoteAddr(r.Context())
	}))
	mine[0] = netip.MustParsePrefix("0.0.0.0/0")
	h.ServeHTTP(nil, sentFrom("192.0.2.1:80", http.Header{"X-Forwarded-For": {"198.51.100.7"}}))
	if got != "192.0.2.1" {
		t.Errorf("got %q, want the connection's", got)
	}
}

// A hop is the last one of a request, which has one field or none.
type hop struct {
	name, peer string
	tls        bool
	field      string
	values     []string
	secure     bool
}

func (tt hop) request() *http.Request {
	r := sentFrom(tt.peer, http.Header{"User-Agent": {"curl/8"}, "Connection": {"close"}})
	if tt.field != "" {
		r.Header[tt.field] = tt.values
	}
	if tt.tls {
		r.TLS = new(tls.ConnectionState)
	}
	return r
}

func TestSecure(t *testing.T) {
	const stranger, proxy = "192.0.2.1:80", "10.1.0.1:80"
	for _, tt := range []hop{
		{"a stranger in the clear", stranger, false, "", nil, false},
		{"a stranger over TLS", stranger, true, "", nil, true},
		{"a stranger who says https", stranger, false, "X-Forwarded-Proto", []string{"https"}, false},
		{"a stranger over TLS who says http", stranger, true, "X-Forwarded-Proto", []string{"http"}, true},
		{"a proxy that says nothing", proxy, false, "", nil, false},
		{"a proxy that says https", proxy, false, "X-Forwarded-Proto", []string{"https"}, true},
		{"a proxy that says HTTPS, with spaces", proxy, false, "X-Forwarded-Proto", []string{"http,\tHTTPS "}, true},
		{"a proxy that says http", proxy, false, "X-Forwarded-Proto", []string{"http"}, false},
		{"a proxy over TLS that says http", proxy, true, "X-Forwarded-Proto", []string{"http"}, false},
		{"a proxy over TLS that says nothing", proxy, true, "", nil, true},
		{"http after a client's https", proxy, false, "X-Forwarded-Proto", []string{"https, http"}, false},
		{"http in a field after a client's https", proxy, false, "X-Forwarded-Proto", []string{"https", "http"}, false},
		{"https in a field after a client's http", proxy, false, "X-Forwarded-Proto", []string{"http", "https"}, true},
		{"nothing after a client's https", proxy, false, "X-Forwarded-Proto", []string{"https,"}, false},
		{"an empty field", proxy, false, "X-Forwarded-Proto", []string{""}, false},
		{"a letter that folds to an s", proxy, false, "X-Forwarded-Proto", []string{"http\u017f"}, false},
		{"another field of a proxy", proxy, false, "X-Forwarded-Scheme", []string{"https"}, false},
	} {
		if _, got := seen(tt.request(), proxies...); got != tt.secure {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.secure)
		}
		// Without TrustProxies only TLS counts.
		if got := keywright.Secure(tt.request()); got != tt.tls {
			t.Errorf("%s, without TrustProxies: got %v, want %v", tt.name, got, tt.tls)
		}
	}
}

// Nobody trusts this machine as a proxy.
func TestSecureOnThisMachine(t *testing.T) {
	const local = "127.0.0.1:80"
	for _, tt := range []hop{
		{"this machine", local, false, "", nil, true},
		{"this machine, with fields that are no proxy's", local, false, "X-Forward", []string{"a"}, true},
		{"this machine by IPv6", "[::1]:80", false, "", nil, true},
		{"this machine by IPv6 with a zone", "[::1%lo]:80", false, "", nil, true},
		{"this machine by IPv4 in IPv6", "[::ffff:127.1.2.3]:80", false, "", nil, true},
		{"this machine says https", local, false, "X-Forwarded-Proto", []string{"https"}, false},
		{"a proxy here names its client", local, false, "X-Forwarded-For", []string{"127.0.0.1"}, false},
		{"a proxy here names nobody", local, false, "X-Forwarded-For", []string{""}, false},
		{"a proxy here names its host", local, false, "X-Forwarded-Host", []string{"localhost"}, false},
		{"a proxy here names its port", local, false, "X-Forwarded-Port", []string{"443"}, false},
		{"a proxy here with X-Real-IP", local, false, "X-Real-Ip", []string{"127.0.0.1"}, false},
		{"a proxy here with Via", local, false, "Via", []string{"1.1 proxy"}, false},
		{"a proxy here with Forwarded", local, false, "Forwarded", []string{"for=127.0.0.1;proto=https"}, false},
		{"a proxy here that uses TLS", local, true, "Via", []string{"1.1 proxy"}, true},
		{"without a port: no connection's address", "127.0.0.1", false, "", nil, false},
		{"no address", "", false, "", nil, false},
		{"what looks like a Unix socket", "@", false, "", nil, false},
	} {
		_, got := seen(tt.request(), proxies...)
		if without := keywright.Secure(tt.request()); got != tt.secure || without != tt.secure {
			t.Errorf("%s: got %v, without TrustProxies %v, want %v", tt.name, got, without, tt.secure)
		}
	}
}

// nginx with nothing but proxy_pass adds no field; it gives itself away by HTTP/1.0.
func TestSecureTakesHTTP10ForAProxy(t *testing.T) {
	for proto, want := range map[string]bool{"HTTP/1.0": false, "HTTP/1.1": true, "HTTP/2.0": true} {
		r := sentFrom("127.0.0.1:80", nil)
		r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(proto)
		if got := keywright.Secure(r); got != want {
			t.Errorf("%s: got %v, want %v", proto, got, want)
		}
	}
}

func TestSecureOnAUnixSocket(t *testing.T) {
	t.Chdir(t.TempDir()) // a name must be relative to look like an address
	l, err := net.Listen("unix", "server")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		addr, secure := seen(r, netip.MustParsePrefix("127.0.0.1/32"))
		fmt.Fprintf(w, "%s %v %v", addr, secure, keywright.Secure(r))
	})}}
	s.Start()
	t.Cleanup(s.Close)
	for _, client := range []*net.UnixAddr{nil, {Name: "192.0.2.1:80", Net: "unix"}} {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.DialUnix("unix", client, l.Addr().(*net.UnixAddr))
		}}
		t.Cleanup(transport.CloseIdleConnections)
		for _, tt := range []struct {
			name   string
			fields http.Header
			want   string
		}{
			{"a client", http.Header{}, "127.0.0.1 true true"},
			{"a proxy", http.Header{"X-Forwarded-For": {"198.51.100.7"}}, "198.51.100.7 false false"},
			{"a proxy that says https", http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}}, "198.51.100.7 true false"},
		} {
			req := httptest.NewRequest("GET", "http://unix/", nil)
			req.Header = tt.fields
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(got) != tt.want {
				t.Errorf("%s from %v: got %q, %v, want %q", tt.name, client, got, err, tt.want)
			}
		}
	}
}
