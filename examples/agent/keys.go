package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright/agentauth"
)

// keys lists or deletes what is in the key store.
func keys(ctx context.Context, c *config, args []string) error {
	store, err := c.keyStore()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "list":
		for handle, err := range store.List(ctx) {
			if err != nil {
				return err
			}
			fmt.Println(handle)
		}
		return nil
	case len(args) == 2 && args[0] == "delete":
		return store.Delete(ctx, args[1])
	}
	return errors.New("keys: want list, or delete HANDLE")
}

// rotate gives the agent another key. It may be repeated after a failure: the old key
// goes when the new one is known to work.
func rotate(ctx context.Context, c *config, _ []string) error {
	store, err := c.keyStore()
	if err != nil {
		return err
	}
	old := c.KeyHandle
	e, err := agentauth.RotateKey(ctx, agentauth.RotateConfig{
		Provider: c.Provider, Keys: store, Handle: old, Development: c.Development,
	})
	if err != nil {
		return err
	}
	c.KeyHandle = e.LocalKeyHandle
	if err := c.save(); err != nil {
		return err
	}
	agent, err := c.agent(ctx)
	if err != nil {
		return err
	}
	if _, err := agent.Credential(ctx); err != nil { // whose refresh retires the old key
		return err
	}
	fmt.Printf("key_handle %s is in %s\n", e.LocalKeyHandle, c.path)
	return store.Delete(ctx, old)
}
