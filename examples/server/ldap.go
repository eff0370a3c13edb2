package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/keywright/keywright/provisioning/ldapuser"
)

// ldapConfig has Quay's names. LDAP_CA_FILE is this server's own: Quay has a
// directory for it.
type ldapConfig struct {
	URI             string `json:"LDAP_URI"`
	AdminDN         string `json:"LDAP_ADMIN_DN"` // searches, as nobody does where it is empty
	AdminPasswd     string `json:"LDAP_ADMIN_PASSWD"`
	AdminPasswdFile string `json:"LDAP_ADMIN_PASSWD_FILE"`
	BaseDN          dn     `json:"LDAP_BASE_DN"`
	UIDAttr         string `json:"LDAP_UID_ATTR"` // empty: uid
	UserFilter      string `json:"LDAP_USER_FILTER"`
	SuperuserFilter string `json:"LDAP_SUPERUSER_FILTER"`
	Plain           bool   `json:"LDAP_ALLOW_INSECURE_FALLBACK"` // ldap:// without StartTLS
	CAFile          string `json:"LDAP_CA_FILE"`
}

// A dn is written as one string or, as Quay has it, as a list of its parts.
type dn string

func (d *dn) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*d = dn(text)
		return nil
	}
	var parts []string
	if json.Unmarshal(b, &parts) != nil {
		return errors.New("LDAP_BASE_DN: want a DN, or a list of its parts")
	}
	*d = dn(strings.Join(parts, ","))
	return nil
}

// verifier asks the directory for super users: those that match the filter,
// and those that are named.
func (c ldapConfig) verifier(superUsers []string) (*ldapuser.Verifier, error) {
	password := c.AdminPasswd
	if c.AdminPasswdFile != "" {
		b, err := os.ReadFile(c.AdminPasswdFile)
		if err != nil {
			return nil, fmt.Errorf("LDAP_ADMIN_PASSWD_FILE: %w", err)
		}
		password = strings.TrimRight(string(b), "\r\n")
	}
	roots, err := c.roots()
	if err != nil {
		return nil, fmt.Errorf("LDAP_CA_FILE: %w", err)
	}
	v, err := ldapuser.New(ldapuser.Config{
		URL: c.URI, StartTLS: strings.HasPrefix(strings.ToLower(c.URI), "ldap:") && !c.Plain, InsecurePlain: c.Plain, RootCAs: roots,
		BindDN: c.AdminDN, BindPassword: password, BaseDN: string(c.BaseDN), UserAttribute: c.UIDAttr,
		UserFilter: c.UserFilter, SuperUserFilter: c.SuperuserFilter, SuperUsers: superUsers,
	})
	if err != nil {
		return nil, fmt.Errorf("LDAP: %w", err)
	}
	return v, nil
}

// roots is nil for those of the system.
func (c ldapConfig) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		return nil, errors.New("no certificate in it")
	}
	return roots, nil
}
