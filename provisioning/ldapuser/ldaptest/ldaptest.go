// Package ldaptest gives a test an LDAP directory that is its own.
//
// The server is OpenLDAP's slapd, as Debian's package of that name installs it,
// on the loopback interface and with its data in a temporary directory. It ends
// with the test. Where there is no slapd a test is skipped, or fails when
// KEYWRIGHT_REQUIRE_TOOLS is 1.
package ldaptest

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

// BaseDN is the root of every directory. Below it are the units "people", which
// [Server.BindDN] may read, and "open", which anybody may. Nobody may read
// a password.
const BaseDN = "dc=example,dc=org"

const rootDN = "cn=root," + BaseDN

// A Server is a running slapd.
type Server struct {
	URL    string // ldap://127.0.0.1:PORT: plain, or with StartTLS
	TLSURL string // ldaps://127.0.0.1:PORT
	CA     *x509.CertPool
	CAFile string // the same, in PEM

	// BindDN may search, with BindPassword. Users may not.
	BindDN, BindPassword string

	tb      testing.TB
	root    string // password of rootDN
	process *process
}

// Start returns a directory without users.
func Start(tb testing.TB) *Server {
	tb.Helper()
	path, err := find()
	if err != nil {
		if os.Getenv("KEYWRIGHT_REQUIRE_TOOLS") == "1" {
			tb.Fatalf("%v, and KEYWRIGHT_REQUIRE_TOOLS is 1", err)
		}
		tb.Skip(err)
	}
	s := &Server{BindDN: "cn=search," + BaseDN, BindPassword: rand.Text(), tb: tb, root: rand.Text()}
	if err := s.start(path, tb.TempDir()); err != nil {
		tb.Fatalf("slapd: %v", err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Stop kills the server, before its test ends.
func (s *Server) Stop() { s.process.kill() }

// A User is a person in the directory.
type User struct {
	Name     string // the uid
	Unit     string // the organizational unit; "": people
	Password string // in clear, or hashed, such as {CRYPT}$6$...; "": none

	// Attributes that an inetOrgPerson may have, in addition to its uid, cn, sn
	// and userPassword or in place of them.
	Attributes map[string][]string
}

// DN is where u stands. Its name must need no escaping.
func (u User) DN() string {
	unit := u.Unit
	if unit == "" {
		unit = "people"
	}
	return fmt.Sprintf("uid=%s,ou=%s,%s", u.Name, unit, BaseDN)
}

// Add adds users, or fails the test.
func (s *Server) Add(users ...User) {
	s.tb.Helper()
	c, err := s.connect()
	if err != nil {
		s.tb.Fatalf("slapd: %v", err)
	}
	defer c.Close()
	for _, u := range users {
		attributes := map[string][]string{
			"objectClass": {"inetOrgPerson"}, "uid": {u.Name}, "cn": {u.Name}, "sn": {u.Name},
		}
		if u.Password != "" {
			attributes["userPassword"] = []string{u.Password}
		}
		maps.Copy(attributes, u.Attributes)
		request := ldap.NewAddRequest(u.DN(), nil)
		for name, values := range attributes {
			request.Attribute(name, values)
		}
		if err := c.Add(request); err != nil {
			s.tb.Fatalf("slapd: add %s: %v", u.DN(), err)
		}
	}
}

// connect returns a connection that may do anything. Its password shows that
// whoever listens is our own server.
func (s *Server) connect() (*ldap.Conn, error) {
	c, err := ldap.DialURL(s.URL)
	if err != nil {
		return nil, err
	}
	if err := c.Bind(rootDN, s.root); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
