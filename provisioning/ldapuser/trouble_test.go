package ldapuser_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

func TestTrouble(t *testing.T) {
	s := newDirectory(t)
	for _, tt := range []struct {
		name   string
		change func(*ldapuser.Config)
		cause  string
	}{
		{"an authority that is unknown, over ldaps", func(c *ldapuser.Config) { c.URL, c.RootCAs = s.TLSURL, x509.NewCertPool() }, "TLS: tls:"},
		{"an authority that is unknown, over StartTLS", func(c *ldapuser.Config) { c.StartTLS, c.RootCAs = true, x509.NewCertPool() }, "TLS: "},
		{"an authority that the system does not know", func(c *ldapuser.Config) { c.URL, c.RootCAs = s.TLSURL, nil }, "TLS: tls:"},
		{"a certificate for another name", func(c *ldapuser.Config) {
			c.URL = strings.Replace(s.TLSURL, "127.0.0.1", "localhost", 1)
		}, "TLS: tls:"},
		{"a certificate for another name, over StartTLS", func(c *ldapuser.Config) {
			c.URL, c.StartTLS = strings.Replace(s.URL, "127.0.0.1", "localhost", 1), true
		}, "TLS: "},
		{"TLS to a port without", func(c *ldapuser.Config) { c.URL = strings.Replace(s.URL, "ldap:", "ldaps:", 1) }, "TLS: "},
		{"no TLS to a port with", func(c *ldapuser.Config) { c.URL = strings.Replace(s.TLSURL, "ldaps:", "ldap:", 1) }, "bind as Config.BindDN"},
		{"a wrong password of the account that searches", func(c *ldapuser.Config) { c.BindPassword = "wrong" }, "bind as Config.BindDN"},
		{"an account that may not search", func(c *ldapuser.Config) { c.BindDN, c.BindPassword = joe.DN(), right }, "search for the user"},
		{"an anonymous search that is not allowed", func(c *ldapuser.Config) { c.BindDN, c.BindPassword = "", "" }, "search for the user"},
		{"a base that is not there", func(c *ldapuser.Config) { c.BaseDN = "ou=gone," + ldaptest.BaseDN }, "search for the user"},
		{"nobody listening", func(c *ldapuser.Config) { c.URL = "ldap://127.0.0.1:1" }, "connect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := configOf(s)
			tt.change(&c)
			subject, err := newVerifier(t, c).VerifyPassword(t.Context(), "kate", right)
			wantTrouble(t, subject, err, tt.cause)
		})
	}
	s.Stop()
	subject, err := newVerifier(t, configOf(s)).VerifyPassword(t.Context(), "kate", right)
	wantTrouble(t, subject, err, "connect")
}

// TestOldTLS asks which versions are offered to the server.
func TestOldTLS(t *testing.T) {
	oldest := make(chan uint16, 1)
	url := serve(t, func(nc net.Conn) {
		tls.Server(nc, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			oldest <- slices.Min(h.SupportedVersions)
			return nil, errors.New("that was all")
		}}).Handshake()
	})
	c := ldapuser.Config{URL: strings.Replace(url, "ldap:", "ldaps:", 1), BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}}
	subject, err := newVerifier(t, c).VerifyPassword(t.Context(), "kate", right)
	wantTrouble(t, subject, err, "TLS: ")
	if got := <-oldest; got != tls.VersionTLS12 {
		t.Errorf("the oldest version offered is %s", tls.VersionName(got))
	}
}

// TestServerEndsInBetween ends the connection at each request of a login in turn.
func TestServerEndsInBetween(t *testing.T) {
	s := newDirectory(t)
	for _, tt := range []struct {
		ending          int
		username, cause string
	}{
		{1, "kate", "bind as Config.BindDN"},
		{2, "kate", "search for the user"},
		{3, "kate", "search for the super user"},
		{4, "kate", "bind as the user"},
		{1, "joe", "bind as Config.BindDN"},
		{2, "joe", "search for the user"},
		{3, "joe", "search for the super user"},
		{4, "joe", "bind as the user"},
		{1, "nobody", "bind as Config.BindDN"},
		{2, "nobody", "search for the user"},
		{3, "nobody", "bind as the user"}, // what the search for nobody comes to does not matter
		{4, "nobody", "bind as the user"},
	} {
		t.Run(fmt.Sprintf("at request %d for %s", tt.ending, tt.username), func(t *testing.T) {
			c := configOf(s)
			c.URL = newProxy(t, s.URL, tt.ending).url
			subject, err := newVerifier(t, c).VerifyPassword(t.Context(), tt.username, right)
			wantTrouble(t, subject, err, tt.cause)
		})
	}
}
