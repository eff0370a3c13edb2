package ldaptest_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

func TestStart(t *testing.T) {
	begin := time.Now()
	s := ldaptest.Start(t)
	t.Log(time.Since(begin))
	u := ldaptest.User{Name: "ann", Password: "secret"}
	s.Add(u)
	c, err := ldap.DialURL(s.TLSURL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: s.CA}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Log(c.Bind(u.DN(), "secret"), c.Bind(u.DN(), "x"), c.Bind("uid=nobody,"+ldaptest.BaseDN, "x"))
}
