package bootstrap

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
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

// SecretFromEnv returns the first of the two variables that is set, and
// whether one is. An empty variable is not set.
func SecretFromEnv() (secret string, ok bool) {
	for _, name := range []string{SecretVariable, ConnectSecretVariable} {
		if s := os.Getenv(name); s != "" {
			return s, true
		}
	}
	return "", false
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
