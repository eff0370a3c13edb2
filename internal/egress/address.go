package egress

import (
	"fmt"
	"net/netip"
)

// notPublic are the networks that the IANA registries of special-purpose
// addresses (RFC 6890) do not list as globally reachable, and those that lead to
// other addresses: 6to4, Teredo and its neighbours.
var notPublic = networks(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private (RFC 1918)
	"100.64.0.0/10",   // carriers' NAT (RFC 6598)
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local, where clouds keep their metadata
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // protocol assignments
	"192.0.2.0/24",    // documentation
	"192.88.99.0/24",  // relays of 6to4 (RFC 7526)
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // benchmarks
	"198.51.100.0/24", // documentation
	"203.0.113.0/24",  // documentation
	"224.0.0.0/4",     // multicast
	"240.0.0.0/4",     // reserved, and broadcast

	"2001::/23",     // protocol assignments, Teredo
	"2001:db8::/32", // documentation
	"2002::/16",     // 6to4: an IPv4 address is inside
	"3fff::/20",     // documentation (RFC 9637)
)

// globalUnicast is all that IANA has given out for it. NAT64, loopback, unique
// local, link-local, site-local and multicast addresses are elsewhere.
var globalUnicast = netip.MustParsePrefix("2000::/3")

func networks(text ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(text))
	for i, s := range text {
		list[i] = netip.MustParsePrefix(s)
	}
	return list
}

// isPublic takes an address that is not IPv4 in IPv6.
func isPublic(addr netip.Addr) bool {
	return addr.IsValid() && (addr.Is4() || globalUnicast.Contains(addr)) && !within(addr, notPublic)
}

func within(addr netip.Addr, list []netip.Prefix) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// admits reports whether the client may connect to addr.
func (c *Client) admits(addr netip.Addr) bool {
	addr = addr.Unmap()
	switch {
	case addr.Zone() != "": // a link of this machine
		return false
	case c.loopback && addr.IsLoopback():
		return true
	}
	return isPublic(addr) || within(addr, c.networks)
}

// vet judges the address of a socket that is about to connect.
func (c *Client) vet(address string, plain bool) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("not an address: %w", ErrRefused)
	}
	switch addr := ap.Addr(); {
	case !c.admits(addr):
		return fmt.Errorf("address %v is not public: %w", addr, ErrRefused)
	case plain && !addr.Unmap().IsLoopback():
		return fmt.Errorf("http to %v: %w", addr, ErrRefused)
	}
	return nil
}
