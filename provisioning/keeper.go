package provisioning

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A KeyState is what a runner has to keep: as a secret.
type KeyState struct {
	Key string // the API key

	// Next is a newer one that has not been seen to work yet. A runner that
	// stopped in between begins with both.
	Next string
}

// KeeperConfig configures a [Keeper].
type KeeperConfig struct {
	Client Client   // required
	State  KeyState // where it begins; Key is required

	// Save keeps a state, durably, before the server hears of it. An error puts
	// the rotation off. Required.
	Save func(ctx context.Context, s KeyState) error

	// Failed is told why a rotation was put off; nil: nobody is.
	Failed func(error)
}

// A Keeper holds a runner's API key and replaces it before it ends: after some
// three quarters of its life, with jitter, so that a fleet does not come at once.
// The old key stays in use until the new one is saved and seen to work, and to
// the server it is good until then, however long that takes. A key
// without an end is never replaced.
//
// It has no goroutine except while it rotates. It is safe for concurrent use.
type Keeper struct {
	config KeeperConfig
	now    func() time.Time

	mu      sync.Mutex
	state   KeyState      // guarded by mu
	ends    time.Time     // guarded by mu: of state.Key; zero: never
	due     time.Time     // guarded by mu: of the next rotation; zero: never
	flight  chan struct{} // guarded by mu: closed when the rotation under way ends; nil: there is none
	problem error         // guarded by mu: of the last rotation
	tries   int           // guarded by mu: in vain, since the last success
	tried   time.Time     // guarded by mu: the end of the last rotation
}

// NewKeeper asks the server about the key, and goes on with Next if it works.
func NewKeeper(ctx context.Context, c KeeperConfig) (*Keeper, error) {
	if c.State.Key == "" || c.Save == nil {
		return nil, errors.New("provisioning: KeeperConfig.State.Key and KeeperConfig.Save are required")
	}
	if c.Failed == nil {
		c.Failed = func(error) {}
	}
	k := &Keeper{config: c, now: time.Now, state: c.State}
	if c.State.Next != "" {
		status, err := c.Client.Check(ctx, c.State.Next)
		if err == nil {
			return k, k.settle(ctx, c.State.Next, status)
		}
		if !refused(err) {
			return nil, err
		}
	}
	status, err := c.Client.Check(ctx, c.State.Key)
	if err != nil {
		return nil, err
	}
	k.schedule(status)
	return k, nil
}

// refused reports whether the server does not accept a key, whatever else it says.
func refused(err error) bool {
	e, ok := errors.AsType[*StatusError](err)
	return ok && e.Status == http.StatusUnauthorized
}

// settle makes key the one in use, once it has been saved as that.
func (k *Keeper) settle(ctx context.Context, key string, status KeyStatus) error {
	if err := k.config.Save(ctx, KeyState{Key: key}); err != nil {
		return fmt.Errorf("provisioning: save the key: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = KeyState{Key: key}
	k.schedule(status)
	return nil
}

// schedule chooses the time of the next rotation. The caller holds mu, or the
// only reference to k.
func (k *Keeper) schedule(s KeyStatus) {
	k.ends, k.due = s.Expires, time.Time{}
	if s.Expires.IsZero() {
		return
	}
	now := k.now()
	life := s.Expires.Sub(s.Issued)
	if s.Issued.IsZero() || life <= 0 {
		life = s.Expires.Sub(now)
	}
	k.due = s.Expires.Add(-time.Duration(float64(life) * (0.20 + 0.10*rand.Float64())))
}

// Key returns a key that works. It waits for a rotation only when the old key
// has ended.
func (k *Keeper) Key(ctx context.Context) (string, error) {
	k.mu.Lock()
	now := k.now()
	ended := !k.ends.IsZero() && !now.Before(k.ends)
	if k.flight == nil && (!k.due.IsZero() && !now.Before(k.due) || ended && now.Sub(k.tried) >= firstPause) {
		k.flight = make(chan struct{})
		go k.rotate(k.state)
	}
	key, flight, problem := k.state.Key, k.flight, k.problem
	k.mu.Unlock()
	switch {
	case !ended:
		return key, nil
	case flight == nil:
		return "", fmt.Errorf("provisioning: the runner's key has ended, it must be enrolled again: %w", problem)
	}
	select {
	case <-flight:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.problem != nil {
		return "", k.problem
	}
	return k.state.Key, nil
}

// rotate is the one rotation under way.
func (k *Keeper) rotate(old KeyState) {
	// No caller's context: one that gives up must not end it for the others.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := k.replace(ctx, old)
	if err != nil {
		k.config.Failed(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.problem, k.tried = err, k.now()
	if err != nil {
		k.tries++
		k.due = k.tried.Add(min(time.Hour, firstPause<<min(k.tries, 9)))
	} else {
		k.tries = 0
	}
	close(k.flight)
	k.flight = nil
}

// firstPause is how long a rotation in vain puts the next one off, at least.
const firstPause = 10 * time.Second

// replace saves the new key beside the old one before it uses it: once it was
// used, the server replaces it no more, and without it the runner were lost.
func (k *Keeper) replace(ctx context.Context, old KeyState) error {
	if old.Next != "" {
		// It may have been used, and the answer to that lost.
		status, err := k.config.Client.Check(ctx, old.Next)
		if err == nil {
			return k.settle(ctx, old.Next, status)
		}
		if !refused(err) {
			return err
		}
	}
	made, err := k.config.Client.Rotate(ctx, old.Key)
	if err != nil {
		return err
	}
	both := KeyState{Key: old.Key, Next: made.APIKey}
	if err := k.config.Save(ctx, both); err != nil {
		return fmt.Errorf("provisioning: save the key: %w", err)
	}
	k.mu.Lock()
	k.state = both
	k.mu.Unlock()
	status, err := k.config.Client.Check(ctx, made.APIKey)
	if err != nil {
		return err
	}
	return k.settle(ctx, made.APIKey, status)
}

// Transport sends requests with the runner's key to the Client's server, and to
// no other: those are refused. base nil means http.DefaultTransport.
func (k *Keeper) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return keeperTransport{k, base}
}

type keeperTransport struct {
	keeper *Keeper
	base   http.RoundTripper
}

func (t keeperTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	server, err := url.Parse(t.keeper.config.Client.URL)
	if err == nil && (r.URL.Scheme != server.Scheme || !strings.EqualFold(r.URL.Host, server.Host)) {
		err = fmt.Errorf("provisioning: %s is not the runner's server: its key is not sent there", r.URL.Host)
	}
	var key string
	if err == nil {
		key, err = t.keeper.Key(r.Context())
	}
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // as a RoundTripper must
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	maps.Copy(r.Header, t.keeper.config.Client.machine())
	r.Header.Set("Authorization", "Bearer "+key)
	return t.base.RoundTrip(r)
}
