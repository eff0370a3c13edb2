package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// enrol makes the agent's key, has the provider know it, and keeps its handle. It
// may be repeated: the key stays the same.
func enrol(ctx context.Context, c *config, args []string) error {
	flags := flag.NewFlagSet("enrol", flag.ContinueOnError)
	provider := flags.String("provider", "", "agent provider, https://host")
	id := flags.String("agent-id", "", "identifier to have, aauth:name@host; the provider chooses one otherwise")
	person := flags.String("person-server", "", "server of the person for whom the agent acts")
	keys := flags.String("keys", "", "directory of the key store; ~/.keywright/keys otherwise")
	passphrase := flags.String("passphrase-file", "", "file with a passphrase that encrypts the key")
	secret := flags.String("secret-file", "", "file with the enrolment secret; the variable ENROLMENT_SECRET otherwise")
	flags.BoolVar(&c.Plaintext, "insecure-plaintext", c.Plaintext, "keep the key in the clear, guarded by the permissions of its file alone")
	flags.BoolVar(&c.TwoKeys, "two-keys", c.TwoKeys, "sign requests by other keys than the enrolled one")
	flags.BoolVar(&c.Development, "development", c.Development, "admit servers on this machine, by http and with ports")
	if err := flags.Parse(args); err != nil {
		return err
	}
	override(&c.Provider, *provider)
	override(&c.AgentID, *id)
	override(&c.PersonServer, *person)
	override(&c.Keys, *keys)
	override(&c.PassphraseFile, *passphrase)
	store, err := c.keyStore()
	if err != nil {
		return err
	}
	e, err := agentauth.Enroll(ctx, agentauth.EnrollConfig{
		Provider: c.Provider, AgentID: c.AgentID, PersonServer: c.PersonServer,
		Keys: store, Secret: secretSource(*secret), Development: c.Development,
		Options: agentauth.EnrollOptions{
			Key: keystore.KeyOptions{Handle: c.KeyHandle},
			Waiting: func(context.Context, agentauth.Waiting) {
				fmt.Fprintln(os.Stderr, "waiting for somebody to approve this agent")
			},
		},
	})
	if err != nil {
		return err
	}
	c.AgentID, c.KeyHandle = e.AgentID, e.LocalKeyHandle
	if err := c.save(); err != nil {
		return err
	}
	fmt.Printf("enrolled as %s\nkey_handle %s is in %s\n", e.AgentID, e.LocalKeyHandle, c.path)
	return nil
}

// secretSource is nil where there is no secret: not every provider wants one.
func secretSource(path string) agentauth.SecretSource {
	switch {
	case path != "":
		return agentauth.SecretFile(path)
	case os.Getenv("ENROLMENT_SECRET") != "":
		return agentauth.SecretEnv("ENROLMENT_SECRET")
	}
	return nil
}

// token prints an agent token, which is of use to who has the key.
func token(ctx context.Context, c *config, _ []string) error {
	agent, err := c.agent(ctx)
	if err != nil {
		return err
	}
	cred, err := agent.Credential(ctx)
	if err != nil {
		return err
	}
	fmt.Println(cred.As.Token)
	return nil
}

// get sends a signed request and prints the answer. What the resource asks of a
// person is shown to whoever sits there.
func get(ctx context.Context, c *config, args []string) error {
	if len(args) != 1 {
		return errors.New("get: want one URL")
	}
	u, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	agent, err := c.agent(ctx)
	if err != nil {
		return err
	}
	person, err := agentauth.NewPersonServer(agentauth.PersonServerConfig{
		ID: c.PersonServer, Development: c.Development,
		Interact: func(_ context.Context, i agentauth.Interaction) error {
			fmt.Fprintf(os.Stderr, "open %s and compare the code %s\n", i.Link(), i.Code)
			return nil
		},
	})
	if err != nil {
		return err
	}
	transport, err := agentauth.NewTransport(agentauth.TransportConfig{
		Identity: agent, Origins: []string{u.Scheme + "://" + u.Host}, Person: person, Development: c.Development,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode > 299 {
		return fmt.Errorf("%s answers %s", u.Host, resp.Status)
	}
	return nil
}
