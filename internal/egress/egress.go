// Package egress is the one outbound HTTP client of keywright and, on top of
// it, the cache of an issuer's public keys.
//
// A [Client] fetches small JSON documents over https from public addresses. The
// address is judged when it is dialled, so no DNS answer leads into the host's
// own network. A [KeySet] asks an issuer for its keys at most once a minute and
// goes on with those it has while the issuer is away.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxRedirects   = 3
	maxHeaderBytes = 16 << 10
	maxBody        = 1 << 20 // no document of an issuer is larger, whatever a caller asks

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

// A Client fetches documents. It uses no proxy, keeps no connection, no cookie
// and no goroutine between calls, and is safe for concurrent use.
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

// Get fetches a document of at most max bytes, which is 1 MiB or less. Only
// status 200 is a success. It follows up to 3 redirects, within the scheme, host
// and port of rawURL. The time allowed is that of ctx, or 10 seconds if it has
// no deadline.
//
// Errors tell the host, never the path, the query or the document.
func (c *Client) Get(ctx context.Context, rawURL string, max int64) ([]byte, error) {
	if max < 1 || max > maxBody {
		return nil, fmt.Errorf("egress: limit of %d bytes, want 1 to %d", max, maxBody)
	}
	u, err := c.parse(rawURL)
	if err != nil {
		return nil, err
	}
	timeout := defaultTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	body, err := c.follow(ctx, u, max)
	switch {
	case err == nil:
		return body, nil
	case ctx.Err() != nil && !errors.Is(err, ErrRefused):
		// The connection was closed under the reader, which says only that.
		err = ctx.Err()
	}
	return nil, fmt.Errorf("egress: %s: %w", u.Host, clipped{err})
}

func (c *Client) follow(ctx context.Context, u *url.URL, max int64) ([]byte, error) {
	for range 1 + maxRedirects {
		body, next, err := c.fetch(ctx, u, max)
		if err != nil || next == nil {
			return body, err
		}
		u = next
	}
	return nil, fmt.Errorf("more than %d redirects: %w", maxRedirects, ErrRefused)
}

// fetch makes one request. It returns the document or where it has moved to.
//
// It asks the Transport, not an http.Client, whose errors hold whole URLs and
// which follows redirects by rules of its own.
func (c *Client) fetch(ctx context.Context, u *url.URL, max int64) ([]byte, *url.URL, error) {
	ctx = withCall(ctx, u)
	req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
		"Accept":          {"application/json"},
		"Accept-Encoding": {"identity"},
		"User-Agent":      {"keywright"},
	}}).WithContext(ctx)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		body, err := read(resp, max)
		return body, nil, err
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		next, err := c.next(u, resp.Header.Get("Location"))
		return nil, next, err
	}
	return nil, nil, fmt.Errorf("status %d", resp.StatusCode)
}

// read reads max bytes and one more, to see that there is none.
func read(resp *http.Response, max int64) ([]byte, error) {
	for _, coding := range resp.Header.Values("Content-Encoding") {
		if !strings.EqualFold(coding, "identity") {
			return nil, errors.New("the answer is encoded, which was not asked for")
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	switch {
	case int64(len(body)) > max:
		return nil, fmt.Errorf("more than %d bytes", max)
	case err != nil:
		return nil, err
	}
	return body, nil
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
