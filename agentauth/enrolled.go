package agentauth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
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
	// another key, made anew in memory for each token (scheme jkt-jwt).
	TwoKeys bool

	// Ephemeral is the algorithm of those keys.
	Ephemeral keystore.Algorithm

	// Token is one to begin with, such as that of the [Enrollment]; "": the first
	// request gets one. One that has ended counts for nothing, and with TwoKeys none
	// does.
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
// away is asked again after a second, and ever more seldom up to a minute.
type Enrolled struct {
	c      EnrolledConfig
	remote remote

	mu      sync.Mutex
	kept    *agentToken // guarded by mu; nil: none yet
	flight  *refreshing // guarded by mu; nil: nobody is asking
	failure failure     // guarded by mu; of the last refresh
}

// An agentToken is a token with the key that it is bound to.
type agentToken struct {
	credential Credential
	due        time.Time // for another
}

// A refreshing is one call to the provider, for all who wait for it.
type refreshing struct {
	done chan struct{}
	got  *agentToken
	err  error
}

// A failure says that the provider is not to be asked before a time.
type failure struct {
	err   error // nil: there was none
	pause time.Duration
	until time.Time
}

var _ Identity = (*Enrolled)(nil)

const (
	refreshMargin  = 5 * time.Minute // before the end of a token, at most
	marginShare    = 5               // of a token's life is the margin, where that is less
	refreshTimeout = time.Minute     // for one refresh, whoever waits
	firstPause     = time.Second
	longestPause   = time.Minute
)

// NewEnrolled checks c. It does no I/O: the first token is asked for when it is
// needed.
func NewEnrolled(c EnrolledConfig) (*Enrolled, error) {
	switch {
	case c.Key == nil:
		return nil, errors.New("agentauth: EnrolledConfig.Key is required")
	case c.Provider == "" && c.Endpoint == "":
		return nil, errors.New("agentauth: EnrolledConfig.Provider or Endpoint is required")
	}
	e := &Enrolled{c: c, remote: newRemote(c.HTTP, c.Development, c.Now)}
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
		e.kept = e.begun(c.Token)
	}
	return e, nil
}

// begun is a token to begin with; nil if it is of no use.
func (e *Enrolled) begun(token string) *agentToken {
	now := e.remote.now()
	got := Enrollment{Key: e.c.Key, AgentToken: token}
	if err := (EnrollConfig{Provider: e.c.Provider, Development: e.c.Development}).readAgentToken(&got, now); err != nil {
		return nil
	}
	return e.keep(got, e.c.Key)
}

// keep is the token of got, with the key that signs by it.
func (e *Enrolled) keep(got Enrollment, signs crypto.Signer) *agentToken {
	life := got.Expires.Sub(e.remote.now())
	return &agentToken{
		credential: Credential{Key: signs, As: SignOptions{Token: got.AgentToken}, Expires: got.Expires},
		due:        got.Expires.Add(-margin(life, got.AgentToken)),
	}
}

// Credential implements [Identity]. It waits for the provider when there is no token
// that is still good, and until ctx ends.
func (e *Enrolled) Credential(ctx context.Context) (Credential, error) {
	e.mu.Lock()
	now := e.remote.now()
	if t := e.kept; t != nil && now.Before(t.credential.Expires) {
		if !now.Before(t.due) && e.flight == nil && !e.failure.rests(now) {
			e.begin(ctx)
		}
		e.mu.Unlock()
		return t.credential, nil
	}
	f := e.flight
	if f == nil {
		if e.failure.rests(now) {
			err := e.failure.err
			e.mu.Unlock()
			return Credential{}, err
		}
		f = e.begin(ctx)
	}
	e.mu.Unlock()
	return f.wait(ctx)
}

