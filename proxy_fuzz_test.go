package keywright_test

import (
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// forwardedEntry takes one apart in another way than the code under test, and takes more.
var forwardedEntry = regexp.MustCompile(`^[ \t]*(?:([0-9.]+)|\[?([0-9A-Fa-f:.]+)(?:%.*)?\]?)(?::[0-9]+)?[ \t]*$`)

// believable returns the address of the proxy 10.1.0.1, and those entries that
// only proxies stand behind.
func believable(entries []string) []string {
	found := []string{"10.1.0.1"}
	for _, entry := range slices.Backward(entries) {
		parts := forwardedEntry.FindStringSubmatch(entry)
		if parts == nil {
			break
		}
		ip := net.ParseIP(parts[1] + parts[2])
		if ip == nil {
			break
		}
		found = append(found, ip.String())
		if !slices.ContainsFunc([]string{"10.1.0.0/16", "10.9.0.0/16", "2001:db8:1::/64", "fe80::/64"}, func(cidr string) bool {
			_, network, _ := net.ParseCIDR(cidr)
			return network.Contains(ip)
		}) {
			break
		}
	}
	return found
}

func FuzzTrustProxies(f *testing.F) {
	for _, s := range []string{"", "198.51.100.7", "a, 198.51.100.7, 10.1.0.2", "[2001:db8::1%x]:80\n::ffff:10.1.0.1", "10.1.0.3,,10.1.0.2", "fe80::1%a]:1"} {
		f.Add(s, "https")
	}
	f.Fuzz(func(t *testing.T, forwarded, proto string) {
		fields := http.Header{"X-Forwarded-For": strings.Split(forwarded, "\n"), "X-Forwarded-Proto": strings.Split(proto, "\n")}
		if addr, secure := seen(sentFrom("192.0.2.1:80", fields), proxies...); addr != "192.0.2.1" || secure {
			t.Errorf("a stranger is seen as %q, secure %v", addr, secure)
		}
		may := believable(strings.Split(strings.ReplaceAll(forwarded, "\n", ","), ","))
		addr, secure := seen(sentFrom("10.1.0.1:80", fields), proxies...)
		if !slices.Contains(may, addr) {
			t.Errorf("%q is seen as %q, want one of %q", forwarded, addr, may)
		}
		if secure && !strings.HasSuffix(strings.ToLower(strings.TrimRight(proto, " \t")), "https") {
			t.Errorf("%q is secure", proto)
		}
	})
}
