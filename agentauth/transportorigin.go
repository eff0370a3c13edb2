package agentauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
)

// An origin is a server that gets signed requests, with what is known of it.
type origin struct {
	name      string // see originOfURL
	authority string // value of @authority
	key       atomic.Pointer[compiled]

	mu    sync.Mutex
	wants []string // guarded by mu; is never written to. What it wanted covered
}

// maxWants is less than what the limit on components leaves of those that are always
// covered, and those of the configuration.
const maxWants = 8

// A compiled is a key that was used last, so that it is not checked again.
type compiled struct {
	as  SignOptions // without Durable
	key httpsig.SigningKey
}

func newOrigin(text string, development bool) (*origin, error) {
	if err := newRemote(nil, development, nil).checkURL(text); err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	switch {
	case u.Path != "", u.RawQuery != "", u.ForceQuery, strings.HasSuffix(text, "#"):
		return nil, errors.New("want an origin, https://host, and nothing after it")
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' || r == '%' }):
		return nil, errors.New("want a host in ASCII, as it is looked up")
	}
	name := originOfURL(u)
	_, authority, _ := strings.Cut(name, "://")
	return &origin{name: name, authority: authority}, nil
}

// originOfURL is one text for all ways to write an origin: in lower case and without
// a port that is usual.
func originOfURL(u *url.URL) string {
	scheme := strings.ToLower(u.Scheme)
	return scheme + "://" + authorityOf(u.Host, scheme)
}

// originOf is that of r's URL; nil: it gets no signed requests.
func (t *Transport) originOf(r *http.Request) *origin {
	if r.URL == nil {
		return nil
	}
	return t.origins[originOfURL(r.URL)]
}

func authorityOf(host, scheme string) string {
	return httpsig.Authority(strings.TrimSuffix(host, ":"), scheme == "https")
}

// check refuses requests to o of which another server than o may think that they are
// for it, or of which a part goes that nothing covers.
func (o *origin) check(r *http.Request) error {
	switch {
	case r.URL.User != nil:
		return errors.New("agentauth: a URL with a user or a password is not signed")
	case r.URL.Opaque != "":
		return errors.New("agentauth: a URL with an opaque part is not signed")
	case r.Host != "" && authorityOf(r.Host, strings.ToLower(r.URL.Scheme)) != o.authority:
		return fmt.Errorf("agentauth: the request is for %s and has another Host: it is not signed", o.name)
	case len(r.Trailer) > 0:
		return errors.New("agentauth: a request with trailers is not signed: nothing covers them")
	}
	return nil
}

// compile prepares c for signing. Which key that is was checked when it was first
// used; what it says of itself is the same until c.As is another. A naming JWT is made
// for each request, since servers may want to see none twice.
func (o *origin) compile(ctx context.Context, c Credential, now time.Time) (signingKey, error) {
	if k := o.key.Load(); k != nil && c.Key != nil && c.As.same(k.as) && k.key.IsOf(c.Key.Public()) {
		return signingKey{c.Key, k.key}, nil
	}
	k, err := c.compile(ctx, now)
	if err == nil && c.As.Durable == nil {
		o.key.Store(&compiled{c.As, k.key})
	}
	return k, err
}

// same reports whether a key is told in the same way by both, of which p has no
// Durable.
func (o SignOptions) same(p SignOptions) bool {
	return o.Durable == nil && o.Rekey == p.Rekey && o.Token == p.Token && o.Server == p.Server && o.Role == p.Role && o.URL == p.URL && o.KeyID == p.KeyID
}

// wanted is what o wants covered.
func (o *origin) wanted() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.wants
}

// learn reads what o wants covered of r, which was signed over covered. It reports
// whether r can be signed so that it has what it had not.
func (o *origin) learn(wants, covered []string, r *http.Request) bool {
	var fresh []string
	for _, name := range wants {
		if slices.Contains(covered, name) {
			continue
		}
		if checkComponent(name) != nil || name != "content-digest" && !httpsig.Coverable(r, name) {
			return false
		}
		fresh = addComponent(fresh, name)
	}
	if len(fresh) == 0 || len(fresh) > maxWants {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.Clone(o.wants)
	for _, name := range fresh {
		all = addComponent(all, name)
	}
	if len(all) > maxWants {
		all = fresh
	}
	o.wants = all
	return true
}

// hopByHop are fields that are not for the server at the end, or are written when a
// request is sent (RFC 9110, section 7.6.1).
var hopByHop = []string{"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}

// checkComponent wants a component that a client can cover.
func checkComponent(name string) error {
	switch {
	case !httpsig.IsComponent(name), slices.Contains(hopByHop, name), name == "signature", name == "signature-input":
		return fmt.Errorf("%q cannot be covered", name)
	case httpsig.IsComponent("@" + name):
		return fmt.Errorf("%q is a field: want \"@%s\"", name, name)
	}
	return nil
}
