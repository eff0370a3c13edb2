package main

import (
	"context"
	"maps"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/provisioning"
)

// newRoutes makes all of keywright's mechanisms and mounts them beside the
// host's own routes.
func newRoutes(ctx context.Context, host keywright.Host, cfg config, files files) (*http.ServeMux, error) {
	mux := http.NewServeMux()
	ci, err := setUpExchange(ctx, host, cfg.Exchange)
	if err != nil {
		return nil, err
	}
	ci.Register(mux, "")
	admin := mountAdmin(mux, host, cfg.Admin)
	prov, err := setUpProvisioning(host, cfg.Provisioning, admin)
	if err != nil {
		return nil, err
	}
	prov.Register(mux, "")
	for _, stem := range []string{provisioning.RunnersPath, provisioning.AgentsPath} {
		runners{host, prov}.register(mux, stem)
		runners{host, prov}.list(mux, stem, admin)
	}
	agents, err := setUpAgents(ctx, host, cfg.Agents, files.agentKeys, prov, admin)
	if err != nil {
		return nil, err
	}
	signed, err := agents.mount(mux)
	if err != nil {
		return nil, err
	}
	if err := setUpApplications(ctx, mux, host, cfg.applicationsConfig); err != nil {
		return nil, err
	}
	// The last, since it tells the operator to go on.
	boot, err := setUpBootstrap(ctx, host, cfg.Bootstrap, files)
	if err != nil {
		return nil, err
	}
	boot.Register(mux, "")
	mountOwn(mux, host, signed)
	return mux, nil
}

// mountAdmin mounts what administrators alone have, and returns who they are.
func mountAdmin(mux *http.ServeMux, host keywright.Host, cfg *adminConfig) keywright.Authenticator {
	var s *sessions
	if cfg != nil {
		s = &sessions{host, *cfg}
		mux.Handle("/api/auth/login", only(http.MethodPost, answering(s.login)))
		session := keywright.Text.Require(keywright.CookieGuard{Hooks: host.Hooks}.Guard(s))
		mux.Handle("/api/auth/logout", only(http.MethodPost, session(answering(s.logout))))
	}
	admin := newAdministrators(host, s)
	mux.Handle("/api/audit", only(http.MethodGet, keywright.Text.Require(admin)(audit(host))))
	return admin
}

// mountOwn mounts the host's own routes. signed are who knows callers that sign.
func mountOwn(mux *http.ServeMux, host keywright.Host, signed []keywright.Authenticator) {
	// A provisioning key is for one thing, and this is another.
	known := append([]keywright.Authenticator{host.Keys.Of("admin", "ci", "app", "runner")}, signed...)
	mux.Handle("GET /whoami", keywright.Require(known...)(http.HandlerFunc(whoami)))
	mux.Handle("GET /__api__/v1/user", keywright.Connect.Require(host.Keys.Of("admin", "ci"))(http.HandlerFunc(connectUser)))
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
	mux.Handle("/api", absent(keywright.Text))
	mux.Handle("/api/", absent(keywright.Text))
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
