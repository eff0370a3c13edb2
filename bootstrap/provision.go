package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// ProvisionConfig configures [Provision]; see [Config] for the fields of the
// same names.
type ProvisionConfig struct {
	Host    keywright.Host
	Sink    Sink // required, unless Disabled
	Key     AdminKey
	Admin   func(ctx context.Context) (subject string, err error)
	Claimed func(ctx context.Context) (bool, error)

	// Disabled revokes what an earlier start has provisioned, on whichever
	// replica, and removes it from Sink where that is the one. A host that has
	// this feature calls Provision at every start, with Disabled while it is off.
	Disabled bool
}

// An Outcome says what [Provision] found or did.
type Outcome string

// The outcomes.
const (
	Issued    Outcome = "issued"    // this was the first key
	Reissued  Outcome = "reissued"  // the published key was gone or had stopped working
	Kept      Outcome = "kept"      // the published key still works
	Ended     Outcome = "ended"     // it was deleted or disabled, which a start does not undo
	Elsewhere Outcome = "elsewhere" // the claim belongs to the endpoint, another sink or the host
	Revoked   Outcome = "revoked"   // Disabled: the key that was published has been ended
	Off       Outcome = "off"       // Disabled: nothing to do
)

// Provision gives a server its first admin key at start-up, without any
// request: it claims the installation like the endpoint does, with which it
// shares the one claim, and publishes the key to a sink. Call it at every
// start.
//
// While the sink holds the key, or one it was rotated to, nothing happens. When
// the sink is empty, a new key is issued and the old one ends, together with
// every key that it was rotated to: removing the file asks for a new key. An
// expired key is replaced too, unless it was rotated to one that lives. A key
// that was deleted or disabled stays so; a deletion is noticed by the starts
// before the key's expiry.
//
// The key exists before it is published. When publishing fails, the error says
// so and the next start issues another key in its place; there is never more
// than one.
func Provision(ctx context.Context, c ProvisionConfig) (Outcome, error) {
	f, err := newFirst(c.Host, c.Key, c.Admin, c.Claimed)
	if err != nil {
		return "", err
	}
	if c.Sink == nil && !c.Disabled {
		return "", errors.New("bootstrap: ProvisionConfig.Sink is required")
	}
	p := provisioner{first: f, sink: c.Sink, off: c.Disabled}
	var outcome Outcome
	err = endpoint.Retry(func() (err error) {
		outcome, err = p.run(ctx)
		return err
	})
	if err != nil {
		return "", err
	}
	return outcome, nil
}

type provisioner struct {
	first
	sink Sink
	off  bool
}

func (p provisioner) run(ctx context.Context) (Outcome, error) {
	c, err := readClaim(ctx, p.host)
	if err != nil {
		return "", err
	}
	ours := c.held() && p.sink != nil && c.Sink == p.sink.Name()
	switch {
	case p.off:
		return p.revoke(ctx, c, ours)
	case c.held() && c.Sink == "":
		return Elsewhere, nil // the endpoint was first
	case c.held() && c.Key == "":
		return Reissued, p.issue(ctx, c) // revoked: whoever is turned on again takes over
	case c.held() && !ours:
		return Elsewhere, nil
	}
	// A sink that cannot work is found out before it costs the claim.
	text, err := p.sink.Load(ctx)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return "", p.sinkError(err)
	}
	if ours {
		return p.renew(ctx, c, text, err == nil)
	}
	if err := p.open(ctx, c); err != nil {
		if keywright.AsError(err).Code == keywright.CodeBootstrapComplete {
			return Elsewhere, nil
		}
		return "", err
	}
	return Issued, p.issue(ctx, c)
}

// renew sees to it that the sink, which holds text as far as it can tell,
// holds a key that works.
func (p provisioner) renew(ctx context.Context, c claim, text string, loaded bool) (Outcome, error) {
	if !c.Published {
		if err := p.await(ctx, c); err != nil {
			return "", err
		}
		return Reissued, p.issue(ctx, c)
	}
	if loaded && text == "" {
		return Reissued, p.issue(ctx, c)
	}
	outcome, err := p.inspect(ctx, c, text, loaded)
	switch {
	case err != nil:
		return "", err
	case outcome == Reissued:
		return outcome, p.issue(ctx, c)
	case outcome == Ended && !c.Ended:
		next := c
		next.Ended = true
		e := keywright.Event{Name: "bootstrap.key_ended", Actor: c.Sink, Target: c.Key}
		return outcome, p.commit(ctx, c, next, e)
	}
	return outcome, nil
}

// How long another process that shares the sink is given between its claim
// and its publication.
const (
	publishing = 2 * time.Second
	pollEvery  = 50 * time.Millisecond
)

// errChanged makes Provision look again.
var errChanged = fmt.Errorf("bootstrap: another process is publishing the key: %w", store.ErrConflict)

