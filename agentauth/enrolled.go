package agentauth

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/keystore"
)

// EnrolledConfig configures an [Enrolled] agent. Key and one of Provider and
// Endpoint are required.
type EnrolledConfig struct {
	Key keystore.Key // that is enrolled

	Provider string // https://host, whose metadata name the endpoint
	Endpoint string // of refresh; "": as the metadata say, or /refresh

	// TwoKeys keeps the enrolled key for refreshing alone: requests are signed by
	// another key, made anew for each token (scheme jkt-jwt).
	TwoKeys bool

	// Ephemeral is the algorithm of those keys.
	Ephemeral keystore.Algorithm

	// Token is one to begin with, such as that of the [Enrollment]; "": the first
	// request gets one.
	Token string

	HTTP        *http.Client     // nil: one that gives up after 30 seconds
	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// An Enrolled is an agent with a key that its provider knows. It gets agent tokens
// when they are needed. It is an [Identity], safe for concurrent use.
type Enrolled struct {
	c      EnrolledConfig
	remote remote

	mu   sync.Mutex
	kept *Credential // guarded by mu
}

var _ Identity = (*Enrolled)(nil)

// NewEnrolled checks c. It does no I/O: the first token is asked for when it is
// needed.
func NewEnrolled(c EnrolledConfig) (*Enrolled, error) {
	switch {
	case c.Key == nil:
		return nil, errors.New("agentauth: EnrolledConfig.Key is required")
	case c.Provider == "" && c.Endpoint == "":
		return nil, errors.New("agentauth: EnrolledConfig.Provider or Endpoint is required")
	}
	return &Enrolled{c: c, remote: newRemote(c.HTTP, c.Development, c.Now)}, nil
}

// Credential implements [Identity].
func (e *Enrolled) Credential(ctx context.Context) (Credential, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kept != nil && e.remote.now().Before(e.kept.Expires) {
		return *e.kept, nil
	}
	cred, err := e.refresh(ctx)
	if err == nil {
		e.kept = &cred
	}
	return cred, err
}

// Renew implements [Identity].
func (e *Enrolled) Renew(ctx context.Context, refused Credential) (Credential, error) {
	e.mu.Lock()
	if e.kept != nil && e.kept.As.Token == refused.As.Token {
		e.kept = nil
	}
	e.mu.Unlock()
	return e.Credential(ctx)
}

func (e *Enrolled) refresh(ctx context.Context) (Credential, error) {
	endpoint, err := e.remote.providerEndpoint(ctx, e.c.Provider, e.c.Endpoint, "refresh_endpoint", "/refresh")
	if err != nil {
		return Credential{}, err
	}
	r, err := e.remote.signed(ctx, endpoint, apicall.Call{Method: http.MethodPost, Body: struct{}{}}, Credential{Key: e.c.Key})
	if err != nil {
		return Credential{}, err
	}
	var w refreshResponse
	if err := r.Decode(&w); err != nil || w.AgentToken == "" {
		return Credential{}, errors.New("agentauth: an answer of success without a token")
	}
	return Credential{Key: e.c.Key, As: SignOptions{Token: w.AgentToken}, Expires: e.remote.now().Add(time.Duration(w.ExpiresIn) * time.Second)}, nil
}
