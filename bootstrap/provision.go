package bootstrap

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright"
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
// start. While the sink holds the key, nothing happens. When the sink is empty
// or the key has expired, a new key is issued and the old one ends, together
// with every key that it was rotated to: so removing the file asks for a new
// key, and deleting or disabling the key lasts.
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
	err = retry(func() (err error) {
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
	case !c.held():
		if err := p.open(ctx); err != nil {
			if keywright.AsError(err).Code == keywright.CodeBootstrapComplete {
				return Elsewhere, nil
			}
			return "", err
		}
		return Issued, p.issue(ctx, c, "bootstrap.provisioned")
	case c.Sink != "" && c.Key == "": // revoked: whoever is turned on again takes over
		return Reissued, p.issue(ctx, c, "bootstrap.reprovisioned")
	case !ours:
		return Elsewhere, nil
	}
	switch outcome, err := p.inspect(ctx, c); {
	case err != nil:
		return "", err
	case outcome != Reissued:
		return outcome, nil
	}
	return Reissued, p.issue(ctx, c, "bootstrap.reprovisioned")
}

// inspect finds out whether what the sink holds is as it should be, Kept or
// Ended, or must be Reissued.
func (p provisioner) inspect(ctx context.Context, c claim) (Outcome, error) {
	expired := !c.Expires.IsZero() && !p.host.Hooks.Now().Before(c.Expires)
	text, err := p.sink.Load(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported) && !expired:
		return Kept, nil
	case errors.Is(err, errors.ErrUnsupported):
		return Reissued, nil
	case err != nil:
		return "", keywright.Wrap(keywright.CodeInternal, fmt.Errorf("bootstrap: sink %s: %w", p.sink.Name(), err))
	}
	info, err := p.host.Keys.Check(ctx, text)
	switch {
	case err == nil && info.Parent == generationKey(c.Generation):
		return Kept, nil // the first key, or one that it was rotated to
	case err != nil && keywright.AsError(err).Code != keywright.CodeInvalidToken:
		return "", err
	}
	if id, ok := p.host.Keys.ID(text); ok && id == c.Key && !expired {
		return Ended, nil
	}
	// Nothing, or a key of an earlier generation that a crash left behind.
	return Reissued, nil
}

// issue makes a key for the sink over c, whose own keys, if any, end with the
// same step, and publishes it.
func (p provisioner) issue(ctx context.Context, c claim, event string) error {
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
	e := keywright.Event{Name: event, Actor: next.Sink, Target: m.ID}
	if err := p.commit(ctx, c, next, e, m.Op); err != nil {
		return err
	}
	return p.publish(ctx, m.Text)
}

func (p provisioner) publish(ctx context.Context, key string) error {
	if err := p.sink.Publish(ctx, key); err != nil {
		err = fmt.Errorf("bootstrap: the key was issued but not published to %s: the next start replaces it: %w", p.sink.Name(), err)
		return keywright.Wrap(keywright.CodeInternal, err)
	}
	return nil
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
			return "", keywright.Wrap(keywright.CodeInternal, fmt.Errorf("bootstrap: sink %s: %w", p.sink.Name(), err))
		}
	}
	return outcome, nil
}
