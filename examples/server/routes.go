package main

import (
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/exchange"
)

func routes(host keywright.Host, boot *bootstrap.Handler, ci *exchange.Handler) http.Handler {
	mux := http.NewServeMux()
	boot.Register(mux, "")
	ci.Register(mux, "")
	key := host.Keys.Of(host.Keys.Kinds()...)
	mux.Handle("GET /whoami", keywright.Require(key)(http.HandlerFunc(whoami)))
	mux.Handle("GET /__api__/v1/user", keywright.Connect.Require(key)(http.HandlerFunc(connectUser)))
	mux.HandleFunc("GET /__api__/server_settings", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]string{"version": "2026.06.0", "hostname": host.URL.Hostname()})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if _, err := bootstrap.ReadStatus(r.Context(), host); err != nil {
			keywright.WriteError(w, err)
			return
		}
		writeJSON(w, map[string]string{"status": "ok"})
	})
	return mux
}

func whoami(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	var expires *time.Time
	if !p.Expires.IsZero() {
		expires = &p.Expires
	}
	writeJSON(w, struct {
		Method     keywright.Method  `json:"method"`
		Issuer     string            `json:"issuer"`
		Subject    string            `json:"subject"`
		Scopes     []string          `json:"scopes"`
		Credential string            `json:"credential"`
		Expires    *time.Time        `json:"expires"` // null: never
		Attrs      map[string]string `json:"attrs"`
	}{p.Method, p.Issuer, p.Subject, append([]string{}, p.Scopes...), p.Credential, expires, maps.Collect(maps.All(p.Attrs))})
}

// connectUser answers as Posit Connect's clients want it: a user behind the key.
func connectUser(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	role := "viewer"
	if p.HasScope("admin") {
		role = "administrator"
	}
	writeJSON(w, map[string]string{"guid": p.Credential, "username": p.Subject, "user_role": role})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}

// logRequests writes one line for each request: its path, never its query or
// headers, where secrets travel.
func logRequests(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, rec := time.Now(), &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, r)
		slog.InfoContext(r.Context(), "request", "method", r.Method, "path", r.URL.Path, "status", rec.status, "remote", r.RemoteAddr, "took", time.Since(start))
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
