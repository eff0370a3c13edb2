// Package egress is the one outbound HTTP client of keywright and, on top of
// it, the cache of the public keys of issuers.
//
// A [Client] fetches small JSON documents over https from public addresses, and
// posts messages to them. The address is judged when it is dialled, so no DNS
// answer leads into the host's own network. A [KeySet] asks an issuer for its
// keys at most once a minute and goes on with those it has while the issuer is
// away. A [Pool] bounds how many of them strangers can make.
package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

const (
	maxRedirects   = 3
	maxHeaderBytes = 16 << 10
	maxBody        = 1 << 20 // no answer of an issuer is larger, whatever a caller asks

	// defaultTimeout is that of a call whose context has no deadline. The
	// others hold whatever the context says.
	defaultTimeout   = 10 * time.Second
	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	headerTimeout    = 10 * time.Second
)

// ErrRefused is wrapped by errors about a URL, an address or a redirect that is
// not allowed. To try again would not help; with other errors it may.
var ErrRefused = errors.New("refused by policy")

// Config says what a [Client] may reach beyond public addresses over https.
// The zero Config adds nothing.
type Config struct {
	// AllowNetworks are networks that may be reached although they are not
	// public, such as that of a GitLab of one's own. Still over https only. An
	// issuer that is trusted may name any address in them as that of its keys.
	AllowNetworks []netip.Prefix

	// InsecureLoopback admits the loopback addresses, over http too. It is for
	// development: whoever names the URL then reaches this machine's services.
	InsecureLoopback bool

	// RootCAs are the authorities to trust; nil means the system's.
	RootCAs *x509.CertPool
}

// A Client fetches documents and posts messages. It uses no proxy, keeps no
// connection, no cookie and no goroutine between calls, and is safe for
// concurrent use.
type Client struct {
	networks  []netip.Prefix
	loopback  bool
	transport *http.Transport
}

// New makes a Client.
func New(cfg Config) (*Client, error) {
	for _, p := range cfg.AllowNetworks {
		switch {
		case !p.IsValid():
			return nil, errors.New("egress: AllowNetworks: not a network")
		case p.Addr().Is4In6():
			return nil, fmt.Errorf("egress: AllowNetworks: write %v as an IPv4 network", p)
		case p.Bits() == 0:
			return nil, fmt.Errorf("egress: AllowNetworks: %v is everything", p)
		}
	}
	c := &Client{networks: slices.Clone(cfg.AllowNetworks), loopback: cfg.InsecureLoopback}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // one request on one connection is all there is to do
	c.transport = &http.Transport{
		Proxy:                  nil, // a proxy would dial in our place, unvetted
		DialContext:            c.dial,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableKeepAlives:      true,
		DisableCompression:     true, // it would be undone before the size is seen
		Protocols:              protocols,
	}
	return c, nil
}

// clipped shortens an error, parts of which the other side may have written.
type clipped struct{ error }

func (e clipped) Error() string { return clip(e.error.Error()) }
func (e clipped) Unwrap() error { return e.error }

func clip(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return text[:most] + "..."
}
