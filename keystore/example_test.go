package keystore_test

import (
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

// A server makes its key at the first start and finds it at every other.
func Example() {
	home, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(home)

	for range 2 {
		keys, err := keystore.NewDir(keystore.DirConfig{
			Path:              filepath.Join(home, "keys"),
			InsecurePlaintext: true,
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
