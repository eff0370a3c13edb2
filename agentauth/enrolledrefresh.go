package agentauth

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/keystore"
)

// A refreshing is one call to the provider, for all who wait for it.
type refreshing struct {
	late <-chan struct{} // closed when nobody is to wait any longer
	done chan struct{}
	got  Credential // valid after done, as is
	err  error
}

const (
	refreshMargin  = 5 * time.Minute // before the end of a token, at most
	marginShare    = 5               // of a token's life is the margin, where that is less
	refreshTimeout = time.Minute     // for one refresh, whoever waits
	renewFloor     = time.Minute     // a token that is younger is not renewed
	endpointAge    = time.Hour       // until the metadata are read again
)

var (
	errNewRefused  = errors.New("agentauth: the agent token is refused, and it is new: are the clocks right?")
	errRefreshLate = errors.New("agentauth: the provider has not answered within a minute")
)

// ask begins a refresh, unless there is one. It goes on for all, whoever has begun it
// and leaves. One that does not heed its time is waited for no longer, and stays the
// only one. The caller holds e.mu.
func (e *Enrolled) ask() *refreshing {
	if e.flight != nil {
		return e.flight
	}
	ctx, cancel := context.WithTimeout(context.Background(), refreshTimeout)
	f, as := &refreshing{late: ctx.Done(), done: make(chan struct{})}, e.as
	e.flight = f
	go func() {
		defer cancel()
		t, err := e.refresh(ctx, as)
		e.mu.Lock()
		defer e.mu.Unlock()
		defer close(f.done)
		e.flight = nil
		if f.err = err; err != nil {
			e.failure = e.failure.after(err, e.remote.now())
			return
		}
		f.got = t.credential
		e.keep(t, e.remote.now())
	}()
	return f
}

func (f *refreshing) wait(ctx context.Context) (Credential, error) {
	select {
	case <-f.done:
	case <-f.late:
	case <-ctx.Done():
		return Credential{}, ctx.Err()
	}
	select {
	case <-f.done:
		return f.got, f.err
	default:
		return Credential{}, errRefreshLate
	}
}

// keep replaces the token that is kept, and remembers whom another must be of. The
// caller holds e.mu.
func (e *Enrolled) keep(t *agentToken, now time.Time) {
	t.got = now
	e.kept, e.failure = t, failure{}
	e.as.Provider, e.as.AgentID = t.provider, t.agentID
}

// refresh asks the provider for a token. Code of the host signs and sends; its panics
// end no program.
func (e *Enrolled) refresh(ctx context.Context, as EnrollConfig) (t *agentToken, err error) {
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("agentauth: refreshing the agent token has panicked: %v", p)
		}
	}()
	endpoint, err := e.endpointAt(ctx)
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
		e.found = found{}
		return nil, err
	}
	key, err := keystore.FromSigner("", signs)
	if err != nil {
		return nil, err
	}
	got, err := as.enrollment(r, key, e.remote.now()) // which is checked as that of an enrolment is
	if err != nil {
		return nil, err
	}
	return newAgentToken(got, signs), nil
}

// A found is an endpoint that metadata have named.
type found struct {
	url string // "": none
	at  time.Time
}

// endpointAt returns where to refresh.
func (e *Enrolled) endpointAt(ctx context.Context) (string, error) {
	now := e.remote.now()
	if age := now.Sub(e.found.at); e.found.url != "" && age >= 0 && age < endpointAge {
		return e.found.url, nil
	}
	url, err := e.remote.providerEndpoint(ctx, e.c.Provider, e.c.Endpoint, "refresh_endpoint", "/refresh")
	if err == nil {
		e.found = found{url, now}
	}
	return url, err
}

// newAgentToken is the token of got, with the key that signs by it.
func newAgentToken(got Enrollment, signs crypto.Signer) *agentToken {
	return &agentToken{
		credential: Credential{Key: signs, As: SignOptions{Token: got.AgentToken}, Expires: got.Expires},
		provider:   got.Provider, agentID: got.AgentID,
		due: got.Expires.Add(-margin(got.Expires.Sub(got.Issued), got.AgentToken)),
	}
}

// margin is how long before its end a token is replaced: up to a quarter longer than
// it must be, as its text has it, so that a fleet does not come at one moment.
func margin(life time.Duration, token string) time.Duration {
	m := min(refreshMargin, life/marginShare)
	sum := sha256.Sum256([]byte(token))
	return m + m/4*time.Duration(sum[0])/256
}

// A failure says that the provider is not to be asked before a time.
type failure struct {
	err       error // nil: there was none
	pause     time.Duration
	at, until time.Time
}

const (
	firstPause   = time.Second
	longestPause = time.Minute // that nobody asks for
	longestRest  = time.Hour   // that a provider may ask for
)

// rests reports whether the provider is to be left alone. If the clock was set back
// since, it is not.
func (f failure) rests(now time.Time) bool {
	return f.err != nil && !now.Before(f.at) && now.Before(f.until)
}

// after is what follows f when the provider was asked again in vain: a pause twice as
// long, and up to a quarter more, so that a fleet does not come back at one moment. Who
// is denied has a while to wait.
func (f failure) after(err error, now time.Time) failure {
	next := failure{err: err, pause: min(max(2*f.pause, firstPause), longestPause), at: now}
	wait := time.Duration(0)
	if e, ok := errors.AsType[*StatusError](err); ok {
		if e.Status == http.StatusForbidden {
			next.pause = longestPause
		}
		wait = min(e.RetryAfter, longestRest)
	}
	wait = max(wait, next.pause)
	next.until = now.Add(wait + rand.N(wait/4))
	return next
}
