package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// serveTLS has the processes to come serve TLS, with a certificate that only
// they know.
func (in *installation) serveTLS() {
	in.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	in.check(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		DNSNames: []string{"localhost", "quay.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	in.check(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	in.check(err)
	in.check(os.WriteFile(in.path("tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	in.check(os.WriteFile(in.path("tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	in.flags = append(in.flags, "-tls-cert", in.path("tls.crt"), "-tls-key", in.path("tls.key"))
	in.tls = true
}

func (in *installation) path(name string) string { return filepath.Join(in.dir, name) }

// A scripted run is what a script has printed, and the status of each answer
// that its calls of curl have had.
type scripted struct {
	out      string
	statuses string // with spaces between
}

// bash runs a script as somebody runs it who has copied it, in a directory of
// the installation. What a test needs beyond that comes from curl's own
// configuration file.
func (in *installation) bash(script string) scripted {
	in.t.Helper()
	return in.run("", "bash", "-c", script)
}

func (in *installation) run(stdin string, name string, args ...string) scripted {
	in.t.Helper()
	needTool(in.t, name)
	in.check(os.WriteFile(in.path(".curlrc"), []byte("silent\nshow-error\nwrite-out = \"%{stderr}http %{http_code}\\n\"\n"+in.curlrc), 0o600))
	cmd := exec.Command(name, args...)
	cmd.Dir = in.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + in.dir, "CURL_HOME=" + in.dir, "CURL_CA_BUNDLE=" + in.path("tls.crt"), "no_proxy=*"}
	cmd.Env = append(cmd.Env, in.env...)
	var out, log bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &log
	if err := cmd.Run(); err != nil {
		in.t.Fatalf("%s: %v\n%s%s", name, err, &out, &log)
	}
	var statuses []string
	for line := range strings.Lines(log.String()) {
		if status, ok := strings.CutPrefix(strings.TrimSpace(line), "http "); ok {
			if _, err := strconv.Atoi(status); err != nil {
				in.t.Fatalf("curl printed %q", line)
			}
			statuses = append(statuses, status)
		}
	}
	return scripted{out.String(), strings.Join(statuses, " ")}
}

// needPython skips the test where Python lacks a module.
func needPython(t *testing.T, module string) {
	t.Helper()
	needTool(t, "python3")
	if exec.Command("python3", "-c", "import "+module).Run() != nil {
		missing(t, "Python has no module "+module)
	}
}
