package egress_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// A received is what came to a server.
type received struct {
	method, host, target, body string
	header                     http.Header
	length                     int64
}

func receive(r *http.Request) received {
	body, _ := io.ReadAll(r.Body)
	return received{r.Method, r.Host, r.RequestURI, string(body), r.Header, r.ContentLength}
}

func TestPost(t *testing.T) {
	var got received
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		got = receive(r)
		w.Header().Set("Location", "/pending/1")
		w.WriteHeader(http.StatusAccepted)
		io.WriteString(w, `{"status":"pending"}`)
	})
	header := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"me"}, "Accept-Encoding": {"gzip"}}
	r, err := c.Post(t.Context(), egress.Message{URL: srv.URL + "/revoke?a=b", Header: header, Body: []byte(`{"jti":"j"}`), MaxAnswer: limit})
	if err != nil || r.Status != 202 || r.Header.Get("Location") != "/pending/1" || string(r.Body) != `{"status":"pending"}` {
		t.Errorf("got %+v, %v", r, err)
	}
	if got.method != "POST" || got.host != srv.Listener.Addr().String() || got.target != "/revoke?a=b" || got.body != `{"jti":"j"}` || got.length != 11 {
		t.Errorf("came as %+v", got)
	}
	for name, want := range map[string]string{
		"User-Agent": "keywright", "Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json",
		"Connection": "close", "Referer": "", "Cookie": "", "Authorization": "", "Transfer-Encoding": "",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: got %q, want %q", name, got.header.Get(name), want)
		}
	}
	if len(header) != 3 || header.Get("User-Agent") != "me" {
		t.Errorf("the caller's header became %v", header)
	}
	header.Set("Accept", "application/problem+json")
	if _, err := c.Post(t.Context(), egress.Message{URL: srv.URL, Header: header, MaxAnswer: limit}); err != nil || got.length != 0 || got.header.Get("Accept") != "application/problem+json" {
		t.Errorf("without a body: got %v, came as %+v", err, got)
	}
}

func TestPostJudgesNoStatus(t *testing.T) {
	var status int
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
	for _, status = range []int{200, 202, 204, 304, 400, 403, 404, 429, 500, 599} {
		if r, err := c.Post(t.Context(), egress.Message{URL: srv.URL, MaxAnswer: limit}); err != nil || r.Status != status {
			t.Errorf("%d: got %+v, %v", status, r, err)
		}
	}
}

func TestPostFollowsNoRedirect(t *testing.T) {
	requests := 0
	var status int
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.URL.Path == "/" {
			w.Header().Set("Location", "/next")
			w.WriteHeader(status)
		}
	})
	for _, status = range []int{301, 302, 303, 307, 308} {
		requests = 0
		_, err := c.Post(t.Context(), egress.Message{URL: srv.URL + "/", MaxAnswer: limit})
		if !errors.Is(err, egress.ErrRefused) || requests != 1 {
			t.Errorf("%d: got %v after %d requests, want ErrRefused after one", status, err, requests)
		}
	}
}

func TestPostRefusesAnswers(t *testing.T) {
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zipped([]byte("{}")))
		case "/long":
			w.Write(make([]byte, limit+1))
		case "/header":
			w.Header().Set("X", strings.Repeat("a", 20<<10))
		case "/short":
			w.Header().Set("Content-Length", "100")
			w.Write([]byte("{}"))
		case "/101":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "other")
			w.WriteHeader(http.StatusSwitchingProtocols)
		case "/full":
			w.Write(make([]byte, limit))
		}
	})
	for _, path := range []string{"/gzip", "/long", "/header", "/short", "/101"} {
		r, err := c.Post(t.Context(), egress.Message{URL: srv.URL + path, MaxAnswer: limit})
		if err == nil || r.Status != 0 || r.Body != nil || errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: got %+v, %v; want trouble and no answer", path, r, err)
		}
	}
	if r, err := c.Post(t.Context(), egress.Message{URL: srv.URL + "/full", MaxAnswer: limit}); err != nil || len(r.Body) != limit {
		t.Errorf("just the limit: got %d bytes, %v", len(r.Body), err)
	}
	for _, max := range []int64{-1, 0, 1<<20 + 1} {
		if _, err := c.Post(t.Context(), egress.Message{URL: srv.URL + "/", MaxAnswer: max}); err == nil {
			t.Errorf("a limit of %d is accepted", max)
		}
	}
}

