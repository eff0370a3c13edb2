package ldapuser

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// How much is read from a server: in one check, where it is certificates and two
// entries of one attribute, and in the answer to StartTLS, which anybody on the
// way may have sent. go-ldap would take 2 GiB, and makes a thousand times as
// much of a message that is nested deeply.
const (
	maxAnswers        = 64 << 10
	maxStartTLSAnswer = 4 << 10
)

// A server is where the directory is.
type server struct {
	address  string      // host:port
	tls      *tls.Config // nil: plain
	startTLS bool        // TLS begins after a request in the clear
}

// check asks the directory, over a connection that is made for it.
func (v *Verifier) check(ctx context.Context, username, password string) (subject string, err error) {
	select {
	case v.turns <- struct{}{}:
		defer func() { <-v.turns }()
	case <-ctx.Done():
		return "", fmt.Errorf("ldapuser: %d checks were running: %w", cap(v.turns), ctx.Err())
	}
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", v.server.address)
	if err != nil {
		return "", fmt.Errorf("ldapuser: connect: %w", err)
	}
	defer nc.Close()
	// go-ldap knows no context and has no timeout of its own. Closing what is
	// below it ends whatever it waits for, and its goroutines.
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()

	subject, err = v.converse(ctx, &limited{Conn: nc, left: maxAnswers}, username, password)
	if _, ok := errors.AsType[refusal](err); err != nil && !ok && ctx.Err() != nil {
		return "", fmt.Errorf("ldapuser: %w: %v", ctx.Err(), err)
	}
	return subject, err
}

func (v *Verifier) converse(ctx context.Context, nc net.Conn, username, password string) (subject string, err error) {
	c, err := v.server.open(ctx, nc)
	if err != nil {
		return "", fmt.Errorf("ldapuser: TLS: %w", err)
	}
	return v.login(c, username, password)
}

// open starts LDAP on nc. Where there is to be TLS, it is up on return.
func (s server) open(ctx context.Context, nc net.Conn) (*ldap.Conn, error) {
	if s.startTLS {
		if err := startTLS(nc); err != nil {
			return nil, err
		}
	}
	if s.tls != nil {
		tc := tls.Client(nc, s.tls)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		nc = tc
	}
	c := ldap.NewConn(nc, s.tls != nil)
	c.Start()
	return c, nil
}

// startTLSRequest is message 1 (RFC 4511, section 4.14.1).
const startTLSRequest = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"

// startTLS has the server begin TLS after its answer. In go-ldap's own function
// any other message in place of the answer, such as a notice of disconnection,
// ends the reading but not the waiting, which goes on for good.
func startTLS(nc net.Conn) error {
	if _, err := io.WriteString(nc, startTLSRequest); err != nil {
		return err
	}
	p, err := ber.ReadPacket(io.LimitReader(nc, maxStartTLSAnswer))
	if err != nil {
		return err
	}
	if len(p.Children) < 2 || p.Children[0].Value != int64(1) || p.Children[1].Tag != ldap.ApplicationExtendedResponse {
		return errors.New("not an answer to StartTLS")
	}
	return ldap.GetLDAPError(p)
}

// A limited connection fails after so many bytes.
type limited struct {
	net.Conn
	left int
}

func (c *limited) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
