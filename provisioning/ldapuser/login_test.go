package ldapuser_test

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

func TestGoodLogin(t *testing.T) {
	visible := ldaptest.User{Name: "visible", Unit: "open", Password: right, Attributes: superUser}
	s := newDirectory(t, visible,
		ldaptest.User{Name: "zoë (ops)*", Password: right, Attributes: superUser},
	)
	for _, tt := range []struct {
		name     string
		change   func(*ldapuser.Config)
		username string
		want     string
	}{
		{"in the clear on loopback", func(*ldapuser.Config) {}, "Kate", "Kate"},
		{"over ldaps", func(c *ldapuser.Config) { c.URL = s.TLSURL }, "Kate", "Kate"},
		{"over StartTLS", func(c *ldapuser.Config) { c.StartTLS = true }, "Kate", "Kate"},
		{"the directory decides on the spelling", func(*ldapuser.Config) {}, "kATE", "Kate"},
		{"a name of signs that mean something in filters", func(*ldapuser.Config) {}, "ZOË (ops)*", "zoë (ops)*"},
		{"anonymous search", func(c *ldapuser.Config) {
			c.BindDN, c.BindPassword, c.BaseDN = "", "", "ou=open,"+ldaptest.BaseDN
		}, "visible", "visible"},
		{"the user matches the user filter", func(c *ldapuser.Config) { c.UserFilter = "(objectClass=person)" }, "Kate", "Kate"},
		{"a super user by name alone", func(c *ldapuser.Config) {
			c.SuperUserFilter, c.SuperUsers = "", []string{"JOE"}
		}, "joe", "joe"},
		{"a super user by name who does not match the filter", func(c *ldapuser.Config) { c.SuperUsers = []string{"joe"} }, "Joe", "joe"},
		{"a super user by filter who is not named", func(c *ldapuser.Config) { c.SuperUsers = []string{"joe"} }, "Kate", "Kate"},
		{"names in another attribute", func(c *ldapuser.Config) { c.UserAttribute = "cn" }, "kate", "Kate"},
		{"the account that searches is the super user", func(c *ldapuser.Config) {
			c.BindDN, c.BindPassword, c.BaseDN = visible.DN(), right, "ou=open,"+ldaptest.BaseDN
		}, "visible", "visible"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := configOf(s)
			tt.change(&c)
			subject, err := newVerifier(t, c).VerifyPassword(t.Context(), tt.username, right)
			wantAdmitted(t, subject, err, tt.want)
		})
	}
}

func TestRefusedLogin(t *testing.T) {
	twin := ldaptest.User{Name: "twin", Password: right, Attributes: superUser}
	sibling := twin
	sibling.Unit = "open"
	s := newDirectory(t, twin, sibling,
		ldaptest.User{Name: "two-names", Password: right, Attributes: map[string][]string{"uid": {"two-names", "alias"}, "employeeType": {"super"}}},
		ldaptest.User{Name: "passwordless", Attributes: superUser},
	)
	for _, tt := range []struct {
		name               string
		change             func(*ldapuser.Config)
		username, password string
		cause              string
	}{
		{"unknown name", nil, "nobody", right, "no such user"},
		{"wrong password", nil, "Kate", "wrong", `bind as "uid=Kate,`},
		{"password in another case", nil, "Kate", strings.ToUpper(right), `bind as "uid=Kate,`},
		{"no super user", nil, "joe", right, "is not a super user"},
		{"no super user and the wrong password", nil, "joe", "wrong", "is not a super user"},
		{"the super user's password for another name", nil, "nobody", right, "no such user"},
		{"a name that two entries have", nil, "twin", right, "several users"},
		{"an entry with two names, under the first", nil, "two-names", right, "has 2 values of uid"},
		{"an entry with two names, under the second", nil, "alias", right, "has 2 values of uid"},
		{"an entry without a password", nil, "passwordless", right, `bind as "uid=passwordless,`},
		{"outside the base", func(c *ldapuser.Config) { c.BaseDN = "ou=open," + ldaptest.BaseDN }, "Kate", right, "no such user"},
		{"not matching the user filter", func(c *ldapuser.Config) { c.UserFilter = "(employeeType=other)" }, "Kate", right, "no such user"},
		{"not among the named super users", func(c *ldapuser.Config) {
			c.SuperUserFilter, c.SuperUsers = "", []string{"joe", "kat", "kate2"}
		}, "Kate", right, "is not a super user"},
		{"empty password", nil, "Kate", "", "empty password"},
		{"password with a NUL", nil, "Kate", right + "\x00", "NUL"},
		{"empty name", nil, "", right, "empty user name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := configOf(s)
			if tt.change != nil {
				tt.change(&c)
			}
			subject, err := newVerifier(t, c).VerifyPassword(t.Context(), tt.username, tt.password)
			wantRefused(t, subject, err, tt.cause)
		})
	}
}

// TestNoNeedToAsk has no server: what is refused here was refused before any
// connection, else it would be trouble.
func TestNoNeedToAsk(t *testing.T) {
	v := newVerifier(t, ldapuser.Config{URL: "ldap://127.0.0.1:1", BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}})
	for _, tt := range []struct{ name, username, password, cause string }{
		{"empty password", "kate", "", "empty password"},
		{"password with a NUL", "kate", "a\x00b", "NUL"},
		{"password that is only a NUL", "kate", "\x00", "NUL"},
		{"long password", "kate", strings.Repeat("x", 1025), "1024 bytes"},
		{"empty name", "", right, "empty user name"},
		{"long name", strings.Repeat("x", 256), right, "255 bytes"},
		{"name with a NUL", "kate\x00", right, "plain text"},
		{"name with a new line", "kate\n", right, "plain text"},
		{"name with a control character of Unicode", "kate\u0085", right, "plain text"},
		{"name not in UTF-8", "kat\xe9", right, "plain text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subject, err := v.VerifyPassword(t.Context(), tt.username, tt.password)
			wantRefused(t, subject, err, tt.cause)
		})
	}
	for _, tt := range []struct{ name, username, password string }{
		{"the longest password", "kate", strings.Repeat("x", 1024)},
		{"the longest name", strings.Repeat("x", 255), right},
	} {
		t.Run(tt.name+" is asked about", func(t *testing.T) {
			subject, err := v.VerifyPassword(t.Context(), tt.username, tt.password)
			wantTrouble(t, subject, err, "connect")
		})
	}
}
