package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// applicationsConfig has the members that Quay's configuration has, under their
// names there, and those that only this server needs.
type applicationsConfig struct {
	Bootstrap     bool                    `json:"FEATURE_PROGRAMMATIC_BOOTSTRAP"` // super users get tokens by password
	RateLimits    bool                    `json:"FEATURE_RATE_LIMITS"`
	SuperUsers    []string                `json:"SUPER_USERS"`
	Users         map[string]string       `json:"users"` // bcrypt hashes of their passwords
	OIDC          oidcConfig              `json:"oidc"`
	Organizations map[string]organization `json:"organizations"`
	CallsPerHour  int                     `json:"calls_per_hour"` // of one caller, with FEATURE_RATE_LIMITS; 0: 1000
	ldapConfig
}

type organization struct {
	Applications map[string]string `json:"applications"` // names by client id
}

func (c applicationsConfig) check() error {
	switch {
	case c.CallsPerHour < 0:
		return errors.New("calls_per_hour is negative")
	case c.Bootstrap && len(c.Organizations) == 0:
		return errors.New("FEATURE_PROGRAMMATIC_BOOTSTRAP without organizations")
	}
	return nil
}

// setUpApplications mounts the endpoints of application tokens, which admin
// keys may use for all organisations. Without organisations there are none.
func setUpApplications(ctx context.Context, mux *http.ServeMux, host keywright.Host, cfg applicationsConfig) error {
	directory := apptoken.Static{Organizations: make(map[string]apptoken.Organization)}
	for name, o := range cfg.Organizations {
		directory.Organizations[name] = apptoken.Organization{Applications: o.Applications}
	}
	c := apptoken.Config{Host: host, KeyKind: "app", Directory: directory, Callers: host.Keys.Of("admin")}
	if cfg.Bootstrap {
		var err error
		if c.ZeroTouch, err = cfg.zeroTouch(); err != nil {
			return err
		}
	}
	if cfg.RateLimits {
		c.Rate = 1000
		if cfg.CallsPerHour > 0 {
			c.Rate = cfg.CallsPerHour
		}
	}
	h, err := apptoken.New(c)
	if err != nil {
		return err
	}
	// Applications that have left the configuration since take their tokens along.
	if err := h.Sync(ctx, keywright.Principal{Subject: "configuration"}); err != nil {
		return err
	}
	if len(cfg.Organizations) == 0 {
		return nil
	}
	h.Register(mux, "")
	mux.Handle("/api/v1/", absent(keywright.Quay))
	return nil
}
