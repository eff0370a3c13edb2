package ldapuser_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// least is the least that New accepts.
var least = ldapuser.Config{URL: "ldap://127.0.0.1", BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}}

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ldapuser.Config)
	}{
		{"the least", func(*ldapuser.Config) {}},
		{"ldaps", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org" }},
		{"ldaps with a port and a slash", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org:1636/" }},
		{"StartTLS", func(c *ldapuser.Config) { c.URL, c.StartTLS = "ldap://ldap.example.org", true }},
		{"plain on localhost", func(c *ldapuser.Config) { c.URL = "ldap://localhost" }},
		{"plain on a loopback address", func(c *ldapuser.Config) { c.URL = "ldap://127.8.0.1:389" }},
		{"plain on the loopback address of IPv6", func(c *ldapuser.Config) { c.URL = "ldap://[::1]:389" }},
		{"plain elsewhere, insecurely", func(c *ldapuser.Config) { c.URL, c.InsecurePlain = "ldap://ldap.example.org", true }},
		{"everything", func(c *ldapuser.Config) {
			c.BindDN, c.BindPassword, c.UserAttribute = "cn=search", "secret", "sAMAccountName"
			c.UserFilter, c.SuperUserFilter, c.Timeout = "(objectClass=person)", "(&(a=b)(!(c=d)))", time.Second
		}},
		{"an account that is no DN, as Active Directory allows", func(c *ldapuser.Config) {
			c.BindDN, c.BindPassword = "search@example.org", "secret"
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := least
			tt.change(&c)
			if v, err := ldapuser.New(c); v == nil || err != nil {
				t.Errorf("got %v, %v", v, err)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ldapuser.Config)
		want   string // in the error
	}{
		{"no URL", func(c *ldapuser.Config) { c.URL = "" }, "neither ldap://"},
		{"a URL of another kind", func(c *ldapuser.Config) { c.URL = "https://ldap.example.org" }, "neither ldap://"},
		{"a URL that is none", func(c *ldapuser.Config) { c.URL = "ldap://[" }, "no URL"},
		{"a URL without a host", func(c *ldapuser.Config) { c.URL = "ldaps://:636" }, "host"},
		{"a URL with a user", func(c *ldapuser.Config) { c.URL = "ldaps://user:secret@ldap.example.org" }, "more than host"},
		{"a URL with a base", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org/dc=example" }, "more than host"},
		{"a URL with a query", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org/?uid" }, "more than host"},
		{"a URL with an empty query", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org/?" }, "more than host"},
		{"a URL with a fragment", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org/#x" }, "more than host"},
		{"a port that is none", func(c *ldapuser.Config) { c.URL = "ldaps://ldap.example.org:70000" }, "port"},
		{"plain elsewhere", func(c *ldapuser.Config) { c.URL = "ldap://ldap.example.org" }, "shows passwords"},
		{"plain on an address elsewhere", func(c *ldapuser.Config) { c.URL = "ldap://10.0.0.1" }, "shows passwords"},
		{"plain on a name that begins like loopback", func(c *ldapuser.Config) { c.URL = "ldap://127.0.0.1.example.org" }, "shows passwords"},
		{"plain on a name that begins like localhost", func(c *ldapuser.Config) { c.URL = "ldap://localhost.example.org" }, "shows passwords"},
		{"StartTLS in TLS", func(c *ldapuser.Config) { c.URL, c.StartTLS = "ldaps://ldap.example.org", true }, "StartTLS"},
		{"no base", func(c *ldapuser.Config) { c.BaseDN = "" }, "BaseDN is required"},
		{"a base that is no DN", func(c *ldapuser.Config) { c.BaseDN = "example" }, "Config.BaseDN: "},
		{"an account without a password", func(c *ldapuser.Config) { c.BindDN = "cn=search" }, "need each other"},
		{"a password without an account", func(c *ldapuser.Config) { c.BindPassword = "secret" }, "need each other"},
		{"an attribute that is a filter", func(c *ldapuser.Config) { c.UserAttribute = "uid=*)(uid" }, "UserAttribute"},
		{"an attribute with an option", func(c *ldapuser.Config) { c.UserAttribute = "cn;lang-en" }, "UserAttribute"},
		{"an attribute with a new line", func(c *ldapuser.Config) { c.UserAttribute = "uid\n" }, "UserAttribute"},
		{"a user filter that is none", func(c *ldapuser.Config) { c.UserFilter = "objectClass=person" }, "UserFilter"},
		{"two user filters", func(c *ldapuser.Config) { c.UserFilter = "(a=b)(c=d)" }, "UserFilter"},
		{"a user filter that ends another", func(c *ldapuser.Config) { c.UserFilter = "(a=b))(|(c=d)" }, "UserFilter"},
		{"a super-user filter that does not end", func(c *ldapuser.Config) { c.SuperUserFilter = "(&(a=b)" }, "SuperUserFilter"},
		{"nobody", func(c *ldapuser.Config) { c.SuperUsers = nil }, "nobody would be admitted"},
		{"a super user without a name", func(c *ldapuser.Config) { c.SuperUsers = []string{"kate", ""} }, "SuperUsers"},
		{"a super user whose name nobody can give", func(c *ldapuser.Config) { c.SuperUsers = []string{"kate\n"} }, "SuperUsers"},
		{"a negative timeout", func(c *ldapuser.Config) { c.Timeout = -1 }, "Timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := least
			tt.change(&c)
			v, err := ldapuser.New(c)
			if v != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, %v, want an error with %q", v, err, tt.want)
			}
			if !strings.HasPrefix(err.Error(), "ldapuser: ") || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConfigIsCopied(t *testing.T) {
	s := newDirectory(t)
	c := configOf(s)
	c.SuperUserFilter, c.SuperUsers = "", []string{"kate"}
	v := newVerifier(t, c)
	c.SuperUsers[0] = "joe"
	subject, err := v.VerifyPassword(t.Context(), "joe", right)
	wantRefused(t, subject, err, "not a super user")
}
