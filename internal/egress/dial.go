package egress

import (
	"context"
	"net"
	"net/url"
	"syscall"
)

// A call is what dial must know of the request it dials for. The Transport
// hands it a context with the request's values but without its end, for the
// sake of other requests that might use the connection. Here there are none.
type call struct {
	ctx   context.Context
	plain bool // http
}

type callKey struct{}

func withCall(ctx context.Context, u *url.URL) context.Context {
	return context.WithValue(ctx, callKey{}, call{ctx, u.Scheme == "http"})
}

func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	call := ctx.Value(callKey{}).(call)
	d := net.Dialer{
		Timeout: dialTimeout,
		// Called with the address that the name came out as.
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			return c.vet(address, call.plain)
		},
	}
	nc, err := d.DialContext(call.ctx, network, address)
	if err != nil {
		return nil, err
	}
	// The connection ends with the call, in the middle of a TLS handshake too,
	// so that nobody waits on it when the caller has gone.
	context.AfterFunc(call.ctx, func() { nc.Close() })
	return nc, nil
}
