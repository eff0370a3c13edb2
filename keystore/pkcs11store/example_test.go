package pkcs11store_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/keystore/pkcs11store"
)

// The key of an agent is in an HSM: found there, or made in it at the first start.
func Example() {
	ctx := context.Background()
	keys, err := pkcs11store.New(pkcs11store.Config{
		Module: "/usr/lib/softhsm/libsofthsm2.so", Token: "agents",
		PIN:      func(context.Context) (string, error) { return "from a file or a vault", nil },
		LockFile: "/run/agents/token.lock", // as SoftHSM needs it
	})
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()
	key, err := keys.Load(ctx, "agent")
	if errors.Is(err, keystore.ErrKeyNotFound) {
		key, err = keys.Generate(ctx, keystore.KeyOptions{Handle: "agent"})
	}
	if err != nil { // perhaps pkcs11store.ErrPIN, which does not pass by itself
		log.Fatal(err)
	}
	fmt.Println(key.Handle())
}
