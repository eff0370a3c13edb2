package exchange_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/exchange"
)

const formType = "application/x-www-form-urlencoded"

func packed(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.String()
}

// EXC-33, and the size of a body. In query and body, {} stands for the good form.
func TestEncoding(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.wantKey(w.issuer.GitHub(nil))
	multipart := "--x\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nurn:ietf:params:oauth:grant-type:token-exchange\r\n--x--\r\n"
	for _, tt := range []struct {
		name   string
		types  []string // Content-Type
		query  string
		body   string
		status int
	}{
		{"as it is", []string{formType}, "", "{}", 200},
		{"charset UTF-8", []string{formType + `; charset="UTF-8"`}, "", "{}", 200},
		{"another parameter of the type", []string{formType + "; x=y"}, "", "{}", 200},
		{"the type in upper case", []string{strings.ToUpper(formType)}, "", "{}", 200},
		{"charset UTF-16 (EXC-33)", []string{formType + "; charset=utf-16"}, "", "{}", 400},
		{"charset Latin-1", []string{formType + "; charset=iso-8859-1"}, "", "{}", 400},
		{"JSON (EXC-33)", []string{"application/json"}, "", `{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange"}`, 400},
		{"a form that says to be JSON", []string{"application/json"}, "", "{}", 400},
		{"JSON that says to be a form", []string{formType}, "", `{"grant_type":"urn:ietf:params:oauth:grant-type:token-exchange"}`, 400},
		{"multipart (EXC-33)", []string{"multipart/form-data; boundary=x"}, "", multipart, 400},
		{"plain text", []string{"text/plain"}, "", "{}", 400},
		{"a longer type", []string{formType + "x"}, "", "{}", 400},
		{"no type", nil, "", "{}", 400},
		{"an empty type", []string{""}, "", "{}", 400},
		{"a broken type", []string{formType + "; charset"}, "", "{}", 400},
		{"two types", []string{formType, formType}, "", "{}", 400},
		{"all of it in the query (EXC-33)", []string{formType}, "{}", "", 400},
		{"all of it in the query, and no type", nil, "{}", "", 400},
		{"another grant in the query", []string{formType}, "grant_type=client_credentials&scope=x&actor_token=y&subject_token=z", "{}", 200},
		{"the query as no form", []string{formType}, "%zz;", "{}", 200},
		{"a bad escape behind", []string{formType}, "", "{}&x=%zz", 400},
		{"a bad escape before", []string{formType}, "", "%zz&{}", 400},
		{"a bad escape in a name", []string{formType}, "", "{}&%z=1", 400},
		{"a semicolon", []string{formType}, "", "{};x=y", 400},
		{"empty pairs", []string{formType}, "", "&&{}&&=", 200},
		{"as large as it may be", []string{formType}, "", "{}&pad=" + strings.Repeat("a", 64<<10), 200},
		{"one byte more", []string{formType}, "", "{}&pad=" + strings.Repeat("a", 64<<10), 413},
		{"1 MiB", []string{formType}, "", "{}&pad=" + strings.Repeat("a", 1<<20), 413},
	} {
		token := w.issuer.GitHub(nil)
		good := form(token).Encode()
		body := strings.ReplaceAll(tt.body, "{}", good)
		switch tt.name {
		case "as large as it may be":
			body = body[:64<<10]
		case "one byte more":
			body = body[:64<<10+1]
		}
		for _, chunked := range []bool{false, true} {
			before := w.records()
			var r io.Reader = strings.NewReader(body)
			if chunked {
				r = io.MultiReader(r) // of unknown length
			}
			header := http.Header{}
			if tt.types != nil {
				header["Content-Type"] = tt.types
			}
			a := w.raw("POST", exchange.TokenPath+"?"+strings.ReplaceAll(tt.query, "{}", good), header, r)
			w.checkOAuth(tt.name, a)
			w.checkSecret(tt.name, a, token)
			if tt.status == 200 {
				if chunked && a.status == 400 && a.text("error") == "invalid_grant" {
					continue // the token has been used just now
				}
				if a.status != 200 {
					t.Errorf("%s: got %d %s, want a key", tt.name, a.status, a.body)
				}
				continue
			}
			if a.status != tt.status || a.text("error") != invalidRequest {
				t.Errorf("%s: got %d %s, want %d invalid_request", tt.name, a.status, a.body, tt.status)
			}
			if diff := cmp.Diff(before, w.records()); diff != "" {
				t.Errorf("%s: the store has changed (-before +after):\n%s", tt.name, diff)
			}
		}
	}
}

func TestContentCoding(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	for _, tt := range []struct {
		coding string
		status int
	}{{"", 200}, {"identity", 200}, {"gzip", 400}, {"GZIP", 400}, {"deflate, gzip", 400}} {
		body := form(w.issuer.GitHub(nil)).Encode()
		header := http.Header{"Content-Type": {formType}, "Content-Encoding": {tt.coding}}
		if a := w.raw("POST", exchange.TokenPath, header, strings.NewReader(body)); a.status != tt.status {
			t.Errorf("%q: got %d %s, want %d", tt.coding, a.status, a.body, tt.status)
		}
		if a := w.raw("POST", exchange.TokenPath, header, strings.NewReader(packed(body))); a.status != 400 {
			t.Errorf("%q and packed: got %d %s, want 400", tt.coding, a.status, a.body)
		}
	}
}

// dial opens a connection to the server.
func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	u, err := url.Parse(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn.(*net.TCPConn)
}

func TestABodyThatDoesNotArriveWhole(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	body := form(token).Encode()
	conn := w.dial()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", exchange.TokenPath, formType, len(body)+1, body)
	conn.CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || !strings.Contains(string(answer), "did not arrive whole") {
		t.Errorf("got %q, %v", answer, err)
	}
	w.wantKey(token)
}