// await returns nil when nobody has published the key of c in time, and
// errChanged when somebody has.
func (p provisioner) await(ctx context.Context, c claim) error {
	age := p.host.Hooks.Now().Sub(c.At)
	for left := publishing - age; age >= 0 && left > 0; left -= pollEvery {
		if !wait(ctx, pollEvery) {
			return ctx.Err()
		}
		now, err := readClaim(ctx, p.host)
		if err != nil {
			return err
		}
		if now.version != c.version {
			return errChanged
		}
	}
	return nil
}

// inspect finds out whether the published key is as it should be, Kept or
// Ended, or must be Reissued.
func (p provisioner) inspect(ctx context.Context, c claim, text string, loaded bool) (Outcome, error) {
	if loaded {
		info, err := p.host.Keys.Check(ctx, text)
		switch {
		case err == nil && hangsOn(info, generationKey(c.Generation)):
			return Kept, nil // the first key, or one that it was rotated to
		case err != nil && keywright.AsError(err).Code != keywright.CodeInvalidToken:
			return "", err
		}
		if id, ok := p.host.Keys.ID(text); !ok || id != c.Key {
			return Reissued, nil // not what was published
		}
	}
	info, err := p.host.Keys.Lookup(ctx, c.Key)
	switch expired := !c.Expires.IsZero() && !p.host.Hooks.Now().Before(c.Expires); {
	case err == nil && info.Disabled:
		return Ended, nil
	case err == nil:
		return Kept, nil
	case keywright.AsError(err).Code != keywright.CodeNotFound:
		return "", err
	case c.Ended || !expired:
		return Ended, nil
	}
	return p.successor(ctx, c)
}

// successor looks for a key that an expired one was rotated to.
func (p provisioner) successor(ctx context.Context, c claim) (Outcome, error) {
	for info, err := range p.host.Keys.List(ctx, "", 0) {
		if err != nil {
			return "", err
		}
		if hangsOn(info, generationKey(c.Generation)) {
			return Kept, nil
		}
	}
	return Reissued, nil
}

// issue makes a key for the sink over c, whose own keys, if any, end with the
// same step, and publishes it.
func (p provisioner) issue(ctx context.Context, c claim) error {
	now := p.host.Hooks.Now()
	next := claim{Generation: c.Generation + 1, At: now, Sink: p.sink.Name(), version: c.version}
	spec, err := p.spec(ctx, next.Generation, now)
	if err != nil {
		return err
	}
	m, err := p.host.Keys.Mint(spec)
	if err != nil {
		return err
	}
	next.Key, next.Expires = m.ID, spec.Expires
	e := keywright.Event{Name: "bootstrap.provisioned", Actor: next.Sink, Target: m.ID}
	if err := p.commit(ctx, c, next, e, m.Op); err != nil {
		return err
	}
	return p.publish(ctx, m.ID, m.Text)
}

// publish hands out the key and notes that it did. When the claim has changed
// meanwhile, what was published is no longer the key: Provision looks again.
func (p provisioner) publish(ctx context.Context, id, key string) error {
	if err := p.sink.Publish(ctx, key); err != nil {
		return p.sinkError(fmt.Errorf("the key was issued but not published, the next start replaces it: %w", err))
	}
	c, err := readClaim(ctx, p.host)
	if err != nil {
		return err
	}
	if c.Key != id {
		return errChanged
	}
	next := c
	next.Published = true
	e := keywright.Event{Name: "bootstrap.published", Actor: c.Sink, Target: c.Key}
	return p.commit(ctx, c, next, e)
}

func (p provisioner) sinkError(err error) error {
	return keywright.Wrap(keywright.CodeInternal, fmt.Errorf("bootstrap: sink %s: %w", p.sink.Name(), err))
}

// revoke ends what was provisioned. The sink is cleaned even when an earlier
// try got no further than the store.
func (p provisioner) revoke(ctx context.Context, c claim, ours bool) (Outcome, error) {
	outcome := Off
	if c.held() && c.Sink != "" && c.Key != "" {
		next := c
		next.Key, next.At = "", p.host.Hooks.Now()
		e := keywright.Event{Name: "bootstrap.unprovisioned", Actor: c.Sink, Target: c.Key}
		if err := p.commit(ctx, c, next, e); err != nil {
			return "", err
		}
		outcome = Revoked
	}
	if ours {
		if err := p.sink.Remove(ctx); err != nil {
			return "", p.sinkError(err)
		}
	}
	return outcome, nil
}

// hangsOn reports whether parent is one of the key's.
func hangsOn(info keywright.KeyInfo, parent store.Key) bool {
	return slices.ContainsFunc(info.Parents, func(p keywright.Parent) bool { return p.Key == parent })
}
