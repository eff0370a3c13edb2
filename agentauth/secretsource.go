package agentauth

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// A SecretSource returns a secret when it is needed.
type SecretSource func(ctx context.Context) (string, error)

// SecretFile reads the secret from a file, without white space around it.
func SecretFile(path string) SecretSource {
	return func(context.Context) (string, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(string(text)), nil
	}
}

// SecretEnv reads the secret from a variable of the environment.
func SecretEnv(name string) SecretSource {
	return func(context.Context) (string, error) {
		text := strings.TrimSpace(os.Getenv(name))
		if text == "" {
			return "", fmt.Errorf("the variable %s is not set", name)
		}
		return text, nil
	}
}
