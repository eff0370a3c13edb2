package ldapuser

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// An account is what the directory has under a name.
type account struct {
	dn      string // to bind as
	subject string
	refused refusal // whatever the password; dn is that of nobody then
}

// login asks the same questions whoever it is, and so as many: is there such a
// user, is it a super user, is this the password. The searches come first,
// because a connection has the rights of whoever was bound last.
func (v *Verifier) login(c *ldap.Conn, username, password string) (subject string, err error) {
	if v.config.BindDN != "" {
		if err := c.Bind(v.config.BindDN, v.config.BindPassword); err != nil {
			return "", fmt.Errorf("ldapuser: bind as Config.BindDN: %w", err)
		}
	}
	a, err := v.find(c, username)
	if err != nil {
		return "", fmt.Errorf("ldapuser: search for the user: %w", err)
	}
	super, err := v.super(c, a)
	if err != nil {
		return "", fmt.Errorf("ldapuser: search for the super user: %w", err)
	}
	// An account that is no super user is not tried: nobody shall lock the
	// directory's people out by guessing here.
	dn := a.dn
	if !super {
		dn = v.nobody
	}
	err = c.Bind(dn, password)
	switch {
	case err != nil && serverFailed(err):
		return "", fmt.Errorf("ldapuser: bind as the user: %w", err)
	case a.refused != "":
		return "", a.refused
	case !super:
		return "", refusal(fmt.Sprintf("%q is not a super user", a.dn))
	case err != nil:
		return "", refusal(fmt.Sprintf("bind as %q: %v", a.dn, err))
	}
	return a.subject, nil
}

// serverFailed reports whether a bind failed for a cause that is the same for
// all accounts. Any other answer, such as that this one is locked, would tell
// that it exists: it is a refusal.
func serverFailed(err error) bool {
	e, answered := errors.AsType[*ldap.Error](err)
	if !answered {
		return true
	}
	switch e.ResultCode {
	case ldap.LDAPResultOperationsError, ldap.LDAPResultProtocolError, ldap.LDAPResultTimeLimitExceeded,
		ldap.LDAPResultAuthMethodNotSupported, ldap.LDAPResultStrongAuthRequired, ldap.LDAPResultAdminLimitExceeded,
		ldap.LDAPResultConfidentialityRequired, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable, ldap.LDAPResultOther:
		return true
	}
	return e.ResultCode >= ldap.ErrorNetwork // from here on the codes are go-ldap's own
}

// find looks for the one account that has the name.
func (v *Verifier) find(c *ldap.Conn, username string) (account, error) {
	attribute := v.config.UserAttribute
	filter := "(" + attribute + "=" + ldap.EscapeFilter(username) + ")"
	if v.config.UserFilter != "" {
		filter = "(&" + filter + v.config.UserFilter + ")"
	}
	entries, err := v.search(c, v.config.BaseDN, ldap.ScopeWholeSubtree, filter, attribute)
	if errors.Is(err, errMore) {
		return account{dn: v.nobody, refused: severalUsers}, nil
	}
	if err != nil {
		return account{}, err
	}
	subject, refused := v.identify(entries, username)
	if refused != "" {
		return account{dn: v.nobody, refused: refused}, nil
	}
	return account{dn: entries[0].DN, subject: subject}, nil
}

const severalUsers refusal = "several users of that name"

// identify returns the name of the account that entries, found by username,
// are. The directory compares names more loosely than is good for a credential:
// without spaces around them and with look-alikes of letters.
func (v *Verifier) identify(entries []*ldap.Entry, username string) (subject string, refused refusal) {
	switch len(entries) {
	case 0:
		return "", "no such user"
	case 1:
	default:
		return "", severalUsers
	}
	dn, names := entries[0].DN, entries[0].GetEqualFoldAttributeValues(v.config.UserAttribute)
	switch {
	case strings.TrimSpace(dn) == "": // a bind as that is anonymous
		return "", "a user without a DN"
	case len(names) != 1: // it would be as many subjects
		return "", refusal(fmt.Sprintf("%q has %d values of %s", dn, len(names), v.config.UserAttribute))
	case !sameName(names[0], username):
		return "", refusal(fmt.Sprintf("%q is spelled %q", dn, names[0]))
	}
	return names[0], ""
}

// sameName compares without regard to case. The length keeps the Kelvin sign
// from being a k.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// super reports whether a is a super user. The directory is asked even if that
// is known already.
func (v *Verifier) super(c *ldap.Conn, a account) (bool, error) {
	named := slices.ContainsFunc(v.config.SuperUsers, func(name string) bool { return sameName(name, a.subject) })
	if v.config.SuperUserFilter == "" {
		return named, nil
	}
	entries, err := v.search(c, a.dn, ldap.ScopeBaseObject, v.config.SuperUserFilter, noAttributes)
	gone := ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject)
	if err != nil && !gone && a.refused == "" {
		return false, err
	}
	return named || len(entries) == 1, nil
}

// noAttributes asks for none (RFC 4511, section 4.5.1.8).
const noAttributes = "1.1"

// errMore is that not all entries came.
var errMore = errors.New("more entries than asked for")

// search returns up to two entries. It follows neither aliases nor referrals.
func (v *Verifier) search(c *ldap.Conn, base string, scope int, filter, attribute string) ([]*ldap.Entry, error) {
	const most = 2
	seconds := int(math.Ceil(v.config.Timeout.Seconds()))
	request := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, most, seconds, false, filter, []string{attribute}, nil)
	request.EnforceSizeLimit = true
	result, err := c.Search(request)
	switch {
	case errors.Is(err, ldap.ErrSizeLimitExceeded), ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded):
		return nil, errMore
	case err != nil:
		return nil, err
	}
	return result.Entries, nil
}
