package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"time"

	"github.com/keywright/keywright"
)

// certificates returns what to serve TLS with, and nothing for plain HTTP.
func (o options) certificates() ([]tls.Certificate, error) {
	switch {
	case o.tlsCert == "" && o.tlsKey == "":
		return nil, nil
	case o.tlsCert == "" || o.tlsKey == "":
		return nil, fmt.Errorf("-tls-cert and -tls-key: want both")
	}
	cert, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
	if err != nil {
		return nil, fmt.Errorf("-tls-cert, -tls-key: %w", err)
	}
	return []tls.Certificate{cert}, nil
}

func (o options) externalURL(addr net.Addr) (*url.URL, error) {
	if o.url == "" {
		host, port, err := net.SplitHostPort(addr.String())
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		u := &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
		if o.tlsCert != "" {
			u.Scheme = "https"
		}
		return u, err
	}
	u, err := url.Parse(o.url)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("-url %q: want http(s)://host[:port][/prefix]", o.url)
	}
	return u, nil
}

// serve runs until ctx is done and then lets the requests under way finish.
func serve(ctx context.Context, ln net.Listener, certificates []tls.Certificate, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
		TLSConfig:         &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12},
	}
	slog.Info("listening", "addr", ln.Addr().String())
	failed := make(chan error, 1)
	go func() {
		if certificates == nil {
			failed <- srv.Serve(ln)
		} else {
			failed <- srv.ServeTLS(ln, "", "")
		}
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return srv.Shutdown(stop)
}

// middleware is what every request goes through, the proxies that are believed
// first: what follows wants to know the client.
func middleware(host keywright.Host, proxies []netip.Prefix, next http.Handler) http.Handler {
	return keywright.TrustProxies(proxies...)(logRequests(host, hangUpAfterChunks(keywright.NoRedirect(next))))
}

// logRequests writes one line for each request: its path without the secrets
// that may be in it, and never its query or headers, where they belong.
func logRequests(host keywright.Host, next http.Handler) http.Handler {
	secrets := regexp.MustCompile(host.Keys.Pattern())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, rec := time.Now(), &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		slog.InfoContext(r.Context(), "request", "method", r.Method, "path", secrets.ReplaceAllString(r.URL.Path, "[secret]"), "status", rec.status, "remote", keywright.RemoteAddr(r.Context()), "took", time.Since(start))
	})
}

// hangUpAfterChunks ends the connection after a request that came in chunks.
// A Content-Length beside them is ignored, but a proxy in front may have gone by
// it: what it took for the body must not be served as a request (RFC 9112, 6.1).
func hangUpAfterChunks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach what is behind.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
