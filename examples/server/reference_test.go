package main_test

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
)

// TestReference sends the requests of the guide's reference.
func TestReference(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(`{"admin":` + adminJSON(t, "yourpassword") + `,"provisioning":{"server_urls":["https://myserver:8443"]}}`)
	p := in.start()
	b := p.mustLogin("yourpassword")
	var key string
	for _, tt := range []struct {
		lines  string // without the host
		status string
		want   *regexp.Regexp
	}{
		{"POST /api/provisioning/keys\nContent-Type: application/json\nCookie: session_token=...\nX-CSRF-Token: ...\n\n" + `{
  "key_id": "my-key",
  "description": "Optional description"
}`, "201 Created", regexp.MustCompile(`^\{"key_id":"my-key","api_key":"(ck_prov_\w+)","description":"Optional description"\}$`)},
		{"GET /api/provisioning/keys\nCookie: session_token=...\n\n", "200 OK",
			regexp.MustCompile(`^\{"keys":\[\{"key_id":"my-key","description":"Optional description",.*"enabled":true.*\}\]\}$`)},
		{"POST /api/provisioning/provision\nContent-Type: application/json\nAuthorization: Bearer ck_prov_...\n\n" + `{
  "runner_name": "sdr-station-1",
  "runner_id": "sdr-station-1",          // Optional, defaults to runner_name
  "expires_hours": 24,                    // Optional, default 24
  "server_url": "https://myserver:8443", // Optional, uses request origin
  "verify_ssl": true                      // Optional, default true
}`, "201 Created", regexp.MustCompile(`"config_yaml":"---.*server_url: \\"https://myserver:8443\\"`)},
		{"POST /api/provisioning/keys/my-key/toggle\nContent-Type: application/json\nCookie: session_token=...\nX-CSRF-Token: ...\n\n" + `{
  "enabled": false
}`, "200 OK", regexp.MustCompile(`^\{"status":"disabled"\}$`)},
		{"DELETE /api/provisioning/keys/my-key\nCookie: session_token=...\nX-CSRF-Token: ...\n\n", "200 OK", regexp.MustCompile(`^\{"status":"deleted"\}$`)},
	} {
		body := strings.TrimSpace(b.sendLines(tt.lines, key, tt.status))
		found := tt.want.FindStringSubmatch(body)
		if found == nil {
			t.Errorf("%.60s: got %s", tt.lines, body)
		} else if len(found) > 1 {
			key = found[1]
			in.hide(key)
		}
	}
}

var comment = regexp.MustCompile(` +// .*`)

// sendLines sends a request as documents show them.
func (b browser) sendLines(lines, key, status string) string {
	b.in.t.Helper()
	lines = comment.ReplaceAllString(lines, "")
	lines = strings.NewReplacer("session_token=...", "session_token="+b.session+"; csrf_token="+b.csrf, "X-CSRF-Token: ...", "X-CSRF-Token: "+b.csrf, "ck_prov_...", key).Replace(lines)
	head, body, _ := strings.Cut(lines, "\n\n")
	first, head, _ := strings.Cut(head, "\n")
	conn := b.dial()
	defer conn.Close()
	request := fmt.Sprintf("%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n\r\n%s", first, b.addr, len(body), strings.ReplaceAll(head, "\n", "\r\n"), body)
	if _, err := io.WriteString(conn, request); err != nil {
		b.in.t.Fatal(err)
	}
	a, err := readRaw(conn)
	if err != nil || !strings.HasPrefix(a.head, "HTTP/1.1 "+status+"\r\n") {
		b.in.t.Fatalf("%s: %v: got %s%s, want %s", first, err, a.head, a.body, status)
	}
	return a.body
}
