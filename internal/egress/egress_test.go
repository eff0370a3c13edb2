package egress_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

const limit = 1 << 10

func TestGet(t *testing.T) {
	var got http.Header
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		switch r.URL.Path {
		case "/full":
			w.Write(make([]byte, limit))
			return
		case "/empty":
			return
		}
		w.Header().Set("Content-Encoding", "identity")
		io.WriteString(w, r.Method+" "+r.RequestURI)
	})
	body, err := c.Get(t.Context(), srv.URL+"/a?b=c", limit)
	if err != nil || string(body) != "GET /a?b=c" {
		t.Errorf("got %q, %v", body, err)
	}
	for name, want := range map[string]string{
		"User-Agent": "keywright", "Accept": "application/json", "Accept-Encoding": "identity",
		"Connection": "close", "Referer": "", "Cookie": "", "Authorization": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: got %q, want %q", name, got.Get(name), want)
		}
	}
	if body, err := c.Get(t.Context(), srv.URL+"/full", limit); err != nil || len(body) != limit {
		t.Errorf("just the limit: got %d bytes, %v", len(body), err)
	}
	for _, max := range []int64{-1, 0, 1<<20 + 1, 1<<63 - 1} {
		if _, err := c.Get(t.Context(), srv.URL+"/empty", max); err == nil {
			t.Errorf("a limit of %d is accepted", max)
		}
	}
}

func TestGetRefusesAnswers(t *testing.T) {
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/404": // EXC-37
			w.WriteHeader(http.StatusNotFound)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
			return
		case "/206":
			w.WriteHeader(http.StatusPartialContent)
		case "/304":
			w.WriteHeader(http.StatusNotModified)
			return
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(zipped([]byte("{}")))
			return
		case "/unknown-coding":
			w.Header().Add("Content-Encoding", "identity")
			w.Header().Add("Content-Encoding", "br")
		case "/long":
			w.Write(make([]byte, limit+1))
			return
		case "/long-without-length":
			for range limit + 1 {
				w.Write([]byte("a"))
				w.(http.Flusher).Flush()
			}
			return
		case "/header":
			w.Header().Set("X", strings.Repeat("a", 20<<10))
		case "/short":
			w.Header().Set("Content-Length", "100")
		}
		w.Write([]byte("{}"))
	})
	for _, path := range []string{"/404", "/204", "/206", "/304", "/gzip", "/unknown-coding", "/long", "/long-without-length", "/header", "/short"} {
		body, err := c.Get(t.Context(), srv.URL+path, limit)
		switch {
		case err == nil || body != nil:
			t.Errorf("%s: got %q, %v; want an error and no body", path, body, err)
		case errors.Is(err, egress.ErrRefused):
			t.Errorf("%s: %v is trouble, not policy", path, err)
		case !strings.Contains(err.Error(), srv.Listener.Addr().String()) || strings.Contains(err.Error(), path):
			t.Errorf("%s: got %v, want the host and no more", path, err)
		}
	}
	if body, err := c.Get(t.Context(), srv.URL, limit); err != nil || string(body) != "{}" {
		t.Errorf("a good answer: got %q, %v", body, err)
	}
}

func TestGetRefusesAddresses(t *testing.T) {
	ln := listen(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	c := newClient(t, egress.Config{})
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0"} {
		if _, err := c.Get(t.Context(), "https://"+host+":"+port+"/", limit); !errors.Is(err, egress.ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", host, err)
		}
	}
	// The name passes CheckURL: it is the address that was refused.
	if err := c.CheckURL("https://localhost:" + port + "/"); err != nil {
		t.Error(err)
	}
	untouched(t, ln)
}

func TestPlainLoopback(t *testing.T) {
	srv, c := newPlainServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if _, err := c.Get(t.Context(), "http://"+host+":"+port, limit); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	strict := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if _, err := strict.Get(t.Context(), srv.URL, limit); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("http where it is not allowed: got %v, want ErrRefused", err)
	}
}

func TestProxyEnvironmentIsIgnored(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	c := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if _, err := c.Get(ctx, "https://issuer.invalid/", limit); err == nil {
		t.Error("issuer.invalid answered")
	}
	untouched(t, proxy)
}

func TestTLS(t *testing.T) {
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	srv.Config.ErrorLog = discard
	nobody := newClient(t, egress.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if _, err := nobody.Get(t.Context(), srv.URL, limit); err == nil {
		t.Error("an authority nobody trusts is accepted")
	}
	wrongName := strings.Replace(srv.URL, "127.0.0.1", "127.0.0.2", 1)
	if _, err := c.Get(t.Context(), wrongName, limit); err == nil {
		t.Error("a certificate of another name is accepted")
	}
	old := httptest.NewUnstartedServer(srv.Config.Handler)
	old.Config.ErrorLog = discard
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	defer old.Close()
	if _, err := c.Get(t.Context(), old.URL, limit); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

func TestDeadline(t *testing.T) {
	ln := silent(t)
	c := newClient(t, egress.Config{InsecureLoopback: true})
	for name, url := range map[string]string{"http": "http://", "TLS handshake": "https://"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		_, err := c.Get(ctx, url+ln.Addr().String(), limit)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 2*time.Second {
			t.Errorf("%s: got %v after %v", name, err, time.Since(start))
		}
	}
}

// The peer stops in the middle of the document, where only the deadline helps:
// the caller's, be it longer than ours, or ours.
func TestWhoseDeadline(t *testing.T) {
	for name, tt := range map[string]struct{ callers, want time.Duration }{
		"none": {0, 10 * time.Second}, "shorter": {time.Second, time.Second}, "longer": {time.Minute, time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, egress.Config{InsecureLoopback: true})
			near, far := net.Pipe()
			defer far.Close()
			c.Connect(near)
			go func() {
				far.Read(make([]byte, 4096))
				io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
			}()
			ctx := t.Context()
			if tt.callers > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.callers)
				defer cancel()
			}
			start := time.Now()
			_, err := c.Get(ctx, "http://127.0.0.1/", limit)
			if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took != tt.want {
				t.Errorf("%s: got %v after %v, want %v", name, err, took, tt.want)
			}
		})
	}
}

// What the Transport dials with is judged by the call that it dials for, and
// ends with it.
func TestDial(t *testing.T) {
	c := newClient(t, egress.Config{InsecureLoopback: true})
	if err := c.Dial(t.Context(), "http://localhost/", "8.8.8.8:80"); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("localhost elsewhere: got %v, want ErrRefused", err)
	}
	ln := silent(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Dial(ctx, "http://localhost/", ln.Addr().String()); err == nil {
		t.Error("a call that has ended still connects")
	}
}

// EXC-37: what is read is what may be read, and what one TLS record holds.
func TestReadsLittleOf64MiB(t *testing.T) {
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 64<<10); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	var read atomic.Int64
	c.CountReads(&read)
	if _, err := c.JWKS(t.Context(), srv.URL); err == nil {
		t.Error("accepted")
	}
	if read.Load() > 256<<10 {
		t.Errorf("%d bytes were read", read.Load())
	}
}

func TestErrorsAreShort(t *testing.T) {
	ln := listen(t)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		nc.Read(make([]byte, 4096))
		io.WriteString(nc, "HTTP/1.1 "+strings.Repeat("noise", 400)+"\r\n\r\n")
	}()
	c := newClient(t, egress.Config{InsecureLoopback: true})
	if _, err := c.Get(t.Context(), "http://"+ln.Addr().String(), limit); err == nil || len(err.Error()) > 300 {
		t.Errorf("got %v", err)
	}
}
