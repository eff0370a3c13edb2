package ldapuser_test

import (
	"testing"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// Each name comes with the password of the one super user. A cause other than
// the one given would mean that the name had been read as a filter.
func TestInjection(t *testing.T) {
	s := newDirectory(t)
	filtered := configOf(s)
	filtered.UserFilter = "(objectClass=person)"
	named := configOf(s)
	named.SuperUserFilter, named.SuperUsers = "", []string{"kate"}
	for _, tt := range []struct{ name, username, cause string }{
		{"a star", "*", "no such user"},
		{"a prefix", "Kat*", "no such user"},
		{"an infix", "K*e", "no such user"},
		{"an escaped star", `\2a`, "no such user"},
		{"an escaped letter", `\4bate`, "no such user"},
		{"a backslash", `Kate\`, "no such user"},
		{"a second condition", "Kate)(uid=*", "no such user"},
		{"a second condition, closed", "Kate)(uid=*)", "no such user"},
		{"an alternative", ")(|(uid=*", "no such user"},
		{"a tautology", "x)(|(objectClass=*)", "no such user"},
		{"a condition that ends the filter", "Kate))(&(uid=Kate", "no such user"},
		{"a negation", "!(uid=x)", "no such user"},
		{"an escaped NUL", `Kate\00`, "no such user"},
		{"a NUL", "Kate\x00", "plain text"},
		{"a NUL and a condition", "Kate\x00)(uid=*", "plain text"},
		{"a DN", "uid=Kate,ou=people," + ldaptest.BaseDN, "no such user"},
		{"a second relation", "Kate,uid=x", "no such user"},

		// These the directory finds.
		{"a space before", " Kate", "is spelled"},
		{"a space after", "Kate ", "is spelled"},
		{"spaces around", "  Kate  ", "is spelled"},
		{"the Kelvin sign", "\u212aate", "is spelled"},
		{"a wide letter", "\uff2bate", "is spelled"},
		{"a mathematical letter", "Kat\U0001d41e", "is spelled"},

		// Others may find these too.
		{"a letter of another script", "К\u0430te", "no such user"},
		{"a space of no width", "Ka\u200bte", "no such user"},
		{"a soft hyphen", "Ka\u00adte", "no such user"},
	} {
		for how, c := range map[string]ldapuser.Config{"": configOf(s), ", with a user filter": filtered, ", with named super users": named} {
			t.Run(tt.name+how, func(t *testing.T) {
				subject, err := newVerifier(t, c).VerifyPassword(t.Context(), tt.username, right)
				wantRefused(t, subject, err, tt.cause)
			})
		}
	}
}
