package keystore_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/keywright/keywright/keystore"
)

// A server makes its key at the first start and finds it at every other. The
// passphrase lies in a file that the service manager gives it, and not beside
// the keys.
func Example() {
	home, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	secret := filepath.Join(home, "passphrase")
	if err := os.WriteFile(secret, []byte("correct horse battery staple\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	for range 2 {
		keys, err := keystore.NewDir(keystore.DirConfig{
			Path: filepath.Join(home, "keys"),
			Passphrase: func(context.Context) ([]byte, error) {
				text, err := os.ReadFile(secret)
				return bytes.TrimRight(text, "\r\n"), err // an editor's line break is no part of it
			},
		})
		if err != nil {
			log.Fatal(err)
		}
		ctx := context.Background()
		key, err := keys.Load(ctx, "issuer")
		if errors.Is(err, keystore.ErrKeyNotFound) { // and no other error
			fmt.Println("made")
			key, err = keys.Generate(ctx, keystore.KeyOptions{Handle: "issuer"})
		}
		if err != nil {
			log.Fatal(err)
		}
		message := []byte("hello")
		signature, err := keystore.Sign(ctx, key, message, crypto.Hash(0))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(key, ed25519.Verify(key.Public().(ed25519.PublicKey), message, signature))
	}
	// Output:
	// made
	// keystore.Key(issuer) true
	// keystore.Key(issuer) true
}

// Keys that lie in plaintext become encrypted in another directory. So do those
// of the AAuth SDK, of which the directory is ~/.aauth/keys, with ReadAAuth.
func ExampleDir_Import() {
	home, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)
	os.Setenv("KEYS_PASSPHRASE", "correct horse battery staple") // as whoever starts the program does
	ctx := context.Background()
	plain, err := keystore.NewDir(keystore.DirConfig{Path: filepath.Join(home, "old"), InsecurePlaintext: true})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := plain.Generate(ctx, keystore.KeyOptions{Handle: "issuer"}); err != nil {
		log.Fatal(err)
	}

	keys, err := keystore.NewDir(keystore.DirConfig{
		Path: filepath.Join(home, "new"),
		Passphrase: func(context.Context) ([]byte, error) {
			return []byte(os.Getenv("KEYS_PASSPHRASE")), nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	for handle, err := range plain.List(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		key, err := keys.Import(ctx, plain, handle)
		if err != nil {
			log.Fatal(err)
		}
		if err := plain.Delete(ctx, handle); err != nil {
			log.Fatal(err)
		}
		fmt.Println(key)
	}
	// Output: keystore.Key(issuer)
}
