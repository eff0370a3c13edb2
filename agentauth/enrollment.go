package agentauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/keystore"
)

// EnrollConfig is what [Enroll] needs. Provider and Keys are required.
type EnrollConfig struct {
	// Provider is the agent provider, https://host.
	Provider string

	// Endpoint is where it enrols; "": as its metadata say, or /enrol.
	Endpoint string

	// AgentID is the identifier to have; "": the provider chooses.
	AgentID string

	// PersonServer is that of the person for whom the agent acts; "": none.
	PersonServer string

	// Keys is where the agent's key is, or is made: a [keystore.Generator] then.
	Keys keystore.KeyStore

	// Key says under which handle, and for which algorithm a new one is made. No
	// handle: a name made of Provider and AgentID, so that whoever tries again finds
	// the key that the first attempt made.
	Key keystore.KeyOptions

	// Secret is what the provider's admission wants; nil: nothing.
	Secret SecretSource

	// Waiting is told once that a person must approve, and where; nil: nobody is.
	Waiting func(ctx context.Context, w Waiting)

	HTTP        *http.Client     // nil: one that gives up after 30 seconds; redirects are never followed
	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// An Enrollment is an agent that is enrolled. All that must be kept is the handle
// of its key.
type Enrollment struct {
	AgentID    string
	AgentToken string // secret enough to keep out of logs; [Enrolled] gets others
	Expires    time.Time

	Key            keystore.Key
	LocalKeyHandle string // of Key; it never leaves this machine
	AgentTokenKid  string // of the key where the provider publishes it; "": it does not say
	JWKSURL        string // where that is; "": it publishes no keys of agents
}

// Enroll makes the agent of a key known to its provider (AAuth Bootstrap). The key is
// made inside the key store before anything is asked for, and found there by whoever
// tries again: Enroll may be repeated after any failure, and by an agent that is
// enrolled already, which gets another token.
//
// Where a person must approve, Enroll waits until ctx ends.
func Enroll(ctx context.Context, c EnrollConfig) (Enrollment, error) {
	if err := c.check(); err != nil {
		return Enrollment{}, err
	}
	rem := newRemote(c.HTTP, c.Development, c.Now)
	endpoint, err := rem.providerEndpoint(ctx, c.Provider, c.Endpoint, "enrol_endpoint", "/enrol")
	if err != nil {
		return Enrollment{}, err
	}
	key, err := c.key(ctx)
	if err != nil {
		return Enrollment{}, err
	}
	call := apicall.Call{Method: http.MethodPost, Body: wireEnroll{AgentID: c.AgentID, PersonServer: c.PersonServer}}
	if c.Secret != nil {
		secret, err := c.Secret(ctx)
		if err != nil {
			return Enrollment{}, fmt.Errorf("agentauth: enrolment secret: %w", err)
		}
		call.Authorization = "Bearer " + secret
	}
	cred := Credential{Key: key}
	r, err := rem.signed(ctx, endpoint, call, cred)
	if err == nil && r.Status == http.StatusAccepted {
		r, err = rem.await(ctx, endpoint, r, cred, c.notice)
	}
	if err != nil {
		return Enrollment{}, err
	}
	return c.enrollment(r, key, rem.now())
}

func (c EnrollConfig) check() error {
	switch {
	case c.Provider == "":
		return errors.New("agentauth: EnrollConfig.Provider is required")
	case c.Keys == nil:
		return errors.New("agentauth: EnrollConfig.Keys is required")
	}
	return nil
}

// key finds the agent's key, or makes it.
func (c EnrollConfig) key(ctx context.Context) (keystore.Key, error) {
	o := c.Key
	if o.Handle == "" {
		sum := sha256.Sum256([]byte(c.Provider + "\x00" + c.AgentID))
		o.Handle = "agent-" + base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	key, err := c.Keys.Load(ctx, o.Handle)
	if !errors.Is(err, keystore.ErrKeyNotFound) {
		return key, err
	}
	g, ok := c.Keys.(keystore.Generator)
	if !ok {
		return nil, err
	}
	key, err = g.Generate(ctx, o)
	if errors.Is(err, keystore.ErrKeyExists) { // made by another process meanwhile
		return c.Keys.Load(ctx, o.Handle)
	}
	return key, err
}

func (c EnrollConfig) notice(ctx context.Context, _ Requirement, w Waiting) {
	if c.Waiting != nil {
		c.Waiting(ctx, w)
	}
}

func (c EnrollConfig) enrollment(r apicall.Reply, key keystore.Key, now time.Time) (Enrollment, error) {
	var w enrollResponse
	if err := r.Decode(&w); err != nil || w.AgentToken == "" {
		return Enrollment{}, errors.New("agentauth: an answer of success without a token")
	}
	return Enrollment{
		AgentID: cmp.Or(w.AgentID, c.AgentID), AgentToken: w.AgentToken, Expires: now.Add(time.Duration(w.ExpiresIn) * time.Second),
		Key: key, LocalKeyHandle: key.Handle(), AgentTokenKid: w.KeyID, JWKSURL: w.JWKSURI,
	}, nil
}

// providerEndpoint returns the URL of an endpoint: the one given, else that of the
// metadata, else the usual one.
func (c remote) providerEndpoint(ctx context.Context, provider, given, member, usual string) (string, error) {
	if given != "" {
		return given, c.checkURL(given)
	}
	m, err := c.metadata(ctx, provider, RoleAgentProvider)
	if err != nil {
		return "", err
	}
	found, err := c.endpoint(m, member)
	return cmp.Or(found, provider+usual), err
}
