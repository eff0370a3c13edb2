package agentauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// PersonServerConfig configures a [PersonServer].
type PersonServerConfig struct {
	// ID is its identifier, https://host; "": that which the agent's own tokens
	// name. An agent that has none gets nothing but agent tokens.
	ID string

	// Interact shows a person where to go. It returns when that is shown, not when
	// they have been there. nil: what needs it fails with a [*CallbackError].
	Interact func(ctx context.Context, i Interaction) error

	// Clarify answers a question of the person who decides. nil: what needs it is
	// withdrawn, and fails with a [*CallbackError].
	Clarify func(ctx context.Context, c Clarification) (ClarificationReply, error)

	Hints Hints // what the person server is told with each request

	// Patience is how long a person may take; 0: 15 minutes. The context of the
	// request, and the Timeout of an http.Client around the [Transport], end the
	// waiting sooner.
	Patience time.Duration

	// HTTP reaches the person server, and the documents in which resources publish
	// their keys. It must not be one that signs. nil: one that gives up after 30
	// seconds. Its Timeout is made longer by what a server may hold back an answer.
	HTTP        *http.Client
	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// Hints are for the person who decides, and for how they are to sign in. All may be
// empty.
type Hints struct {
	Justification string // why the agent asks; Markdown
	LoginHint     string // who the person is; a resource's own hint comes first
	Tenant        string
	DomainHint    string
	Prompt        string // such as "consent": values of OpenID Connect, with spaces between
	Platform      string // web, mobile, desktop, workload or self-hosted
	Device        string // a name of it, at most 64 characters
	Mission       string // mission_s256 of what person tokens are for
}

// A PersonServer is where an agent gets what it may do for a person (AAuth, section
// "Person Server"): person tokens, and auth tokens for the resource tokens of
// resources. It is safe for concurrent use, by several transports too.
type PersonServer struct {
	c      PersonServerConfig
	remote remote
	keys   *egress.Pool // by issuer and role

	mu    sync.Mutex
	known map[string]endpoints // guarded by mu; by identifier
}

// endpoints are those of a person server; "": it has none.
type endpoints struct {
	person, auth, interaction string
	until                     time.Time
}

const (
	usualPatience    = 15 * time.Minute
	endpointsFor     = time.Hour
	maxPersonServers = 100 // that an agent's tokens may name one after another
	maxKeySets       = 1000
)

// NewPersonServer checks c. It does no I/O.
func NewPersonServer(c PersonServerConfig) (*PersonServer, error) {
	if c.ID != "" {
		if err := checkServerID(c.ID, c.Development); err != nil {
			return nil, fmt.Errorf("agentauth: PersonServerConfig.ID: %w", err)
		}
	}
	if c.Patience < 0 {
		return nil, errors.New("agentauth: PersonServerConfig.Patience is negative")
	}
	c.Patience = cmp.Or(c.Patience, usualPatience)
	r := newRemote(c.HTTP, c.Development, c.Now)
	return &PersonServer{c: c, remote: r, keys: egress.NewPool(r.now, maxKeySets), known: make(map[string]endpoints)}, nil
}

// capabilities are what a server may ask of the agent while a request waits.
func (p *PersonServer) capabilities() []string {
	list := []string{} // and not null
	if p.c.Interact != nil {
		list = append(list, wantsInteraction)
	}
	if p.c.Clarify != nil {
		list = append(list, wantsClarification)
	}
	return list
}

// hints are the members of a request. login is the hint of a resource.
func (p *PersonServer) hints(login string) wireHints {
	h := p.c.Hints
	return wireHints{
		Capabilities: p.capabilities(), Justification: h.Justification, LoginHint: cmp.Or(login, h.LoginHint), Tenant: h.Tenant,
		DomainHint: h.DomainHint, Prompt: h.Prompt, Platform: h.Platform, Device: h.Device,
	}
}

// endpoints finds those of a person server in its metadata.
func (p *PersonServer) endpoints(ctx context.Context, id string) (endpoints, error) {
	p.mu.Lock()
	e, ok := p.known[id]
	p.mu.Unlock()
	now := p.remote.now()
	if ok && now.Before(e.until) && !now.Before(e.until.Add(-endpointsFor)) {
		return e, nil
	}
	m, err := p.remote.metadata(ctx, id, RolePersonServer)
	if err != nil {
		return endpoints{}, err
	}
	e = endpoints{until: now.Add(endpointsFor)}
	var former string // the name of older drafts, for auth tokens alone
	for name, to := range map[string]*string{
		"person_token_endpoint": &e.person, "auth_token_endpoint": &e.auth, "token_endpoint": &former, "interaction_endpoint": &e.interaction,
	} {
		if *to, err = p.remote.endpoint(m, name); err != nil {
			return endpoints{}, err
		}
	}
	e.auth = cmp.Or(e.auth, former)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= maxPersonServers {
		clear(p.known)
	}
	p.known[id] = e
	return e, nil
}

// forget drops endpoints that are not where they were.
func (p *PersonServer) forget(id string, err error) {
	if e, ok := errors.AsType[*StatusError](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed) {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.known, id)
	}
}
