// Command kms enrols an agent whose key never leaves a key management service. The
// service is a fake one, which runs in this process: slow, and failing sometimes.
//
//	go run ./examples/agents &
//	go run ./examples/kms -provider http://127.0.0.1:8080
//
// For a real service keep [Store] and change what it calls: in api.go the paths,
// the JSON and, with the credentials of the service, send. Three things must stay
// as they are. The service decides who gets a name: it refuses an alias that
// another key has. Only what may be done twice is tried again: making a key is,
// because the service knows the request by its ID. And a key signs by the ID of
// the service, not by its name, so that a deleted one is not revived by its
// successor. Then run package keystoretest against it, as store_test.go does.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

func main() {
	provider := flag.String("provider", "http://127.0.0.1:8080", "agent provider")
	service := flag.String("kms", "", "URL of the key management service; empty: a fake one")
	handle := flag.String("handle", "kms-agent", "name of the agent's key")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *provider, *service, *handle); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, provider, service, handle string) error {
	if service == "" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: &Fake{Latency: 200 * time.Millisecond, FailEvery: 5}, ReadHeaderTimeout: 5 * time.Second}
		defer srv.Close()
		go srv.Serve(l) // until it is closed
		service = "http://" + l.Addr().String()
	}
	keys, err := NewStore(Config{URL: service})
	if err != nil {
		return err
	}
	agent, err := agentauth.Enroll(ctx, agentauth.EnrollConfig{
		Provider: provider, Development: true,
		Keys: keys, Options: agentauth.EnrollOptions{Key: keystore.KeyOptions{Handle: handle, Algorithm: keystore.ES256}},
	})
	if err != nil {
		return err
	}
	fmt.Printf("enrolled as %s with the key %q\n", agent.AgentID, agent.LocalKeyHandle)
	return nil
}
