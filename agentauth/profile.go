package agentauth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/httpsig"
)

// A Profile says how a server checks signatures, whom it reaches for that, and
// what it admits for old clients. A [Verifier] and a [Provider] of one server have
// the same. The zero Profile is right for most.
type Profile struct {
	// Authorities are the hosts, with ports where they are not the usual ones,
	// by which clients reach this server; nil: that of the host's URL. A signed
	// request whose field Host is another is refused: it may have been made for
	// another server, or for another of the sites of this one.
	Authorities []string

	// RewrittenHost says that a proxy in front writes its own field Host: signed
	// requests are taken to be for the first of Authorities, whatever Host is.
	// Not for servers that tell sites apart by Host.
	RewrittenHost bool

	Window  time.Duration // how old a signature may be, or how far ahead; 0: 1 minute, at most 10
	Network Network
	Compat  Compat
}

// A Network says what may be reached beyond public addresses over https. The zero
// Network adds nothing.
type Network struct {
	AllowNetworks []netip.Prefix // that may be reached although they are not public; still over https only
	RootCAs       *x509.CertPool // nil: the system's

	// Development admits servers on this machine, by http and with ports. Whoever
	// names a URL reaches the services of this machine then.
	Development bool
}

func (n Network) client() (*egress.Client, error) {
	return egress.New(egress.Config{AllowNetworks: n.AllowNetworks, RootCAs: n.RootCAs, InsecureLoopback: n.Development})
}

const (
	defaultWindow = time.Minute
	maxWindow     = 10 * time.Minute
)

// complete checks p for the server at u, and returns it with no zero field that
// means something else.
func (p Profile) complete(u *url.URL) (Profile, error) {
	switch {
	case p.Window == 0:
		p.Window = defaultWindow
	case p.Window < time.Second || p.Window > maxWindow:
		return Profile{}, errors.New("Profile.Window: want 1 second to 10 minutes")
	}
	if err := p.Compat.check(); err != nil {
		return Profile{}, fmt.Errorf("Profile.Compat: %w", err)
	}
	var err error
	if p.Authorities, err = authorities(p.Authorities, u); err != nil {
		return Profile{}, fmt.Errorf("Profile.Authorities: %w", err)
	}
	return p, nil
}

func authorities(configured []string, u *url.URL) ([]string, error) {
	if len(configured) == 0 {
		if u == nil {
			return nil, errors.New("want one, or a URL of the host")
		}
		return []string{httpsig.Authority(u.Host, u.Scheme == "https")}, nil
	}
	secure := u == nil || u.Scheme == "https"
	var list []string
	for _, a := range configured {
		u, err := url.Parse("//" + a)
		if err != nil || u.Host != a || u.Hostname() == "" {
			return nil, fmt.Errorf("%q: want host or host:port", a)
		}
		list = append(list, httpsig.Authority(a, secure))
	}
	return list, nil
}

// authority returns the value of @authority of a request that is for this server.
func (p Profile) authority(r *http.Request) (string, bool) {
	if p.RewrittenHost {
		return p.Authorities[0], true
	}
	host := strings.ToLower(r.Host)
	for _, a := range p.Authorities {
		if rest, ok := strings.CutPrefix(host, a); ok && (rest == "" || rest == ":443" || rest == ":80") {
			return a, true
		}
	}
	return "", false
}
