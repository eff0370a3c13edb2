package egress_test

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/keywright/keywright/internal/egress"
)

// The first and last address of each network that is refused, its neighbours
// that are not, and AGT-50's.
func TestAddresses(t *testing.T) {
	public := []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
		"192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "8.8.8.8", "::ffff:8.8.8.8",
		"2000::", "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2001:4860:4860::8888",
		"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::", "2606:4700::1111", "3ffe:ffff::", "3fff:1000::",
	}
	refused := []string{
		"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.0", "127.0.0.1",
		"127.255.255.255", "169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0",
		"192.0.0.255", "192.0.2.0", "192.0.2.255", "192.88.99.0", "192.88.99.255", "192.168.0.0", "192.168.255.255",
		"198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255", "224.0.0.0",
		"239.255.255.255", "240.0.0.0", "255.255.255.255",
		"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:8.8.8.8", "64:ff9b::808:808", "64:ff9b::7f00:1",
		"64:ff9b:1::1", "100::1", "1fff:ffff::", "2001::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::",
		"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff::", "2002:7f00:1::", "3fff::", "3fff:fff:ffff::",
		"4000::", "5f00::1", "fc00::", "fd00::1", "fe80::1", "fec0::1", "ff02::1", "2606:4700::1111%eth0", "fe80::1%lo",
	}
	for _, s := range public {
		if !egress.IsPublic(netip.MustParseAddr(s)) {
			t.Errorf("%s is refused", s)
		}
	}
	for _, s := range refused {
		if egress.IsPublic(netip.MustParseAddr(s)) {
			t.Errorf("%s is admitted", s)
		}
	}
	if egress.IsPublic(netip.Addr{}) {
		t.Error("no address is admitted")
	}
}

func TestVet(t *testing.T) {
	none := newClient(t, egress.Config{})
	lab := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd00::/8")}})
	dev := newClient(t, egress.Config{InsecureLoopback: true})
	for _, tt := range []struct {
		name    string
		client  *egress.Client
		address string
		plain   bool
		ok      bool
	}{
		{"public", none, "8.8.8.8:443", false, true},
		{"public over http", none, "8.8.8.8:80", true, false},
		{"loopback", none, "127.0.0.1:443", false, false},
		{"loopback in IPv6", none, "[::1]:443", false, false},
		{"AGT-50 mapped loopback", none, "[::ffff:127.0.0.1]:443", false, false},
		{"AGT-50 metadata", none, "169.254.169.254:80", false, false},
		{"not an address", none, "localhost:443", false, false},
		{"allowed", lab, "10.1.2.3:443", false, true},
		{"allowed, mapped", lab, "[::ffff:10.1.2.3]:443", false, true},
		{"allowed in IPv6", lab, "[fd00::1]:443", false, true},
		{"beside the allowed", lab, "10.2.0.1:443", false, false},
		{"allowed but over http", lab, "10.1.2.3:80", true, false},
		{"public still", lab, "8.8.8.8:443", false, true},
		{"allowed but in a zone", lab, "[fd00::1%eth0]:443", false, false},
		{"development", dev, "127.0.0.1:80", true, true},
		{"development in IPv6", dev, "[::1]:80", true, true},
		{"development, mapped", dev, "[::ffff:127.0.0.1]:443", false, true},
		{"localhost resolves elsewhere", dev, "8.8.8.8:80", true, false},
		{"development in a private network", dev, "10.1.2.3:443", false, false},
		{"loopback in a zone", dev, "[::1%lo]:80", true, false},
	} {
		err := tt.client.Vet(tt.address, tt.plain)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: got %v, want admitted: %v", tt.name, err, tt.ok)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, p := range map[string]netip.Prefix{
		"no network":        {},
		"mapped network":    netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104),
		"the IPv4 internet": netip.MustParsePrefix("0.0.0.0/0"),
		"the IPv6 internet": netip.MustParsePrefix("::/0"),
	} {
		if _, err := egress.New(egress.Config{AllowNetworks: []netip.Prefix{p}}); err == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}
