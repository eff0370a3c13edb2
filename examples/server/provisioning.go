package main

import (
	"errors"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

// manageKeys is the permission that provisioning keys ask for.
const manageKeys = "create_provisioning_key"

type provisioningConfig struct {
	ServerURLs   []string       `json:"server_urls"`   // of this server, beside -url
	Binding      string         `json:"binding"`       // off, warn or bind
	DetectClones bool           `json:"detect_clones"` // of runners with a key pair
	Limits       runnerLimits   `json:"limits"`
	Failures     failuresConfig `json:"failures"`
}

// runnerLimits are provisioning.Limits; 0: what they have.
type runnerLimits struct {
	Lifetime    duration `json:"lifetime"`
	MaxLifetime duration `json:"max_lifetime"`
	PerHour     int      `json:"per_hour"`
	RunnerKey   duration `json:"runner_key"`
	Overlap     duration `json:"overlap"`
}

type failuresConfig struct {
	Burst     int `json:"burst"`
	PerMinute int `json:"per_minute"`
}

var bindings = map[string]provisioning.Binding{
	"": provisioning.BindOff, "off": provisioning.BindOff, "warn": provisioning.BindWarn, "bind": provisioning.Bind,
}

func (c provisioningConfig) check() error {
	if _, ok := bindings[c.Binding]; !ok {
		return errors.New("provisioning.binding: want off, warn or bind")
	}
	l := c.Limits
	return checkDurations("provisioning.limits", map[string]duration{
		"lifetime": l.Lifetime, "max_lifetime": l.MaxLifetime, "runner_key": l.RunnerKey, "overlap": l.Overlap,
	})
}

// setUpProvisioning makes the endpoints of provisioning keys and runners.
func setUpProvisioning(host keywright.Host, cfg provisioningConfig, admin keywright.Authenticator) (*provisioning.Handler, error) {
	l := cfg.Limits
	return provisioning.New(provisioning.Config{
		Host: host, Admin: admin, Permission: manageKeys, ServerURLs: cfg.ServerURLs,
		Limits: provisioning.Limits{
			Lifetime: l.Lifetime.Duration, MaxLifetime: l.MaxLifetime.Duration, PerHour: l.PerHour,
			RunnerKey: l.RunnerKey.Duration, Overlap: l.Overlap.Duration,
		},
		Binding: bindings[cfg.Binding], DetectClones: cfg.DetectClones, Failures: provisioning.FailureLimit(cfg.Failures),
	})
}
