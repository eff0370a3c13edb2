// Command server mounts all of keywright on one ServeMux, over SQLite or
// PostgreSQL. Started on an empty database it prints the curl command that
// obtains the first admin key.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/keywright/keywright"
)

type options struct {
	addr, db, url, config, tlsCert, tlsKey string
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on")
	flag.StringVar(&o.db, "db", "keywright.db", "SQLite file, or a postgres:// URL")
	flag.StringVar(&o.url, "url", "", "external URL of this server (default: from -addr)")
	flag.StringVar(&o.config, "config", "", "JSON file with further settings")
	flag.StringVar(&o.tlsCert, "tls-cert", "", "PEM file with the certificate to serve TLS with")
	flag.StringVar(&o.tlsKey, "tls-key", "", "PEM file with its key")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		slog.Error("server stopped", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	cfg, err := readConfig(o.config)
	if err != nil {
		return err
	}
	certificates, err := o.certificates()
	if err != nil {
		return err
	}
	st, closeDB, err := openStore(ctx, o.db)
	if err != nil {
		return err
	}
	defer closeDB()
	ln, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	external, err := o.externalURL(ln.Addr())
	if err != nil {
		return err
	}
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: st,
		URL:   external,
		Kinds: map[string]string{
			"admin": "kw_admin", "ci": "kw_ci", "app": "quay_oat",
			"provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll",
		},
		Hooks: keywright.Hooks{Audit: logEvent},
	})
	if err != nil {
		return err
	}
	routes, err := newRoutes(ctx, host, cfg, besides(o.db))
	if err != nil {
		return err
	}
	go sweep(ctx, st)
	err = serve(ctx, ln, certificates, middleware(host, cfg.TrustedProxies, routes))
	flush, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, host.Keys.Flush(flush))
}

func logEvent(ctx context.Context, e keywright.Event) {
	slog.InfoContext(ctx, "audit", "event", e.Name, "actor", e.Actor, "target", e.Target, "remote", e.Remote, "detail", e.Detail, "attrs", e.Attrs)
}
