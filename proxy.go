package keywright

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// proxyKey is the type of the context key that is declared with it.
type proxyKey int

const schemeKey proxyKey = iota // what a trusted proxy says that it was asked by

// TrustProxies makes middleware for servers behind reverse proxies. To what it
// wraps, [RemoteAddr] returns the address of the client, and [Secure] knows
// what the proxy says of the connection to the client.
//
// Only where the connection comes from one of proxies is anything believed:
//   - X-Forwarded-For is read from its end, where the nearest proxy has written,
//     past addresses in proxies. The first other one is the client's. At an
//     entry that is no address, or where none is left, the last address read is
//     taken for the client's. What stands before that is never looked at.
//   - The last value of X-Forwarded-Proto, if there is one, says whether the
//     client's connection was encrypted.
//
// From all others these fields mean nothing, and the client's address is that
// of the connection. Forwarded (RFC 7239), X-Real-IP and the like are not read.
//
// Each proxy must append to X-Forwarded-For the address that it was asked from,
// and set or remove X-Forwarded-Proto: what it passes on unchanged, a stranger
// has written. List the proxies' own addresses, and no network that has clients.
//
// The peer of a Unix socket counts as 127.0.0.1. IPv4-mapped addresses count
// as IPv4 and zones are left out, in proxies, too. Without proxies nobody is
// trusted. Middleware that changes r.RemoteAddr must not run before, and where
// two of these are nested, the inner one counts. It is safe for concurrent use.
func TrustProxies(proxies ...netip.Prefix) func(http.Handler) http.Handler {
	trusted := newProxySet(proxies)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(trusted.context(r)))
		})
	}
}

// Secure reports whether nobody between the client and this server could
// listen, going by, in this order:
//   - what a proxy that [TrustProxies] names says in X-Forwarded-Proto: "https"
//     is secure, anything else is not. How the proxy itself is connected to this
//     server is for the host to judge.
//   - TLS on the connection to this server.
//   - that the connection is from this machine, by a loopback address or a Unix
//     socket, with no sign of a proxy, whose clients may be anywhere: no field
//     X-Forwarded-*, X-Real-IP, Forwarded or Via, and not HTTP/1.0, which
//     nginx speaks where it is told no more than proxy_pass.
//
// A proxy on this machine that gives no sign, such as a forwarder of TCP, makes
// its clients look local: a host behind one must not go by Secure. It is safe
// for concurrent use.
func Secure(r *http.Request) bool {
	if scheme, _ := r.Context().Value(schemeKey).(string); scheme != "" {
		return strings.ToLower(scheme) == "https" // EqualFold takes more letters than ASCII for an s
	}
	return r.TLS != nil || connAddr(r).IsLoopback() && !proxied(r)
}

// proxied reports whether r bears the sign of a proxy, trusted or not.
func proxied(r *http.Request) bool {
	for name := range r.Header {
		switch name {
		case "Forwarded", "Via", "X-Real-Ip":
			return true
		}
		if strings.HasPrefix(name, "X-Forwarded-") {
			return true
		}
	}
	return r.ProtoMajor == 1 && r.ProtoMinor == 0
}

// connAddr is the address at the other end of r's connection; invalid where
// none is known.
func connAddr(r *http.Request) netip.Addr {
	// RemoteAddr does not tell: who connects to a Unix socket may give its own
	// end a name, such as "192.0.2.1:80".
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	conn, err := netip.ParseAddrPort(r.RemoteAddr) // without a port, it is not net/http that has written it
	if err != nil {
		return netip.Addr{}
	}
	return plain(conn.Addr())
}

// plain is addr in the form in which addresses are compared here: a
// netip.Prefix contains no address with a zone, and no IPv4-mapped one.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// A proxySet has the networks of the proxies that are trusted.
type proxySet []netip.Prefix

func newProxySet(proxies []netip.Prefix) proxySet {
	set := make(proxySet, len(proxies))
	for i, p := range proxies {
		if p.Addr().Is4In6() {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96) // below 0 it contains nothing
		}
		set[i] = p
	}
	return set
}

func (s proxySet) contain(addr netip.Addr) bool {
	return slices.ContainsFunc(s, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// context is r's with what is known of its client.
func (s proxySet) context(r *http.Request) context.Context {
	ctx, client, scheme := r.Context(), connAddr(r), ""
	if s.contain(client) {
		client = s.client(client, r.Header["X-Forwarded-For"])
		if said := r.Header["X-Forwarded-Proto"]; len(said) > 0 {
			_, scheme, _ = cutLast(said[len(said)-1])
		}
	}
	if client.IsValid() {
		ctx = WithRemoteAddr(ctx, client.String())
	}
	return context.WithValue(ctx, schemeKey, scheme) // even if empty: there may be one of an outer TrustProxies
}

// client is the address of who sent a request that came by way of last, a
// trusted proxy, with these fields X-Forwarded-For.
func (s proxySet) client(last netip.Addr, fields []string) netip.Addr {
	for _, list := range slices.Backward(fields) {
		for more := true; more; {
			var entry string
			list, entry, more = cutLast(list)
			hop, err := parseHop(entry)
			if err != nil {
				return last
			}
			if last = hop; !s.contain(last) {
				return last
			}
		}
	}
	return last
}

// cutLast takes the last entry off list; more: it was not the only one.
func cutLast(list string) (rest, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	return list[:max(i, 0)], strings.Trim(list[i+1:], " \t"), i >= 0
}

// parseHop reads an entry of X-Forwarded-For: an address, with a port or
// without, and IPv6 in brackets or, without a port, as it is.
func parseHop(entry string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(entry); err == nil {
		return plain(addr), nil
	}
	hop, err := netip.ParseAddrPort(entry)
	if err != nil {
		hop, err = netip.ParseAddrPort(entry + ":0") // brackets without a port
	}
	return plain(hop.Addr()), err
}
