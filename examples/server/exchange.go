package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
)

type exchangeConfig struct {
	Audience         string               `json:"audience"`   // "": the server's URL
	Publishers       []exchange.Publisher `json:"publishers"` // beside those that the admin API stores
	Issuers          []issuerConfig       `json:"issuers"`
	AllowNetworks    []netip.Prefix       `json:"allow_networks"`    // private networks with issuers
	InsecureLoopback bool                 `json:"insecure_loopback"` // issuers on this machine over http, for development
}

type issuerConfig struct {
	URL         string   `json:"url"`
	Algorithms  []string `json:"algorithms"`
	JWKSFile    string   `json:"jwks_file"` // for a server that cannot reach the issuer
	JWKSURL     string   `json:"jwks_url"`
	MaxLifetime duration `json:"max_lifetime"`
}

// setUpExchange makes the token endpoint. Keys of the kind "admin" manage its
// publishers; those that it issues are of the kind "ci".
func setUpExchange(ctx context.Context, host keywright.Host, cfg exchangeConfig) (*exchange.Handler, error) {
	c := exchange.Config{
		Host: host, Audience: cfg.Audience, Publishers: cfg.Publishers, Admin: host.Keys.Of("admin"),
		Network: exchange.Network{AllowNetworks: cfg.AllowNetworks, InsecureLoopback: cfg.InsecureLoopback},
	}
	for _, i := range cfg.Issuers {
		issuer := exchange.Issuer{URL: i.URL, Algorithms: i.Algorithms, JWKSURL: i.JWKSURL, MaxLifetime: i.MaxLifetime.Duration}
		if i.MaxLifetime.err != nil {
			return nil, fmt.Errorf("exchange.issuers: max_lifetime: %w", i.MaxLifetime.err)
		}
		if i.JWKSFile != "" {
			var err error
			if issuer.JWKS, err = os.ReadFile(i.JWKSFile); err != nil {
				return nil, fmt.Errorf("exchange.issuers: %w", err)
			}
		}
		c.Issuers = append(c.Issuers, issuer)
	}
	h, err := exchange.New(c)
	if err != nil {
		return nil, err
	}
	return h, h.Sync(ctx)
}
