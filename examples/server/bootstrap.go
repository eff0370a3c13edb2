package main

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

type bootstrapConfig struct {
	Disabled       bool     `json:"disabled"`
	Redelivery     duration `json:"redelivery"`       // the same token gets the same unused key for so long
	KeyTTL         duration `json:"key_ttl"`          // 0s: the admin key does not expire
	MaxLifetime    duration `json:"max_lifetime"`     // of tokens; 0s: 15m
	PublicKeyFiles []string `json:"public_key_files"` // PEM, beside or in place of the secret
	KeyFile        string   `json:"key_file"`         // publish the first key here at start-up
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

func (c bootstrapConfig) check() error {
	return checkDurations("bootstrap", map[string]duration{"redelivery": c.Redelivery, "key_ttl": c.KeyTTL, "max_lifetime": c.MaxLifetime})
}

func (c bootstrapConfig) publicKeys() ([]crypto.PublicKey, error) {
	var keys []crypto.PublicKey
	for _, path := range c.PublicKeyFiles {
		key, err := bootstrap.PublicKeyFromFile(path)
		if err != nil {
			return nil, fmt.Errorf("public_key_files: %w", err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// provision publishes the first key to a file, or revokes it when that is no
// longer configured.
func provision(ctx context.Context, host keywright.Host, cfg bootstrapConfig, key bootstrap.AdminKey) error {
	c := bootstrap.ProvisionConfig{Host: host, Key: key, Disabled: cfg.KeyFile == ""}
	if cfg.KeyFile != "" {
		c.Sink = bootstrap.FileSink{Path: cfg.KeyFile}
	}
	outcome, err := bootstrap.Provision(ctx, c)
	if err == nil && outcome != bootstrap.Off {
		slog.Info("first key at start-up", "outcome", string(outcome), "file", cfg.KeyFile)
	}
	return err
}

// files stand beside the database.
type files struct {
	secret, reset string
	agentKeys     string // a directory
}

func besides(db string) files {
	if isPostgres(db) {
		db = "keywright"
	}
	return files{secret: db + ".secret", reset: db + ".reset", agentKeys: db + ".agentkeys"}
}

// bootstrapSecret takes the secret from the environment, else from the file
// that an earlier start has made, else makes one unless settled.
func (f files) bootstrapSecret(settled bool) (string, error) {
	if s, err := bootstrap.SecretFromEnv(); s != "" || err != nil {
		return s, err
	}
	if !settled {
		return bootstrap.EnsureSecretFile(f.secret)
	}
	s, err := bootstrap.SecretFromFile(f.secret)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return s, err
}

// printCommand shows the operator how to go on. It goes to standard output,
// not to the log.
func printCommand(server fmt.Stringer, c bootstrap.Config, status bootstrap.Status) error {
	now := time.Now()
	// A token of the very second of a reset counts as older than it.
	if after := status.Since.Truncate(time.Second).Add(time.Second); now.Before(after) {
		now = after
	}
	token, err := bootstrap.Client{Secret: c.Secret, Expect: c.Expect}.Token(now)
	if err != nil {
		return err
	}
	fmt.Printf("This server has no admin key yet. Before the token in it expires, run:\n\n  curl -X POST -H 'Authorization: Connect-Bootstrap %s' %s%s\n\n", token, server, bootstrap.Path)
	return nil
}
