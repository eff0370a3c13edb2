// Package ldapuser finds out whether a name and a password are those of a super
// user in an LDAP directory, for zero-touch bootstrap.
//
// A [Verifier] searches for the user with an account of its own, asks whether
// the entry matches the filter for super users (LDAP_SUPERUSER_FILTER), and
// binds as the user with the password. Passwords travel over TLS: ldaps:// or
// StartTLS.
//
//	v, err := ldapuser.New(ldapuser.Config{
//		URL:             "ldaps://ldap.example.org",
//		BindDN:          "cn=search,dc=example,dc=org",
//		BindPassword:    secret,
//		BaseDN:          "ou=people,dc=example,dc=org",
//		SuperUserFilter: "(memberOf=cn=admins,ou=groups,dc=example,dc=org)",
//	})
//	subject, err := v.VerifyPassword(ctx, name, password)
//
// A wrong password, an unknown name and a user who is no super user cannot be
// told apart from outside: the answer is the same, the directory is asked as
// often, and refusals come at steps of half a second. The cause is in the error,
// for the audit.
//
// A refused login counts in the directory: where it locks accounts, it locks
// them after so many here too. Whoever mounts a Verifier limits failures.
package ldapuser

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/keywright/keywright"
)

// Config configures a [Verifier]. URL, BaseDN and one of SuperUserFilter and
// SuperUsers are required.
type Config struct {
	// URL is ldaps://HOST, or ldap://HOST with StartTLS, with or without a
	// port. Passwords would be in the clear on ldap:// without StartTLS, so
	// that is for loopback addresses, or takes InsecurePlain.
	URL           string
	StartTLS      bool
	InsecurePlain bool

	// RootCAs are the authorities that may certify the server; nil: the system's.
	RootCAs *x509.CertPool

	// BindDN is the account that searches; both empty: anonymous.
	BindDN, BindPassword string

	// BaseDN is the entry below which the users are.
	BaseDN string

	// UserAttribute holds the name of a user; empty: uid. Who has two names
	// is refused.
	UserAttribute string

	// UserFilter is what users must match in addition, such as
	// (objectClass=person); empty: nothing.
	UserFilter string

	// SuperUserFilter is what super users match, and SuperUsers are the names
	// of those who are it without. Zero: nobody.
	SuperUserFilter string
	SuperUsers      []string

	// Timeout is for a whole check, waiting for its turn included; 0: 5 s.
	Timeout time.Duration
}

const (
	defaultTimeout = 5 * time.Second
	maxChecks      = 8 // at the same time: each is a connection

	// pace is the step in which refusals are answered. How long the directory
	// hashed a password, if it had one to compare with, does not show in it.
	pace = 500 * time.Millisecond
)

// A Verifier checks passwords. It is safe for concurrent use.
type Verifier struct {
	config Config
	server server
	nobody string        // the DN of an entry that does not exist
	turns  chan struct{} // filled by the checks that run
	pace   time.Duration
}

// VerifyPassword returns the name, as the directory spells it, of the super user
// whose name and password these are. Other logins are refused with an
// [*keywright.Error] of CodeInvalidToken; CodeUnavailable means that the
// directory did not say.
func (v *Verifier) VerifyPassword(ctx context.Context, username, password string) (subject string, err error) {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, v.config.Timeout)
	defer cancel()
	if flaw := flawOf(username, password); flaw != "" {
		return "", keywright.Wrap(keywright.CodeInvalidToken, flaw)
	}
	subject, err = v.check(ctx, username, password)
	if _, ok := errors.AsType[refusal](err); ok {
		sleep(ctx, v.pace-time.Since(begin)%v.pace)
		return "", keywright.Wrap(keywright.CodeInvalidToken, err)
	}
	if err != nil {
		return "", keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return subject, nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// A refusal is the cause for which a login is refused; empty: none.
type refusal string

func (r refusal) Error() string { return "ldapuser: " + string(r) }
