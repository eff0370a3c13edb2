package bootstrap_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/bootstrap"
)

func TestDecodeSecret(t *testing.T) {
	file := func(content string) (string, error) {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return bootstrap.SecretFromFile(path)
	}
	tests := []struct{ name, content, want string }{
		{"plain", secret, ""},
		{"BST-09 line break behind", secret + "\n", ""},
		{"BST-09 white space around", " \t" + secret + "\r\n", ""},
		{"BST-09 line breaks inside", secret[:20] + "\r\n" + secret[20:], ""},
		{"BST-07 empty", "", "empty"},
		{"BST-07 white space", " \n", "empty"},
		{"BST-07 1 byte", "AA==", "1 bytes"},
		{"BST-07 31 bytes", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MA==", "31 bytes"},
		{"BST-09 not base64", "this is not base64!!", "not standard base64"},
		{"BST-09 URL-safe alphabet", strings.ReplaceAll(secret, "/", "_"), "URL-safe"},
		{"no padding", strings.TrimRight(secret, "="), "not standard base64"},
		{"blank inside", secret[:20] + " " + secret[20:], "not standard base64"},
		{"spare bits", secret[:42] + "p=", "not standard base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := file(tt.content)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
	if _, err := bootstrap.SecretFromFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	if a, b := bootstrap.NewSecret(), bootstrap.NewSecret(); a == b {
		t.Error("two new secrets are the same")
	}
}

func TestSecretFromEnv(t *testing.T) {
	theirs, ours := bootstrap.NewSecret(), bootstrap.NewSecret()
	tests := []struct{ name, ours, theirs, want, err string }{
		{"none", "", "", "", ""},
		{"theirs", "", theirs, theirs, ""},
		{"ours before theirs", ours, theirs, ours, ""},
		{"no secret", "", "short", "", bootstrap.ConnectSecretVariable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(bootstrap.SecretVariable, tt.ours)
			t.Setenv(bootstrap.ConnectSecretVariable, tt.theirs)
			got, err := bootstrap.SecretFromEnv()
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v, want %q and an error with %q", got, err, tt.want, tt.err)
			}
		})
	}
}

// TestEnsureSecretFile: processes that start at once agree on one secret.
func TestEnsureSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	var (
		mu   sync.Mutex
		seen = map[string]bool{}
		wg   sync.WaitGroup
	)
	for range 8 {
		wg.Go(func() {
			s, err := bootstrap.EnsureSecretFile(path)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[s] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Errorf("%d different secrets, want 1", len(seen))
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%d files in the directory, want 1", len(entries))
	}
	if err := os.WriteFile(path, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := bootstrap.EnsureSecretFile(path); err == nil {
		t.Error("a file that holds no secret: got no error")
	}
}

func TestPublicKeyFromFile(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := func(content []byte) string {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	got, err := bootstrap.PublicKeyFromFile(file(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	if err != nil || !public.Equal(got) {
		t.Errorf("got %v, %v, want the key", got, err)
	}
	for name, content := range map[string][]byte{
		"no PEM":       []byte("junk"),
		"another type": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"no key":       pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("junk")}),
	} {
		if _, err := bootstrap.PublicKeyFromFile(file(content)); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := bootstrap.PublicKeyFromFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}
