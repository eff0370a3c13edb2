package bootstrap

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// minSecret is what rsconnect-python asks of a decoded secret, and RFC 7518,
// section 3.2, of an HS256 key.
const minSecret = 32

// The environment variables in which the secret is looked for, in this order:
// ours, and the one that Posit Connect and its client use.
const (
	SecretVariable        = "KEYWRIGHT_BOOTSTRAP_SECRET"
	ConnectSecretVariable = "CONNECT_BOOTSTRAP_SECRETKEY"
)

// NewSecret makes a secret for [Config.Secret]: 32 random bytes in base64.
func NewSecret() string {
	b := make([]byte, minSecret)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// SecretFromEnv returns the first of the two variables that is set, or "" when
// none is. An empty variable is not set; one that holds no secret is an error
// that names it.
func SecretFromEnv() (string, error) {
	for _, name := range []string{SecretVariable, ConnectSecretVariable} {
		s := os.Getenv(name)
		if s == "" {
			continue
		}
		if _, err := decodeSecret(s); err != nil {
			return "", fmt.Errorf("bootstrap: environment variable %s: %w", name, err)
		}
		return s, nil
	}
	return "", nil
}

// SecretFromFile reads a secret that a program like base64 has written.
func SecretFromFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("bootstrap: read secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return "", fmt.Errorf("bootstrap: read secret: %w", err)
	}
	if _, err := decodeSecret(string(b)); err != nil {
		return "", fmt.Errorf("bootstrap: secret in %s: %w", path, err)
	}
	return string(b), nil
}

// EnsureSecretFile is SecretFromFile for a server that makes its own secret:
// where there is no file, a new secret is written to one of mode 0600. It
// appears whole or not at all, and processes that start at once agree on it.
func EnsureSecretFile(path string) (string, error) {
	secret, err := SecretFromFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return secret, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return "", fmt.Errorf("bootstrap: make secret: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(NewSecret() + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		// Unlike a rename, a link does not replace what another process made.
		err = os.Link(tmp.Name(), path)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("bootstrap: make secret: %w", err)
	}
	return SecretFromFile(path)
}

// PublicKeyFromFile reads a public key for [Config.PublicKeys] from a PEM file
// ("PUBLIC KEY", RFC 7468, section 13), as openssl pkey -pubout writes it.
func PublicKeyFromFile(path string) (crypto.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: read public key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("bootstrap: public key %s: want PEM of type PUBLIC KEY", path)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: public key %s: %w", path, err)
	}
	return key, nil
}

// decodeSecret reads standard base64 with padding. White space around it and
// line breaks within are allowed. The URL-safe alphabet is refused by name:
// rsconnect-python drops its two characters in silence and signs with another key.
func decodeSecret(s string) ([]byte, error) {
	text := strings.NewReplacer("\r", "", "\n", "").Replace(strings.TrimSpace(s))
	switch {
	case text == "":
		return nil, errors.New("the secret is empty")
	case strings.ContainsAny(text, "-_"):
		return nil, errors.New(`the secret is in the URL-safe base64 alphabet ("-" and "_"): use the standard one ("+" and "/")`)
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil:
		return nil, errors.New("the secret is not standard base64 with padding")
	case len(b) < minSecret:
		return nil, fmt.Errorf("the secret has %d bytes, want at least %d: make one with bootstrap.NewSecret or openssl rand -base64 32", len(b), minSecret)
	}
	return b, nil
}
