package ldapuser

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
)

const (
	maxName     = 255  // bytes
	maxPassword = 1024 // bytes
)

// attributeName is a keystring (RFC 4512, section 1.4), so that it needs no
// escaping in a filter.
var attributeName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// New checks c. It does no I/O.
func New(c Config) (*Verifier, error) {
	s, err := c.server()
	if err != nil {
		return nil, err
	}
	if c.UserAttribute == "" {
		c.UserAttribute = "uid"
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.SuperUsers = slices.Clone(c.SuperUsers)
	return &Verifier{
		config: c,
		server: s,
		nobody: "cn=" + rand.Text() + "," + c.BaseDN,
		turns:  make(chan struct{}, maxChecks),
		pace:   pace,
	}, nil
}

// server reads the fields that are about the connection.
func (c Config) server() (server, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return server{}, errors.New("ldapuser: Config.URL is no URL") // err would show all of it
	}
	ldaps := u.Scheme == "ldaps"
	switch {
	case !ldaps && u.Scheme != "ldap":
		return server{}, errors.New("ldapuser: Config.URL is neither ldap:// nor ldaps://")
	case u.Hostname() == "", u.User != nil, strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.ForceQuery, u.Fragment != "":
		return server{}, errors.New("ldapuser: Config.URL has no host, or more than host and port")
	case ldaps && c.StartTLS:
		return server{}, errors.New("ldapuser: Config.StartTLS on ldaps://, which is TLS from the beginning")
	}
	plain := !ldaps && !c.StartTLS
	if plain && !c.InsecurePlain && !loopback(u.Hostname()) {
		return server{}, errors.New("ldapuser: Config.URL is ldap://, which shows passwords to the network: use ldaps:// or StartTLS")
	}
	port := u.Port()
	switch {
	case port == "" && ldaps:
		port = ldap.DefaultLdapsPort
	case port == "":
		port = ldap.DefaultLdapPort
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return server{}, errors.New("ldapuser: Config.URL: the port is none")
	}
	s := server{address: net.JoinHostPort(u.Hostname(), port), startTLS: c.StartTLS}
	if !plain {
		s.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return s, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// check judges the fields that are about the directory.
func (c Config) check() error {
	base, err := ldap.ParseDN(c.BaseDN)
	switch {
	case err != nil:
		return fmt.Errorf("ldapuser: Config.BaseDN: %w", err)
	case len(base.RDNs) == 0:
		return errors.New("ldapuser: Config.BaseDN is required")
	// A name without a password is an anonymous bind that looks like another
	// (RFC 4513, section 5.1.2). Some servers take names that are no DN.
	case (c.BindDN == "") != (c.BindPassword == ""):
		return errors.New("ldapuser: Config.BindDN and BindPassword need each other")
	case !attributeName.MatchString(c.UserAttribute):
		return errors.New("ldapuser: Config.UserAttribute is not the name of an attribute")
	case c.SuperUserFilter == "" && len(c.SuperUsers) == 0:
		return errors.New("ldapuser: neither Config.SuperUserFilter nor SuperUsers: nobody would be admitted")
	case c.Timeout < 0:
		return errors.New("ldapuser: Config.Timeout is negative")
	}
	if err := compiles("UserFilter", c.UserFilter); err != nil {
		return err
	}
	if err := compiles("SuperUserFilter", c.SuperUserFilter); err != nil {
		return err
	}
	for _, name := range c.SuperUsers {
		if flaw := flawOfName(name); flaw != "" {
			return fmt.Errorf("ldapuser: Config.SuperUsers: %q: %s", name, string(flaw))
		}
	}
	return nil
}

// compiles refuses what would not be one filter, and so could not be put into another.
func compiles(field, filter string) error {
	if filter == "" {
		return nil
	}
	if _, err := ldap.CompileFilter(filter); err != nil {
		return fmt.Errorf("ldapuser: Config.%s: %w", field, err)
	}
	return nil
}

// flawOf refuses what need not be asked. An empty password above all: a bind
// with one succeeds, as nobody (RFC 4513, section 5.1.2).
func flawOf(username, password string) refusal {
	switch {
	case password == "":
		return "empty password"
	case len(password) > maxPassword:
		return "password of more than 1024 bytes"
	case strings.ContainsRune(password, 0): // some servers compare up to it
		return "password with a NUL"
	}
	return flawOfName(username)
}

func flawOfName(name string) refusal {
	switch {
	case name == "":
		return "empty user name"
	case len(name) > maxName:
		return "user name of more than 255 bytes"
	case !utf8.ValidString(name), strings.ContainsFunc(name, unicode.IsControl):
		return "user name that is not plain text in UTF-8"
	}
	return ""
}
