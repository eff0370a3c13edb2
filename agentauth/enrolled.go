package agentauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/keywright/keywright/keystore"
)

// EnrolledConfig configures an [Enrolled] agent. Key and one of Provider and
// Endpoint are required.
type EnrolledConfig struct {
	Key keystore.Key // that is enrolled

	Provider string // https://host, whose metadata name the endpoint
	Endpoint string // of refresh; "": as the metadata say, or /refresh

	// TwoKeys keeps the enrolled key for refreshing alone: requests are signed by
	// another key, made anew in memory for each token (scheme jkt-jwt).
	TwoKeys bool

	// Ephemeral is the algorithm of those keys. The zero value is Ed25519.
	Ephemeral keystore.Algorithm

	// Token is one to begin with that is bound to Key, such as that of the
	// [Enrollment]; "": the first request gets one. One that has ended counts for
	// nothing, and with TwoKeys none does.
	Token string

	HTTP        *http.Client     // nil: one that gives up after 30 seconds
	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// An Enrolled is an agent with a key that its provider knows. It is an [Identity],
// safe for concurrent use.
//
// It gets agent tokens (AAuth Bootstrap, section "Refresh") when they are needed: the
// first with the first request, another some time before the end of each, by one call
// for all requests, which go on with the old token until its end. A provider that is
// away is asked again after a second, and ever more seldom up to a minute, or when it
// says. All tokens are of the provider and the agent of the first.
type Enrolled struct {
	c      EnrolledConfig
	remote remote

	mu      sync.Mutex
	as      EnrollConfig // guarded by mu; whom another token must be of, as far as that is known
	kept    *agentToken  // guarded by mu; nil: none yet
	flight  *refreshing  // guarded by mu; nil: nobody is asking
	failure failure      // guarded by mu; of the last refresh

	found found // used by the flight alone
}

// An agentToken is a token with the key that it is bound to.
type agentToken struct {
	credential        Credential
	provider, agentID string
	got               time.Time // zero, and so long ago: it is one to begin with
	due               time.Time // for another
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
	case c.Ephemeral != keystore.Ed25519 && c.Ephemeral != keystore.ES256:
		return nil, errors.New("agentauth: EnrolledConfig.Ephemeral: want Ed25519 or ES256")
	}
	if _, err := keystore.FromSigner("", c.Key); err != nil {
		return nil, within("EnrolledConfig.Key", err)
	}
	e := &Enrolled{
		c: c, remote: newRemote(c.HTTP, c.Development, c.Now),
		as: EnrollConfig{Provider: c.Provider, Development: c.Development},
	}
	if c.Endpoint != "" {
		if err := e.remote.checkURL(c.Endpoint); err != nil {
			return nil, fmt.Errorf("agentauth: EnrolledConfig.Endpoint: %w", err)
		}
	}
	if c.Provider != "" {
		if err := checkServerID(c.Provider, c.Development); err != nil {
			return nil, fmt.Errorf("agentauth: EnrolledConfig.Provider: %w", err)
		}
	}
	if c.Token != "" && !c.TwoKeys {
		if err := e.start(c.Token); err != nil {
			return nil, within("EnrolledConfig.Token", err)
		}
	}
	return e, nil
}

// start keeps a token to begin with, unless it has ended.
func (e *Enrolled) start(token string) error {
	got := Enrollment{Key: e.c.Key, AgentToken: token}
	err := e.as.readAgentToken(&got, e.remote.now())
	if err == nil {
		e.keep(newAgentToken(got, e.c.Key), time.Time{})
	} else if errors.Is(err, errAgentTokenEnded) {
		err = nil
	}
	return err
}

// Credential implements [Identity]. It waits for the provider when there is no token
// that is still good, and until ctx ends.
func (e *Enrolled) Credential(ctx context.Context) (Credential, error) {
	e.mu.Lock()
	now := e.remote.now()
	if t := e.kept; t != nil && now.Before(t.credential.Expires) {
		if !now.Before(t.due) && !e.failure.rests(now) {
			e.ask()
		}
		e.mu.Unlock()
		return t.credential, nil
	}
	return e.next(ctx, now)
}

// Renew implements [Identity]. All who were refused with one token get its successor
// from one call, and other servers go on with that token until there is one: a server
// whose clock is wrong costs nobody else anything. A token that is less than a minute
// old is not renewed.
func (e *Enrolled) Renew(ctx context.Context, refused Credential) (Credential, error) {
	e.mu.Lock()
	now, t := e.remote.now(), e.kept
	if t == nil || subtle.ConstantTimeCompare([]byte(t.credential.As.Token), []byte(refused.As.Token)) == 0 {
		e.mu.Unlock()
		return e.Credential(ctx)
	}
	if age := now.Sub(t.got); age >= 0 && age < renewFloor {
		e.mu.Unlock()
		return Credential{}, errNewRefused
	}
	return e.next(ctx, now)
}

// next waits for another token. The caller holds e.mu, which next unlocks.
func (e *Enrolled) next(ctx context.Context, now time.Time) (Credential, error) {
	if e.flight == nil && e.failure.rests(now) {
		defer e.mu.Unlock()
		return Credential{}, e.failure.err
	}
	f := e.ask()
	e.mu.Unlock()
	return f.wait(ctx)
}
