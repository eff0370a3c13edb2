package agentauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
)

// TransportConfig configures a [Transport]. Identity and Origins are required.
type TransportConfig struct {
	Identity Identity // as whom requests are signed

	// Origins are the servers that get signed requests, such as
	// https://resource.example. Requests to others pass as they are.
	Origins []string

	// Next sends the requests; nil: http.DefaultTransport.
	Next http.RoundTripper

	// Person gets what resources ask for beyond agent tokens; nil: their answers
	// are the caller's.
	Person *PersonServer

	// Components are to be covered beside those that always are, such as "@query".
	Components []string

	// MaxBody is the most bytes of a body that are kept in memory: of one that
	// http.Request.GetBody cannot give again. 0: 1 MiB.
	MaxBody int64

	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// A Transport is an [http.RoundTripper] that signs requests. It is safe for
// concurrent use.
type Transport struct {
	identity   Identity
	origins    map[string]bool
	next       http.RoundTripper
	components []string
	maxBody    int64
	now        func() time.Time
	stamps     *stamps
	grants     *grants
}

const (
	usualMaxBody = 1 << 20
	maxHops      = 3 // challenges that are answered for one request
)

// NewTransport checks c. It does no I/O.
func NewTransport(c TransportConfig) (*Transport, error) {
	if c.Identity == nil {
		return nil, errors.New("agentauth: TransportConfig.Identity is required")
	}
	if len(c.Origins) == 0 {
		return nil, errors.New("agentauth: TransportConfig.Origins is required: nobody else gets signed requests")
	}
	t := &Transport{identity: c.Identity, origins: make(map[string]bool), next: c.Next, components: c.Components, maxBody: c.MaxBody, now: c.Now, stamps: new(stamps)}
	for _, o := range c.Origins {
		if err := newRemote(nil, c.Development, nil).checkURL(o); err != nil {
			return nil, fmt.Errorf("agentauth: TransportConfig.Origins: %q: %w", o, err)
		}
		t.origins[strings.ToLower(originOf(o))] = true
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
	origin := strings.ToLower(originOf(r.URL.String()))
	if !t.origins[origin] {
		return t.next.RoundTrip(r)
	}
	body, err := t.readBody(r)
	if err != nil {
		return nil, err
	}
	for hop := 0; ; hop++ {
		cred, err := t.grants.credential(r.Context(), origin)
		if err != nil {
			return nil, err
		}
		req, err := t.signed(r, body, cred)
		if err != nil {
			return nil, err
		}
		resp, err := t.next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		if hop == maxHops || resp.StatusCode != http.StatusUnauthorized {
			return resp, nil
		}
		again, err := t.grants.answer(r.Context(), origin, RequirementOf(resp.Header), cred)
		if err != nil || !again {
			return resp, nil
		}
		io.Copy(io.Discard, io.LimitReader(resp.Body, usualMaxBody))
		resp.Body.Close()
	}
}

// A sentBody is one that can be sent several times.
type sentBody struct {
	open   func() (io.ReadCloser, error) // nil: there is none
	digest string
	length int64
}

func (t *Transport) readBody(r *http.Request) (sentBody, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return sentBody{}, nil
	}
	defer r.Body.Close()
	data, err := io.ReadAll(io.LimitReader(r.Body, t.maxBody+1))
	if err != nil {
		return sentBody{}, err
	}
	return sentBody{
		open:   func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(data))), nil },
		digest: httpsig.Digest(data), length: int64(len(data)),
	}, nil
}

func (t *Transport) signed(r *http.Request, body sentBody, cred Credential) (*http.Request, error) {
	req := r.Clone(r.Context())
	if body.open != nil {
		var err error
		if req.Body, err = body.open(); err != nil {
			return nil, err
		}
	}
	o := cred.As
	o.Components, o.Created = t.components, t.now()
	return req, SignRequest(req, cred.Key, o)
}

// Origin returns what Origins of a [TransportConfig] has of a URL.
func originOfURL(u *url.URL) string { return strings.ToLower(u.Scheme + "://" + u.Host) }
