package egress

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"
)

// Constants that tests count with.
const (
	FetchFloor = fetchFloor
	FreshFor   = freshFor
	UsableFor  = usableFor
	Budget     = fetchBudget
	MaxBackOff = maxBackOff
	IdleFor    = idleFor
)

// IsPublic judges an address as a Client with the zero Config does.
func IsPublic(addr netip.Addr) bool { return new(Client).admits(addr) }

// Vet judges the address of a socket.
func (c *Client) Vet(address string, plain bool) error { return c.vet(address, plain) }

// SetBudget shortens the time of a fetch.
func (s *KeySet) SetBudget(d time.Duration) { s.budget = d }

// CountReads adds up in n what c reads from its connections.
func (c *Client) CountReads(n *atomic.Int64) {
	dial := c.transport.DialContext
	c.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return countingConn{nc, n}, nil
	}
}

type countingConn struct {
	net.Conn
	n *atomic.Int64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Connect makes c talk to nc, whatever address it asks for.
func (c *Client) Connect(nc net.Conn) {
	c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nc, nil }
}

// ReadMetadata reads what an issuer serves, to a Client with the zero Config.
func ReadMetadata(text []byte, issuer string) (Metadata, error) {
	m, err := new(Client).readMetadata(text, issuer)
	m.origin, _ = url.Parse(issuer)
	return m, err
}

// Dial dials as the Transport does for a request of ctx to rawURL: in a context
// that does not end with ctx.
func (c *Client) Dial(ctx context.Context, rawURL, address string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return err
	}
	nc, err := c.dial(context.WithoutCancel(withCall(ctx, u)), "tcp", address)
	if err == nil {
		nc.Close()
	}
	return err
}