// AGT-50: what may not be reached is not posted to either, and not signed for.
func TestPostRefusesAddresses(t *testing.T) {
	ln := listen(t)
	c := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}})
	_, port, _ := strings.Cut(ln.Addr().String(), ":")
	for _, tt := range []struct {
		url    string
		signed bool // its address is known only when it is dialled
	}{
		{"http://127.0.0.2:" + port, false}, {"https://127.0.0.1:" + port, false}, {"https://169.254.169.254/", false},
		{"https://0x7f.1:" + port, false}, {"https://me@ps.example/", false}, {"https://localhost:" + port, true},
	} {
		signed := false
		sign := func(*http.Request) error {
			signed = true
			return nil
		}
		_, err := c.Post(t.Context(), egress.Message{URL: tt.url, Sign: sign, MaxAnswer: limit})
		if !errors.Is(err, egress.ErrRefused) || signed != tt.signed {
			t.Errorf("%s: got %v, signed: %v; want ErrRefused, %v", tt.url, err, signed, tt.signed)
		}
	}
	untouched(t, ln)
	untouched(t, proxy)
}

// What is signed is what is sent, whatever the signer does to the request.
func TestPostSigns(t *testing.T) {
	var got received
	srv, c := newServer(t, func(_ http.ResponseWriter, r *http.Request) { got = receive(r) })
	elsewhere := listen(t)
	var seen received
	sign := func(r *http.Request) error {
		seen = receive(r)
		seen.target = r.URL.RequestURI()
		if _, ok := r.Context().Deadline(); !ok {
			t.Error("the signer has no deadline")
		}
		r.Header.Set("Signature", "sig=:AA==:")
		r.URL.Host, r.URL.Path, r.Host = elsewhere.Addr().String(), "/other", "other.example"
		r.Method, r.Body, r.ContentLength = "PUT", io.NopCloser(strings.NewReader("x")), 1
		return nil
	}
	m := egress.Message{URL: srv.URL + "/a%2Fb?c=d", Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("{}"), Sign: sign, MaxAnswer: limit}
	if _, err := c.Post(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got.header.Get("Signature") != "sig=:AA==:" || m.Header.Get("Signature") != "" {
		t.Errorf("came with %v, the message's header is %v", got.header, m.Header)
	}
	if got.method != seen.method || got.host != seen.host || got.target != seen.target || got.body != seen.body || got.length != seen.length {
		t.Errorf("came as %+v, was signed as %+v", got, seen)
	}
	if got.target != "/a%2Fb?c=d" || got.body != "{}" {
		t.Errorf("came as %+v", got)
	}
	for name := range seen.header {
		if got.header.Get(name) != seen.header.Get(name) {
			t.Errorf("%s: came as %q, was signed as %q", name, got.header.Get(name), seen.header.Get(name))
		}
	}
	untouched(t, elsewhere)

	got = received{}
	errKey := errors.New("no such key")
	m.Sign = func(*http.Request) error { return errKey }
	if _, err := c.Post(t.Context(), m); !errors.Is(err, errKey) || got.method != "" {
		t.Errorf("got %v, want the signer's error; came: %+v", err, got)
	}
}

func TestPostErrorsTellTheHostOnly(t *testing.T) {
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X") == "hunter2" {
			http.Redirect(w, r, "/hunter2", http.StatusFound)
		}
		w.Write(bytes.Repeat([]byte("hunter2"), limit))
	})
	host := srv.Listener.Addr().String()
	down, err := url.Parse(refusing(t, "https"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ host, x string }{{host, "hunter2"}, {host, "other"}, {host, "hunter2\n"}, {down.Host, "hunter2"}} {
		m := egress.Message{
			URL: "https://" + tt.host + "/hunter2?hunter2", Header: http.Header{"X": {tt.x}}, Body: []byte("hunter2"), MaxAnswer: limit,
		}
		if _, err := c.Post(t.Context(), m); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), tt.host) {
			t.Errorf("got %v, want the host and no more", err)
		}
	}
}

func TestPostHasADeadline(t *testing.T) {
	ln := silent(t)
	c := newClient(t, egress.Config{InsecureLoopback: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*ms)
	defer cancel()
	start := time.Now()
	_, err := c.Post(ctx, egress.Message{URL: "http://" + ln.Addr().String(), Body: make([]byte, 4<<20), MaxAnswer: limit})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}
