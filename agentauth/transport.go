package agentauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// TransportConfig configures a [Transport]. Identity and Origins are required.
type TransportConfig struct {
	Identity Identity // as whom requests are signed

	// Origins are the servers that get signed requests, such as
	// https://resource.example. Requests to others pass as they are.
	Origins []string

	// Next sends the requests; nil: http.DefaultTransport. What it changes of them
	// it changes after they were signed.
	Next http.RoundTripper

	// Person gets what resources ask for beyond agent tokens; nil: their answers
	// are the caller's.
	Person *PersonServer

	// Components are to be covered beside those that always are, such as "@query":
	// at most 16. A request that has not all of them is not sent.
	Components []string

	// MaxBody is the most bytes of a body that are kept in memory: of one that
	// http.Request.GetBody cannot give again. 0: 1 MiB.
	MaxBody int64

	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// A Transport is an [http.RoundTripper] that signs requests (AAuth, section
// "Signing"). Each request that it sends has a signature of its own, those too to
// which an [http.Client] is redirected. It is safe for concurrent use.
//
// A body needs a Content-Type, and is read before it is sent, for its digest; it is
// read a second time by GetBody, or kept up to MaxBody. Trailers are refused, since
// nothing covers them; so are a Host other than that of the URL, and URLs with a user.
// Signatures and a Content-Digest that are in a request already are replaced.
//
// An answer of 401 was not served. Where it tells what is wrong and that can be
// mended, the request is sent again, up to six times in all, each reason once:
//
//   - invalid_input: what the server wants covered is, then and in later requests, as
//     far as they have it. A server may name any field of a request: it gets all of
//     them anyway. None is added for it.
//   - invalid_signature: the request is signed anew in the next second, since an equal
//     one may have been there in this.
//   - clock_skew: it is sent once more when it is young enough for the server's clock,
//     if that takes no longer than 30 seconds.
//   - expired_jwt and revoked_jwt: the identity gets another token, if it can.
//   - AAuth-Requirement: see [PersonServer]; at most three.
//
// All other answers are the caller's, and so is one that could not be mended. An
// error of an [Identity] or of a key is that of the request; where a server wants what
// cannot be had, it is a [*ChallengeError].
type Transport struct {
	identity   Identity
	origins    map[string]*origin // by their names
	next       http.RoundTripper
	components []string
	maxBody    int64
	now        func() time.Time
	stamps     stamps
	grants     *grants
}

const (
	usualMaxBody  = 1 << 20
	maxConfigured = 16 // of TransportConfig.Components
	maxHops       = 3  // challenges that are answered for one request
)

// NewTransport checks c. It does no I/O.
func NewTransport(c TransportConfig) (*Transport, error) {
	switch {
	case c.Identity == nil:
		return nil, errors.New("agentauth: TransportConfig.Identity is required")
	case len(c.Origins) == 0:
		return nil, errors.New("agentauth: TransportConfig.Origins is required: nobody else gets signed requests")
	case c.MaxBody < 0:
		return nil, errors.New("agentauth: TransportConfig.MaxBody: want 0 or more")
	case len(c.Components) > maxConfigured:
		return nil, fmt.Errorf("agentauth: TransportConfig.Components: more than %d", maxConfigured)
	}
	t := &Transport{
		identity: c.Identity, origins: make(map[string]*origin), next: c.Next, components: slices.Clone(c.Components), maxBody: c.MaxBody, now: c.Now,
	}
	for _, text := range c.Origins {
		o, err := newOrigin(text, c.Development)
		if err != nil {
			return nil, fmt.Errorf("agentauth: TransportConfig.Origins: %q: %w", text, err)
		}
		t.origins[o.name] = o
	}
	for _, name := range c.Components {
		if err := checkComponent(name); err != nil {
			return nil, fmt.Errorf("agentauth: TransportConfig.Components: %w", err)
		}
	}
	if t.next == nil {
		t.next = http.DefaultTransport
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.maxBody == 0 {
		t.maxBody = usualMaxBody
	}
	t.grants = newGrants(t.identity, c.Person, t.now)
	return t, nil
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	o := t.originOf(r)
	if o == nil {
		return t.next.RoundTrip(r)
	}
	if err := o.check(r); err != nil {
		closeBody(r)
		return nil, err
	}
	body, err := t.readBody(r)
	if err != nil {
		return nil, err
	}
	x := &exchange{transport: t, origin: o, request: r, body: body, ctx: t.grants.begin(r)}
	resp, err := x.run()
	if err != nil {
		return nil, err
	}
	resp.Request = r
	return resp, nil
}

// CloseIdleConnections passes on what [http.Client.CloseIdleConnections] wants.
func (t *Transport) CloseIdleConnections() {
	if next, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}
