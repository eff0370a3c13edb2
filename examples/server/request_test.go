package main_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

const answerLimit = 60 * time.Second

// client sends each request on a connection of its own and follows nothing. Like
// "curl -k" it takes any certificate.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Timeout:       answerLimit,
}

// An answer is what came back. Status 0: nothing that could be read.
type answer struct {
	status int
	header http.Header
	body   string
}

// key is the member api_key, or "".
func (a answer) key() string {
	var r struct {
		APIKey string `json:"api_key"`
	}
	if json.Unmarshal([]byte(a.body), &r) != nil {
		return ""
	}
	return r.APIKey
}

// request sends a request and fails the test when there is no answer.
func (p *process) request(method, path, authorization string, body io.Reader) answer {
	p.in.t.Helper()
	a, err := p.try(method, path, authorization, body)
	if err != nil {
		p.in.t.Fatalf("%s %s: %v; log:\n%s", method, path, err, p.stderr)
	}
	return a
}

// try is request for any goroutine.
func (p *process) try(method, path, authorization string, body io.Reader) (answer, error) {
	req, err := http.NewRequest(method, p.url+path, body)
	if err != nil {
		return answer{}, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b)}, err
}

func (p *process) get(path, authorization string) answer {
	p.in.t.Helper()
	return p.request(http.MethodGet, path, authorization, nil)
}

// redeem posts a bootstrap token.
func (p *process) redeem(token string) answer {
	p.in.t.Helper()
	return p.request(http.MethodPost, bootstrap.Path, "Connect-Bootstrap "+token, nil)
}

// claim redeems a good token and returns the key.
func (p *process) claim() string {
	p.in.t.Helper()
	a := p.redeem(p.in.token())
	if a.status != 200 || a.key() == "" {
		p.in.t.Fatalf("a good token: got %d, want 200 and a key", a.status)
	}
	p.in.hide(a.key())
	return a.key()
}

// accepts reports whether the key opens the protected route.
func (p *process) accepts(key string) bool {
	p.in.t.Helper()
	switch a := p.get("/whoami", "Bearer "+key); a.status {
	case 200:
		return true
	case 401:
		return false
	default:
		p.in.t.Fatalf("whoami: got %d, want 200 or 401", a.status)
		return false
	}
}

// postLines is the request as Posit Connect's client writes it, byte for byte,
// with further header lines where given.
func (p *process) postLines(path, authorization string, more ...string) string {
	lines := append([]string{
		"POST " + path + " HTTP/1.1",
		"Host: " + p.addr,
		"Accept-Encoding: identity",
		"Content-Length: 0",
		"User-Agent: RSConnectPython/1.29.0",
	}, more...)
	if authorization != "" {
		lines = append(lines, "Authorization: "+authorization)
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

func (p *process) dial() net.Conn {
	p.in.t.Helper()
	conn, err := p.tryDial()
	if err != nil {
		p.in.t.Fatal(err)
	}
	p.in.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(answerLimit))
	return conn
}

func (p *process) tryDial() (net.Conn, error) { return net.DialTimeout("tcp", p.addr, answerLimit) }

// A rawAnswer is an answer with its head as it stood on the wire.
type rawAnswer struct {
	answer
	head string
}

// exchange writes segments to a new connection, one write each, and reads one answer.
func (p *process) exchange(segments ...string) (rawAnswer, error) {
	p.in.t.Helper()
	conn := p.dial()
	defer conn.Close()
	for _, s := range segments {
		if _, err := io.WriteString(conn, s); err != nil {
			return rawAnswer{}, err
		}
	}
	return readRaw(conn)
}

func readRaw(r io.Reader) (rawAnswer, error) {
	var wire bytes.Buffer
	res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(r, &wire)), nil)
	if err != nil {
		return rawAnswer{}, fmt.Errorf("not an HTTP answer: %w: %q", err, wire.String())
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	head, _, _ := strings.Cut(wire.String(), "\r\n\r\n")
	return rawAnswer{answer{res.StatusCode, res.Header, string(b)}, head + "\r\n"}, err
}

func readAll(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// requestJSON sends a body of type application/json; "" is none.
func (p *process) requestJSON(method, path, authorization, body string) answer {
	p.in.t.Helper()
	req, err := http.NewRequest(method, p.url+path, strings.NewReader(body))
	if err != nil {
		p.in.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", authorization)
	res, err := client.Do(req)
	if err != nil {
		p.in.t.Fatal(err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: readAll(p.in.t, res)}
}
