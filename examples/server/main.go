// Command server mounts all of keywright on one ServeMux, over SQLite or
// PostgreSQL. Started on an empty database it prints the curl command that
// obtains the first admin key.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

type options struct {
	addr, db, url, config string
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on")
	flag.StringVar(&o.db, "db", "keywright.db", "SQLite file, or a postgres:// URL")
	flag.StringVar(&o.url, "url", "", "external URL of this server (default: from -addr)")
	flag.StringVar(&o.config, "config", "", "JSON file with further settings")
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
	external, err := externalURL(o.url, ln.Addr())
	if err != nil {
		return err
	}
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: st,
		URL:   external,
		Kinds: map[string]string{"admin": "kw_admin", "ci": "kw_ci"},
		Hooks: keywright.Hooks{Audit: logEvent},
	})
	if err != nil {
		return err
	}
	boot, err := setUpBootstrap(ctx, host, cfg.Bootstrap, besides(o.db))
	if err != nil {
		return err
	}
	ci, err := setUpExchange(ctx, host, cfg.Exchange)
	if err != nil {
		return err
	}
	go sweep(ctx, st)
	err = serve(ctx, ln, logRequests(hangUpAfterChunks(keywright.NoRedirect(routes(host, boot, ci)))))
	flush, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, host.Keys.Flush(flush))
}

// serve runs until ctx is done and then lets the requests under way finish.
func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    32 << 10,
	}
	slog.Info("listening", "addr", ln.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return srv.Shutdown(stop)
}

func externalURL(flag string, addr net.Addr) (*url.URL, error) {
	if flag == "" {
		host, port, err := net.SplitHostPort(addr.String())
		if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}, err
	}
	u, err := url.Parse(flag)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("-url %q: want http(s)://host[:port][/prefix]", flag)
	}
	return u, nil
}

func logEvent(ctx context.Context, e keywright.Event) {
	slog.InfoContext(ctx, "audit", "event", e.Name, "actor", e.Actor, "target", e.Target, "remote", e.Remote, "detail", e.Detail, "attrs", e.Attrs)
}

// setUpBootstrap makes the endpoint, obeys a reset file, publishes the first
// key to a file where that is configured, and tells the operator what to do.
func setUpBootstrap(ctx context.Context, host keywright.Host, cfg bootstrapConfig, files files) (*bootstrap.Handler, error) {
	if _, err := bootstrap.ResetFromFile(ctx, host, files.reset); err != nil {
		slog.Error("reset refused", "error", err)
	}
	key := bootstrap.AdminKey{Scopes: []string{"admin"}, TTL: cfg.KeyTTL.Duration}
	if err := provision(ctx, host, cfg, key); err != nil {
		return nil, err
	}
	status, err := bootstrap.ReadStatus(ctx, host)
	if err != nil {
		return nil, err
	}
	slog.Info("bootstrap", "claimed", status.Claimed, "generation", status.Generation, "reset_file", files.reset)
	c := bootstrap.Config{
		Host: host, Key: key, Disabled: cfg.Disabled, Dialect: keywright.Connect,
		Redelivery: cfg.Redelivery.Duration, Expect: bootstrap.Expect{MaxLifetime: cfg.MaxLifetime.Duration},
	}
	if c.PublicKeys, err = cfg.publicKeys(); err != nil {
		return nil, err
	}
	if c.Secret, err = files.bootstrapSecret(status.Claimed || cfg.Disabled || len(c.PublicKeys) > 0); err != nil {
		return nil, err
	}
	if c.Secret == "" && len(c.PublicKeys) == 0 {
		c.Disabled = true // claimed, and the secret has been taken away since
	}
	boot, err := bootstrap.New(c)
	if err != nil {
		return nil, err
	}
	if !c.Disabled && !status.Claimed && c.Secret != "" {
		err = printCommand(host.URL, c, status)
	}
	return boot, err
}
