package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	maxURL  = 2048
	maxHost = 253 // as DNS has it
)

// CheckURL reports whether rawURL may be fetched as far as its text tells, with
// no DNS: an absolute https URL without userinfo, fragment and "..", on a host
// that is a name in ASCII or an address that is admitted. With InsecureLoopback
// it may be http on a loopback address or "localhost". Errors wrap [ErrRefused].
func (c *Client) CheckURL(rawURL string) error {
	_, err := c.parse(rawURL)
	return err
}

func (c *Client) parse(rawURL string) (*url.URL, error) {
	if len(rawURL) > maxURL {
		return nil, fmt.Errorf("egress: URL longer than %d bytes: %w", maxURL, ErrRefused)
	}
	u, err := url.Parse(rawURL)
	if err != nil { // which holds the URL
		return nil, fmt.Errorf("egress: not a URL: %w", ErrRefused)
	}
	if err := c.check(u, rawURL); err != nil {
		return nil, fmt.Errorf("egress: URL on host %q: %w: %w", clip(u.Host), err, ErrRefused)
	}
	return u, nil
}

func (c *Client) check(u *url.URL, rawURL string) error {
	switch {
	case u.Scheme != "https" && !c.mayBePlain(u):
		return errors.New("not https")
	case u.Hostname() == "":
		return errors.New("no host")
	case u.User != nil:
		return errors.New("userinfo")
	case strings.Contains(rawURL, "#"):
		return errors.New("fragment")
	case strings.Contains(rawURL, ".."), strings.Contains(u.Path, ".."): // Path is decoded
		return errors.New("two dots in a row")
	}
	if strings.HasSuffix(u.Host, ":") || u.Port() != "" {
		if port, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return errors.New("invalid port")
		}
	}
	return c.checkHost(u.Hostname())
}

func (c *Client) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if !c.admits(addr) {
			return errors.New("address that is not public")
		}
		return nil
	}
	if len(host) > maxHost {
		return errors.New("host too long")
	}
	if strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") != "" {
		return errors.New("neither a name in ASCII nor an address")
	}
	// Resolvers read 0x7f.1, 127.1 and 2130706433 as addresses. No top-level
	// domain is a number, and we do without the dot that may follow it.
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return errors.New("the last part is not a name")
	}
	return nil
}

func (c *Client) mayBePlain(u *url.URL) bool {
	if !c.loopback || u.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// next resolves the target of a redirect, which must be where we are already:
// another host could be one that only we can reach.
func (c *Client) next(from *url.URL, location string) (*url.URL, error) {
	if location == "" {
		return nil, errors.New("redirect without a location")
	}
	u, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("redirect to something that is not a URL: %w", ErrRefused)
	}
	if !sameOrigin(u, from) {
		return nil, fmt.Errorf("redirect to another host, port or scheme: %w", ErrRefused)
	}
	if err := c.check(u, u.String()); err != nil {
		return nil, fmt.Errorf("redirect: %w: %w", err, ErrRefused)
	}
	return u, nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "http":
		return "80"
	}
	return "443"
}