// Renew implements [Identity]. All who were refused with one token get its successor
// from one call.
func (e *Enrolled) Renew(ctx context.Context, refused Credential) (Credential, error) {
	e.mu.Lock()
	if e.kept != nil && subtle.ConstantTimeCompare([]byte(e.kept.credential.As.Token), []byte(refused.As.Token)) == 1 {
		e.kept = nil
	}
	e.mu.Unlock()
	return e.Credential(ctx)
}

// rests reports whether the provider is to be left alone. After a clock was set back
// it is not, for longer than it ever is.
func (f failure) rests(now time.Time) bool {
	return f.err != nil && now.Before(f.until) && !now.Before(f.until.Add(-longBreak-longestPause))
}

// begin asks the provider in a goroutine, which ends by itself. The caller holds
// e.mu.
func (e *Enrolled) begin(ctx context.Context) *refreshing {
	f := &refreshing{done: make(chan struct{})}
	e.flight = f
	ctx = context.WithoutCancel(ctx) // others may wait for it too
	go func() {
		ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
		defer cancel()
		t, err := e.refresh(ctx)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.flight = nil
		if f.got, f.err = t, err; err == nil {
			e.kept, e.failure = t, failure{}
		} else {
			e.failure = e.failure.after(err, e.remote.now())
		}
		close(f.done)
	}()
	return f
}

func (f *refreshing) wait(ctx context.Context) (Credential, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return Credential{}, ctx.Err()
	}
	if f.err != nil {
		return Credential{}, f.err
	}
	return f.got.credential, nil
}

// after is what follows f when the provider was asked again in vain. Who is denied
// has a while to wait.
func (f failure) after(err error, now time.Time) failure {
	next := failure{err: err, pause: min(max(2*f.pause, firstPause), longestPause)}
	if e, ok := errors.AsType[*StatusError](err); ok {
		if e.Status == http.StatusForbidden {
			next.pause = longestPause
		}
		next.pause = max(next.pause, min(e.RetryAfter, longestPause))
	}
	next.until = now.Add(next.pause)
	return next
}

// refresh asks the provider for a token.
func (e *Enrolled) refresh(ctx context.Context) (*agentToken, error) {
	endpoint, err := e.remote.providerEndpoint(ctx, e.c.Provider, e.c.Endpoint, "refresh_endpoint", "/refresh")
	if err != nil {
		return nil, err
	}
	signs, asked := crypto.Signer(e.c.Key), Credential{Key: e.c.Key}
	if e.c.TwoKeys {
		ephemeral, err := new(keystore.Memory).Generate(ctx, keystore.KeyOptions{Algorithm: e.c.Ephemeral})
		if err != nil {
			return nil, err
		}
		signs, asked = ephemeral, Credential{Key: ephemeral, As: SignOptions{Durable: e.c.Key}}
	}
	r, err := e.remote.signed(ctx, endpoint, apicall.Call{Method: http.MethodPost, Body: struct{}{}}, asked)
	if err != nil {
		return nil, err
	}
	return e.read(r, signs)
}

// read checks an answer of success as that of an enrolment is checked.
func (e *Enrolled) read(r apicall.Reply, signs crypto.Signer) (*agentToken, error) {
	key, err := keystore.FromSigner("", signs)
	if err != nil {
		return nil, err
	}
	got, err := EnrollConfig{Provider: e.c.Provider, Development: e.c.Development}.enrollment(r, key, e.remote.now())
	if err != nil {
		return nil, err
	}
	return e.keep(got, signs), nil
}

// margin is how long before its end a token is replaced: up to a quarter longer than
// it must be, as its text has it, so that a fleet does not come at one moment.
func margin(life time.Duration, token string) time.Duration {
	m := min(refreshMargin, life/marginShare)
	sum := sha256.Sum256([]byte(token))
	return m + m/4*time.Duration(sum[0])/256
}

// Token returns an agent token that is good now, and its end. It is of use to who has
// the key that it is bound to.
func (e *Enrolled) Token(ctx context.Context) (text string, expires time.Time, err error) {
	c, err := e.Credential(ctx)
	return c.As.Token, c.Expires, err
}
