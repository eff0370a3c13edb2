package ldaptest_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

var (
	ann = ldaptest.User{Name: "ann", Password: "secret", Attributes: map[string][]string{"mail": {"ann@example.org"}, "sn": {"Other"}}}
	bob = ldaptest.User{Name: "bob", Password: "other", Unit: "open"}
)

// TestWhoMaySee logs in, and looks for users whose password can be read or not.
func TestWhoMaySee(t *testing.T) {
	s := ldaptest.Start(t)
	s.Add(ann, bob)
	for _, tt := range []struct {
		name, dn, password, base, filter string
		want                             []string
	}{
		{"the account that searches sees all users", s.BindDN, s.BindPassword, ldaptest.BaseDN, "(uid=*)", []string{ann.DN(), bob.DN()}},
		{"and their attributes", s.BindDN, s.BindPassword, ldaptest.BaseDN, "(&(mail=ann@*)(sn=other))", []string{ann.DN()}},
		{"but no password", s.BindDN, s.BindPassword, ldaptest.BaseDN, "(userPassword=*)", nil},
		{"a user sees those in the open", ann.DN(), ann.Password, "ou=open," + ldaptest.BaseDN, "(uid=*)", []string{bob.DN()}},
		{"but no password either", bob.DN(), bob.Password, "ou=open," + ldaptest.BaseDN, "(userPassword=*)", nil},
		{"nobody in particular sees them too", "", "", "ou=open," + ldaptest.BaseDN, "(uid=*)", []string{bob.DN()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := dial(t, s.URL, nil)
			if tt.dn != "" {
				if err := c.Bind(tt.dn, tt.password); err != nil {
					t.Fatal(err)
				}
			}
			result, err := c.Search(ldap.NewSearchRequest(tt.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, tt.filter, []string{"1.1"}, nil))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range result.Entries {
				got = append(got, e.DN)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	err := dial(t, s.URL, nil).Bind(ann.DN(), bob.Password)
	if !ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		t.Errorf("another's password: got %v", err)
	}
}

func TestTLS(t *testing.T) {
	s := ldaptest.Start(t)
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	fromFile := x509.NewCertPool()
	fromFile.AppendCertsFromPEM(text)
	for name, pool := range map[string]*x509.CertPool{"CA": s.CA, "CAFile": fromFile} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
			dial(t, s.TLSURL, config)
			if err := dial(t, s.URL, nil).StartTLS(config); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryServerIsItsOwn(t *testing.T) {
	a, b := ldaptest.Start(t), ldaptest.Start(t)
	a.Add(ann)
	b.Add(ann)
	a.Stop()
	if c, err := ldap.DialURL(a.URL); err == nil {
		c.Close()
		t.Error("the first server still answers")
	}
	if err := dial(t, b.URL, nil).Bind(ann.DN(), ann.Password); err != nil {
		t.Error(err)
	}
}

func dial(t *testing.T, url string, config *tls.Config) *ldap.Conn {
	t.Helper()
	c, err := ldap.DialURL(url, ldap.DialWithTLSConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
