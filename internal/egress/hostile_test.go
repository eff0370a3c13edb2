package egress_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// hostile are the ways in which an issuer's keys may fail to come.
var hostile = map[string]http.HandlerFunc{
	// EXC-36
	"silence": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	"a byte at a time": func(w http.ResponseWriter, r *http.Request) {
		for _, b := range jwks("a") {
			if _, err := w.Write([]byte{b}); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	},
	"reset": func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{")
		if t, ok := nc.(*tls.Conn); ok {
			nc = t.NetConn()
		}
		nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
	},
	// EXC-37
	"64 MiB": func(w http.ResponseWriter, _ *http.Request) {
		text := bytes.TrimSuffix(jwks("a"), []byte("}"))
		w.Write(append(text, `,"pad":"`...))
		for range 1024 {
			if _, err := w.Write(padding); err != nil {
				return
			}
		}
		io.WriteString(w, `"}`)
	},
	"100,000 keys": says(200, `{"keys":[`+strings.Repeat(`{"kty":"AKP"},`, 100_000)+`{"kty":"AKP"}]}`),
	"gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb)
	},
	"deep nesting":       says(200, `{"keys":`+strings.Repeat("[", 10_000)),
	"HTML":               says(200, "<html></html>"),
	"null":               says(200, "null"),
	"no keys":            says(200, `{"keys":[]}`),
	"404 with good keys": says(404, string(jwks("a"))),
	"500":                says(500, ""),
	"redirect":           http.RedirectHandler("http://169.254.169.254/", http.StatusFound).ServeHTTP,
}

var (
	padding = bytes.Repeat([]byte("a"), 64<<10)
	bomb    = zipped(make([]byte, 8<<20)) // about 1000:1
)

func zipped(text []byte) []byte {
	b := new(bytes.Buffer)
	z := gzip.NewWriter(b)
	z.Write(text)
	z.Close()
	return b.Bytes()
}

func says(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// refusing returns the URL of a port that nobody listens on.
func refusing(t testing.TB, scheme string) string {
	ln := listen(t)
	defer ln.Close()
	return scheme + "://" + ln.Addr().String()
}

// EXC-36, EXC-37: without keys, it fails in time; with keys, they go on until
// they are a day old; what is read stays small and nothing is left behind.
func TestHostileIssuers(t *testing.T) {
	var now atomic.Pointer[http.HandlerFunc]
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) { (*now.Load())(w, r) })
	var read atomic.Int64
	c.CountReads(&read)
	urls := map[string]string{"refused connection": refusing(t, "https")}
	for name := range hostile {
		urls[name] = srv.URL
	}
	before := census()
	for name, url := range urls {
		far := hostile[name]
		clk := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		good := http.HandlerFunc(says(200, string(jwks("a"))))
		from := srv.URL
		s := egress.NewKeySet(clk.Now, func(ctx context.Context) (egress.Document, error) { return c.JWKS(ctx, from) })
		now.Store(&good)
		if _, err := s.Keys(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		read.Store(0)
		s.SetBudget(100 * ms)
		now.Store(&far)
		from = url
		clk.add(egress.UsableFor - 1)
		if _, err := s.Keys(t.Context(), "b"); !errors.Is(err, egress.ErrUnknownKey) {
			t.Errorf("%s: got %v, want ErrUnknownKey", name, err)
		}
		if _, err := s.Keys(t.Context(), "a"); err != nil {
			t.Errorf("%s: the old key: %v", name, err)
		}
		clk.add(egress.FetchFloor)
		uncached(t, name, s)
		if n := read.Load(); n > 1<<20 {
			t.Errorf("%s: %d bytes were read", name, n)
		}
	}
	before.compare(t, "all of them")
}

const ms = time.Millisecond

func uncached(t *testing.T, name string, s *egress.KeySet) {
	t.Helper()
	start := time.Now()
	_, err := s.Keys(t.Context(), "a")
	var u *egress.UnavailableError
	if !errors.As(err, &u) || time.Since(start) > 3*time.Second {
		t.Errorf("%s: got %v after %v, want unavailable", name, err, time.Since(start))
	}
}

// XC-07: nothing stays of failures.
func TestNoLeaks(t *testing.T) {
	var now atomic.Pointer[http.HandlerFunc]
	serve := func(w http.ResponseWriter, r *http.Request) { (*now.Load())(w, r) }
	srv, c := newPlainServer(t, serve)
	tlsServer := httptest.NewUnstartedServer(http.HandlerFunc(serve))
	tlsServer.Config.ErrorLog = discard
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	strict := newClient(t, egress.Config{})
	type kind struct {
		client *egress.Client
		url    string
	}
	kinds := map[string]kind{
		"refused connection": {c, refusing(t, "http")},
		"refused address":    {strict, "https://localhost/"},
		"refused URL":        {strict, srv.URL},
		"unknown authority":  {c, tlsServer.URL},
		"not TLS":            {c, strings.Replace(srv.URL, "http", "https", 1)},
		"silence in TLS":     {c, "https://" + silent(t).Addr().String()},
	}
	for name := range hostile {
		kinds[name] = kind{c, srv.URL}
	}
	times := 50
	if os.Getenv("KEYWRIGHT_LONG") == "1" {
		times = 1000
	}
	for name, k := range kinds {
		far := hostile[name]
		now.Store(&far)
		before := census()
		for range times {
			s := egress.NewKeySet(nil, func(ctx context.Context) (egress.Document, error) { return k.client.JWKS(ctx, k.url) })
			if strings.HasPrefix(name, "silence") || name == "a byte at a time" {
				s.SetBudget(3 * ms)
			}
			uncached(t, name, s)
		}
		before.compare(t, fmt.Sprintf("%d of %s", times, name))
	}
}

// silent accepts connections and says nothing.
func silent(t testing.TB) net.Listener {
	ln := listen(t)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, nc)
				nc.Close()
			}()
		}
	}()
	return ln
}

type counts struct{ goroutines, files int }

func census() counts {
	files, _ := os.ReadDir("/proc/self/fd") // elsewhere than on Linux, none
	return counts{runtime.NumGoroutine(), len(files)}
}

// compare waits for the server's side to notice.
func (before counts) compare(t *testing.T, what string) {
	t.Helper()
	now := census()
	for range 2000 {
		if now.goroutines <= before.goroutines+2 && now.files <= before.files+2 {
			return
		}
		time.Sleep(ms)
		now = census()
	}
	t.Errorf("after %s: %+v, before %+v", what, now, before)
}
