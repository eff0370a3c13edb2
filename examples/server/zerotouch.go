package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/keywright/keywright/provisioning/apptoken"
)

// oidcConfig has the service principals of OpenID Connect providers that are
// super users.
type oidcConfig struct {
	Audience         string           `json:"audience"` // "": the server's URL
	ServiceAccounts  []serviceAccount `json:"service_accounts"`
	AllowNetworks    []netip.Prefix   `json:"allow_networks"`    // private networks with providers
	InsecureLoopback bool             `json:"insecure_loopback"` // providers on this machine over http, for development
}

type serviceAccount struct {
	Issuer  string            `json:"issuer"`
	Subject string            `json:"subject"`
	Name    string            `json:"name"` // by which it acts
	Claims  map[string]string `json:"claims"`
}

// zeroTouch lets super users make tokens before there is any: those in LDAP, or
// else those in SUPER_USERS with a hash among users, and service accounts.
func (c applicationsConfig) zeroTouch() (apptoken.ZeroTouch, error) {
	z := apptoken.ZeroTouch{
		Enabled: true, Audience: c.OIDC.Audience,
		Network: apptoken.Network{AllowNetworks: c.OIDC.AllowNetworks, InsecureLoopback: c.OIDC.InsecureLoopback},
	}
	for _, a := range c.OIDC.ServiceAccounts {
		z.ServiceAccounts = append(z.ServiceAccounts, apptoken.ServiceAccount(a))
	}
	switch {
	case c.URI != "" && len(c.Users) > 0:
		return z, errors.New("users: not beside LDAP_URI, which knows them")
	case c.URI != "":
		users, err := c.verifier(c.SuperUsers)
		z.Passwords, z.Label = users, "LDAP"
		return z, err
	case len(c.SuperUsers) > 0:
		users, err := c.accounts()
		z.Passwords = users
		return z, err
	}
	return z, nil
}

// accounts are the super users. The other users are none: a right password is
// refused like a wrong one.
func (c applicationsConfig) accounts() (*apptoken.Accounts, error) {
	hashes := make(map[string]string)
	for _, name := range c.SuperUsers {
		hash, ok := c.Users[name]
		if !ok {
			return nil, fmt.Errorf("SUPER_USERS: no hash for %q among users", name)
		}
		hashes[name] = hash
	}
	users, err := apptoken.NewAccounts(hashes)
	if err != nil {
		return nil, fmt.Errorf("SUPER_USERS: %w", err)
	}
	return users, nil
}
