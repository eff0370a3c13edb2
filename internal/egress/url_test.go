package egress_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/egress"
)

func TestCheckURL(t *testing.T) {
	none := newClient(t, egress.Config{})
	for _, good := range []string{
		"https://issuer.example", "https://issuer.example/", "HTTPS://Issuer.Example:8443/a/b?p=1", "https://gitlab",
		"https://8.8.8.8/", "https://[2606:4700::1111]:443/", "https://xn--bcher-kva.example/", "https://a_b.example/",
		"https://localhost/", // its addresses are refused when they are dialled
		"https://1and1.example/", "https://3com",
	} {
		if err := none.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for name, bad := range map[string]string{
		"empty": "", "no scheme": "issuer.example", "relative": "/a", "without a scheme": "//issuer.example/", "http": "http://issuer.example/",
		"http to loopback": "http://127.0.0.1/", "http to localhost": "http://localhost/", "other scheme": "file:///etc/passwd",
		"opaque": "https:issuer.example", "no host": "https:///a", "only a port": "https://:443/", "no port": "https://issuer.example:/",
		"port zero": "https://issuer.example:0/", "port too large": "https://issuer.example:65536/", "port a word": "https://issuer.example:https/",
		"user": "https://me@issuer.example/", "password": "https://me:secret@issuer.example/", "empty user": "https://@issuer.example/",
		"fragment": "https://issuer.example/#a", "empty fragment": "https://issuer.example/#",
		"dots": "https://issuer.example/a/../b", "coded dots": "https://issuer.example/a/%2e%2E/b", "dots in the host": "https://issuer..example/",
		"dots at the end": "https://issuer.example/..", "space": "https://issuer.example /", "line break": "https://issuer.example/\n",
		"AGT-49 not ASCII": "https://b\u00fccher.example/", "coded host": "https://issuer%2eexample/", "backslash": `https://issuer.example\@evil.example/`,
		"AGT-50 0x7f.1": "https://0x7f.1/", "AGT-50 2130706433": "https://2130706433/", "AGT-50 127.1": "https://127.1/", "hexadecimal": "https://0x7f000001/",
		"AGT-49 dot at the end": "https://issuer.example./", "loopback": "https://127.0.0.1/", "AGT-50 metadata": "https://169.254.169.254/latest",
		"private": "https://10.0.0.1/", "loopback in IPv6": "https://[::1]/", "AGT-50 mapped": "https://[::ffff:127.0.0.1]/", "AGT-50 NAT64": "https://[64:ff9b::7f00:1]/",
		"zone": "https://[fe80::1%25eth0]/", "public in a zone": "https://[2606:4700::1111%25eth0]/",
		"long": "https://issuer.example/" + strings.Repeat("a", 2048), "long host": "https://" + strings.Repeat("a", 254) + "/",
	} {
		if err := none.CheckURL(bad); !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", name, err)
		}
	}
}

func TestCheckURLWhereMoreIsAllowed(t *testing.T) {
	lab := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}})
	dev := newClient(t, egress.Config{InsecureLoopback: true})
	for _, tt := range []struct {
		name   string
		client *egress.Client
		url    string
		ok     bool
	}{
		{"allowed", lab, "https://10.1.2.3/", true},
		{"beside the allowed", lab, "https://10.2.2.3/", false},
		{"allowed, but http", lab, "http://10.1.2.3/", false},
		{"loopback allowed, but http", lab, "http://127.0.0.1/", false},
		{"development", dev, "http://127.0.0.1:8080/", true},
		{"development in IPv6", dev, "http://[::1]:8080/", true},
		{"development by name", dev, "http://localhost:8080/", true},
		{"development over https", dev, "https://127.0.0.1/", true},
		{"a name that begins so", dev, "http://localhost.example/", false},
		{"a name that resolves to loopback", dev, "http://loopback.example/", false},
		{"public over http", dev, "http://8.8.8.8/", false},
		{"private", dev, "https://10.1.2.3/", false},
		{"neither http nor https", dev, "ftp://127.0.0.1/", false},
	} {
		if err := tt.client.CheckURL(tt.url); (err == nil) != tt.ok {
			t.Errorf("%s: got %v, want accepted: %v", tt.name, err, tt.ok)
		}
	}
}

func TestCheckURLKeepsSecrets(t *testing.T) {
	none := newClient(t, egress.Config{})
	for _, url := range []string{
		"http://me:hunter2@issuer.example/hunter2?k=hunter2#hunter2", "https://issuer.example/%zz?hunter2", "https://me:hunter2@issuer.example:x/",
	} {
		if err := none.CheckURL(url); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v", err)
		}
	}
}
