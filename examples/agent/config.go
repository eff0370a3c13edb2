package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A config is the configuration file. There is no secret in it.
type config struct {
	Provider       string `json:"provider"`                     // https://host
	AgentID        string `json:"agent_id,omitempty"`           // as the provider has it
	PersonServer   string `json:"person_server,omitempty"`      // of the person for whom the agent acts
	KeyHandle      string `json:"key_handle"`                   // of the agent's key in the key store
	Keys           string `json:"keys,omitempty"`               // directory of the key store; "": ~/.keywright/keys
	PassphraseFile string `json:"passphrase_file,omitempty"`    // with what encrypts the keys
	Plaintext      bool   `json:"insecure_plaintext,omitempty"` // keys lie there in the clear, without a passphrase
	TwoKeys        bool   `json:"two_keys,omitempty"`           // requests are signed by other keys than the enrolled one
	Development    bool   `json:"development,omitempty"`        // servers on this machine, by http and with ports

	path string
}

// readConfig reads the file; one that is not there yet is empty.
func readConfig(path string) (*config, error) {
	c := &config{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// save replaces the file whole.
func (c *config) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	temp := c.path + ".new"
	if err := os.WriteFile(temp, append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, c.path)
}

func (c *config) keyStore() (*keystore.Dir, error) {
	dir := keystore.DirConfig{InsecurePlaintext: c.Plaintext}
	switch {
	case c.PassphraseFile == "" && !c.Plaintext:
		return nil, errors.New("want enrol -passphrase-file FILE to encrypt the key, or enrol -insecure-plaintext")
	case c.PassphraseFile != "":
		read := agentauth.SecretFile(c.beside(c.PassphraseFile))
		dir.Passphrase = func(ctx context.Context) ([]byte, error) {
			text, err := read(ctx)
			return []byte(text), err
		}
	}
	if c.Keys != "" {
		dir.Path = c.beside(c.Keys)
	}
	return keystore.NewDir(dir)
}

// beside is a path as the configuration file means it.
func (c *config) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.path), path)
}

// agent is who the key of the configuration has enrolled as.
func (c *config) agent(ctx context.Context) (*agentauth.Enrolled, error) {
	if c.KeyHandle == "" {
		return nil, fmt.Errorf("no key_handle in %s: run enrol", c.path)
	}
	store, err := c.keyStore()
	if err != nil {
		return nil, err
	}
	key, err := store.Load(ctx, c.KeyHandle)
	if errors.Is(err, keystore.ErrKeyNotFound) {
		return nil, fmt.Errorf("key %q not found: run enrol", c.KeyHandle)
	}
	if err != nil {
		return nil, err
	}
	return agentauth.NewEnrolled(agentauth.EnrolledConfig{
		Key: key, Provider: c.Provider, TwoKeys: c.TwoKeys, Development: c.Development,
	})
}

// override takes what a flag says in place of the file.
func override(to *string, flag string) { *to = cmp.Or(flag, *to) }
