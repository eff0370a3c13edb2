package ldaptest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const configFile = "slapd.conf"

// config is slapd.conf(5). The first access rule that matches decides.
const config = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/slapd.pid
TLSCACertificateFile DIR/ca.pem
TLSCertificateFile DIR/server.pem
TLSCertificateKeyFile DIR/server-key.pem
database mdb
directory DIR/data
dbnosync
suffix "BASE"
rootdn "ROOT"
rootpw SECRET
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=open,BASE" by * read
access to * by dn.exact="SEARCH" read by * none
`

// data is LDIF (RFC 2849).
const data = `
dn: BASE
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,BASE
objectClass: organizationalUnit

dn: ou=open,BASE
objectClass: organizationalUnit

dn: SEARCH
objectClass: organizationalRole
objectClass: simpleSecurityObject
userPassword: SECRET
`

// writeData writes slapd's configuration and the entries that are there from
// the beginning.
func (s *Server) writeData(program, dir string) error {
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return err
	}
	conf, ldif := filepath.Join(dir, configFile), filepath.Join(dir, "data.ldif")
	names := strings.NewReplacer("DIR", dir, "BASE", BaseDN, "ROOT", rootDN, "SEARCH", s.BindDN, "SECRET", s.root)
	if err := os.WriteFile(conf, []byte(names.Replace(config)), 0o600); err != nil {
		return err
	}
	names = strings.NewReplacer("BASE", BaseDN, "SEARCH", s.BindDN, "SECRET", s.BindPassword)
	if err := os.WriteFile(ldif, []byte(names.Replace(data)), 0o600); err != nil {
		return err
	}
	// slapadd is another name of the same program.
	if out, err := exec.Command(program, "-T", "add", "-f", conf, "-l", ldif).CombinedOutput(); err != nil {
		return fmt.Errorf("slapadd: %w: %s", err, out)
	}
	return nil
}
