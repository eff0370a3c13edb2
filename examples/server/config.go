package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

type config struct {
	Bootstrap bootstrapConfig `json:"bootstrap"`
	Exchange  exchangeConfig  `json:"exchange"`
}

type bootstrapConfig struct {
	Disabled       bool     `json:"disabled"`
	Redelivery     duration `json:"redelivery"`       // the same token gets the same unused key for so long
	KeyTTL         duration `json:"key_ttl"`          // 0s: the admin key does not expire
	MaxLifetime    duration `json:"max_lifetime"`     // of tokens; 0s: 15m
	PublicKeyFiles []string `json:"public_key_files"` // PEM, beside or in place of the secret
	KeyFile        string   `json:"key_file"`         // publish the first key here at start-up
}

// duration is written like "15m".
type duration struct {
	time.Duration
	err error // encoding/json would report it without the name of the member
}

func (d *duration) UnmarshalText(b []byte) error {
	d.Duration, d.err = time.ParseDuration(string(b))
	return nil
}

func readConfig(path string) (config, error) {
	var c config
	if path == "" {
		return c, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("-config: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	err = dec.Decode(&c)
	if _, behind := dec.Token(); err == nil && behind != io.EOF {
		err = errors.New("something follows the JSON object")
	}
	if err == nil {
		err = c.Bootstrap.check()
	}
	if err != nil {
		return c, fmt.Errorf("-config %s: %w", path, err)
	}
	return c, nil
}

func (c bootstrapConfig) check() error {
	for name, d := range map[string]duration{"redelivery": c.Redelivery, "key_ttl": c.KeyTTL, "max_lifetime": c.MaxLifetime} {
		if d.err != nil {
			return fmt.Errorf("bootstrap.%s: %w", name, d.err)
		}
	}
	return nil
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
}

func besides(db string) files {
	if isPostgres(db) {
		db = "keywright"
	}
	return files{secret: db + ".secret", reset: db + ".reset"}
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
