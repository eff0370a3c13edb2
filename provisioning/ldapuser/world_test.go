package ldapuser_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// right is everybody's password.
const right = "correct horse battery staple"

var (
	superUser = map[string][]string{"employeeType": {"super"}}
	kate      = ldaptest.User{Name: "Kate", Password: right, Attributes: superUser}
	joe       = ldaptest.User{Name: "joe", Password: right} // no super user
)

// newDirectory returns one in which the users are kate, joe and others.
func newDirectory(t testing.TB, others ...ldaptest.User) *ldaptest.Server {
	t.Helper()
	s := ldaptest.Start(t)
	s.Add(kate, joe)
	s.Add(others...)
	return s
}

// configOf admits super users of s.
func configOf(s *ldaptest.Server) ldapuser.Config {
	return ldapuser.Config{
		URL: s.URL, RootCAs: s.CA, BindDN: s.BindDN, BindPassword: s.BindPassword, BaseDN: ldaptest.BaseDN,
		SuperUserFilter: "(employeeType=super)", Timeout: time.Minute,
	}
}

// newVerifier returns one that refuses without delay.
func newVerifier(t testing.TB, c ldapuser.Config) *ldapuser.Verifier {
	t.Helper()
	v, err := ldapuser.New(c)
	if err != nil {
		t.Fatal(err)
	}
	v.SetPace(time.Nanosecond)
	return v
}

// wantAdmitted checks the outcome of a good login.
func wantAdmitted(t *testing.T, subject string, err error, want string) {
	t.Helper()
	if err != nil || subject != want {
		t.Errorf("got %q, %v, want %q", subject, err, want)
	}
}

// wantRefused checks that a login is refused, for the audit because of cause,
// and towards the caller like any other.
func wantRefused(t *testing.T, subject string, err error, cause string) {
	t.Helper()
	wantError(t, subject, err, keywright.CodeInvalidToken, cause)
}

// wantTrouble checks that the directory could not be asked.
func wantTrouble(t *testing.T, subject string, err error, cause string) {
	t.Helper()
	wantError(t, subject, err, keywright.CodeUnavailable, cause)
}

func wantError(t *testing.T, subject string, err error, code keywright.Code, cause string) {
	t.Helper()
	e, ok := errors.AsType[*keywright.Error](err)
	switch {
	case !ok || e.Code != code || e.Err == nil || !strings.Contains(e.Err.Error(), cause):
		t.Errorf("got %q, %v, want %s because of %q", subject, err, code, cause)
	case subject != "" || e.Detail != "" || e.Header != nil || e.Attrs != nil:
		t.Errorf("the caller is told more than %s: %q, %+v", code, subject, e)
	case strings.Contains(err.Error(), right):
		t.Errorf("the error shows the password: %v", err)
	}
}
