package apptoken

import (
	"maps"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestZeroTouchConfig(t *testing.T) {
	w := newSuWorld(t)
	good := ServiceAccount{Issuer: "https://idp.example", Subject: "s", Name: "n"}
	for want, edit := range map[string]func(*ZeroTouch){
		"neither Passwords nor": func(c *ZeroTouch) { c.Passwords = nil },
		"Label":                 func(c *ZeroTouch) { c.Label = "LDAP 2" },
		"Label: want":           func(c *ZeroTouch) { c.Label = strings.Repeat("L", 33) },
		"OIDC is that of":       func(c *ZeroTouch) { c.Label = "OIDC" },
		"MaxLifetime":           func(c *ZeroTouch) { c.MaxLifetime = -1 },
		"Networks: invalid":     func(c *ZeroTouch) { c.Networks = []netip.Prefix{{}} },
		"Networks: ::ffff":      func(c *ZeroTouch) { c.Networks = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} },
		"Guesses":               func(c *ZeroTouch) { c.Guesses.PerMinute = -1 },
		"Audience":              func(c *ZeroTouch) { c.Audience, c.ServiceAccounts = "a\nb", []ServiceAccount{good} },
		"Network: egress": func(c *ZeroTouch) {
			c.Network.AllowNetworks, c.ServiceAccounts = []netip.Prefix{{}}, []ServiceAccount{good}
		},
		`https://i.example" twice`: func(c *ZeroTouch) {
			c.Network.Issuers, c.ServiceAccounts = []Issuer{{URL: "https://i.example"}, {URL: "https://i.example"}}, []ServiceAccount{good}
		},
		"Network.Issuers: issuer": func(c *ZeroTouch) {
			c.Network.Issuers, c.ServiceAccounts = []Issuer{{URL: "https://i.example", Algorithms: []string{"HS256"}}}, []ServiceAccount{good}
		},
		"no service account is of": func(c *ZeroTouch) {
			c.Network.Issuers, c.ServiceAccounts = []Issuer{{URL: "https://i.example"}}, []ServiceAccount{good}
		},
	} {
		c := ZeroTouch{Enabled: true, Passwords: w.passwords}
		edit(&c)
		if z, err := newZeroTouch(w.host, c); err == nil || z != nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "apptoken: Config.ZeroTouch") {
			t.Errorf("%s: got %v", want, err)
		}
	}
	for want, u := range map[string]*url.URL{"no URL": nil, "cannot be a realm": {Scheme: "https", Host: `a"b`}} {
		host := w.host
		host.URL = u
		if _, err := newZeroTouch(host, ZeroTouch{Enabled: true, Passwords: w.passwords}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// What the caller of a Go function may change is not what is used.
func TestConfigIsCopied(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	claims := map[string]string{"a": "b"}
	account := ServiceAccount{Issuer: "https://idp.example", Subject: "s", Name: "n", Claims: claims}
	w := newSuWorld(t, func(c *ZeroTouch) { c.Networks, c.ServiceAccounts = networks, []ServiceAccount{account} })
	networks[0] = netip.MustParsePrefix("10.0.0.0/8")
	maps.Copy(claims, map[string]string{"a": "c"})
	w.wantIn("the network", suRequest(suBasic("admin", suPassword)))
	if got := w.accounts.byIssuer["https://idp.example"]["s"].Claims["a"]; got != "b" {
		t.Errorf("the claim is %q", got)
	}
}
