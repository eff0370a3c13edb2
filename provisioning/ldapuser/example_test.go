package ldapuser_test

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/provisioning/ldapuser"
)

// What Quay calls LDAP_SUPERUSER_FILTER and SUPER_USERS. Without either, nobody
// would be admitted.
func ExampleNew() {
	c := ldapuser.Config{
		URL:          "ldaps://ldap.example.org",
		BindDN:       "cn=search,dc=example,dc=org",
		BindPassword: "from a file",
		BaseDN:       "ou=people,dc=example,dc=org",
	}
	_, err := ldapuser.New(c)
	fmt.Println(err)

	c.SuperUserFilter = "(memberOf=cn=admins,ou=groups,dc=example,dc=org)"
	c.SuperUsers = []string{"quayadmin"}
	_, err = ldapuser.New(c)
	fmt.Println(err)
	// Output:
	// ldapuser: neither Config.SuperUserFilter nor SuperUsers: nobody would be admitted
	// <nil>
}

// An empty password would be an anonymous bind, which succeeds.
func ExampleVerifier_VerifyPassword() {
	v, err := ldapuser.New(ldapuser.Config{
		URL: "ldaps://ldap.example.org", BaseDN: "dc=example,dc=org", SuperUsers: []string{"quayadmin"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = v.VerifyPassword(context.Background(), "quayadmin", "")
	fmt.Println(err) // for the audit; the caller is told the code alone
	// Output: invalid_token: ldapuser: empty password
}
