package provisioning

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/limit"
)

// Provision makes the credentials of a new runner on behalf of caller, whose
// Subject is the id of a provisioning key. It refuses an id that is enrolled with
// CodeConflict; credentials that are pending for it are replaced.
func (h *Handler) Provision(ctx context.Context, caller keywright.Principal, req ProvisionRequest) (Provisioned, error) {
	k, err := h.standingKey(ctx, caller.Subject)
	if err != nil {
		return Provisioned{}, err
	}
	if err := k.from(ctx); err != nil {
		return Provisioned{}, err
	}
	quota, err := h.count(ctx, k)
	if err != nil {
		return Provisioned{}, err
	}
	o, err := h.requested(req, k)
	if err != nil {
		return Provisioned{}, err
	}
	o.actor = caller
	o.render = func(p Provisioned) (string, error) { return h.render(ctx, p, req) }
	p, err := h.offer(ctx, o)
	p.quota = quota
	return p, err
}

// standingKey returns a key that was authenticated, unless it has ended since.
func (h *Handler) standingKey(ctx context.Context, id string) (storedKey, error) {
	k, err := h.loadKey(ctx, id)
	switch {
	case err != nil && keywright.AsError(err).Code == keywright.CodeNotFound:
		return storedKey{}, unauthorized(textBadKey, err)
	case err == nil && k.Disabled:
		return storedKey{}, unauthorized(textBadKey, fmt.Errorf("key %s is disabled", id))
	}
	return k, err
}

// count counts a request by k, in the store.
func (h *Handler) count(ctx context.Context, k storedKey) (*limit.Quota, error) {
	w := limit.Window{Store: h.host.Store, Kind: "provisioning.window", Max: int64(orDefault(k.PerHour, h.limits.PerHour)), Length: time.Hour}
	q, err := w.Take(ctx, k.ID+"/"+k.Instance, h.host.Hooks.Now())
	switch {
	case err != nil:
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	case q.Exceeded:
		return nil, &keywright.Error{Code: keywright.CodeRateLimited, Detail: "Too many requests by this provisioning key", Header: q.Header()}
	}
	return &q, nil
}

// requested checks a request and makes an offer of it.
func (h *Handler) requested(req ProvisionRequest, k storedKey) (offer, error) {
	o := offer{name: req.Name, id: req.ID, keyBound: req.PublicKey, key: &k, maker: "provisioning:" + k.ID, scopes: k.Scopes, tags: k.Tags}
	var err error
	if o.lifetime, err = h.lifetime(req.Hours); err != nil {
		return offer{}, err
	}
	if err := o.checkNames(); err != nil {
		return offer{}, err
	}
	if !matches(k.Pattern, o.id) {
		return offer{}, keywright.Errorf(keywright.CodeInsufficientScope, "runner_id: this key makes only runners named like %s", k.Pattern)
	}
	if o.server, err = h.server(req.ServerURL); err != nil {
		return offer{}, err
	}
	return o, checkDevices(req.Devices)
}

func (o *offer) checkNames() error {
	if err := checkRunnerName("runner_name", o.name); err != nil {
		return err
	}
	if o.id == "" {
		o.id = o.name
	}
	return checkRunnerName("runner_id", o.id)
}

// lifetime reads expires_hours.
func (h *Handler) lifetime(hours *float64) (time.Duration, error) {
	if hours == nil {
		return h.limits.Lifetime, nil
	}
	most := h.limits.MaxLifetime
	if !(*hours > 0) || *hours > most.Hours() {
		return 0, invalid("expires_hours: want a number above 0, at most %g", most.Hours())
	}
	// Whole seconds, as it is told to the caller.
	return max(time.Second, time.Duration(math.Floor(*hours*3600))*time.Second), nil
}

// server finds out which of the server's addresses a runner is told.
func (h *Handler) server(asked string) (string, error) {
	if asked == "" {
		return h.servers[0], nil
	}
	u, err := serverURL(asked)
	if err != nil || !slices.Contains(h.servers, u) {
		return "", invalid("server_url: not an address of this server")
	}
	return u, nil
}
