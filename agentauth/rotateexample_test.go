package agentauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// Each step may be repeated, and the next one is taken once it has succeeded. What a
// program keeps between its runs is the handle alone.
func ExampleRotateKey() {
	ctx := context.Background()
	servers, keys := rotatingProvider(), new(keystore.Memory)
	client := &http.Client{Transport: servers}
	first, err := agentauth.Enroll(ctx, agentauth.EnrollConfig{
		Provider: "https://ap.example", AgentID: "aauth:planner@ap.example", Keys: keys, HTTP: client,
	})
	stop(err)

	// 1. The provider publishes the next key, beside that which the agent has.
	next, err := agentauth.RotateKey(ctx, agentauth.RotateConfig{
		Provider: "https://ap.example", Keys: keys, Handle: first.LocalKeyHandle, HTTP: client,
	})
	stop(err)
	// 2. Save next.LocalKeyHandle. 3. Where the agent is known by its published key,
	// wait for agentauth.PublishedFor.

	// 4. The first refresh switches: the agent has the next key.
	agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{Key: next.Key, Provider: "https://ap.example", HTTP: client})
	stop(err)
	_, err = agent.Credential(ctx)
	stop(err)
	// 5. The old one is of no use any more.
	stop(keys.Delete(ctx, first.LocalKeyHandle))

	fmt.Println(next.AgentID, next.LocalKeyHandle != first.LocalKeyHandle)
	// Output: aauth:planner@ap.example true
}

// rotatingProvider is an agent provider of this process.
func rotatingProvider() local {
	u, err := url.Parse("https://ap.example")
	stop(err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u})
	stop(err)
	keys, err := agentauth.NewSigningKeys(host, new(keystore.Memory), "")
	stop(err)
	stop(keys.Sync(context.Background()))
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: host, Keys: keys, Admission: agentauth.AdmitAnybody})
	stop(err)
	mux := http.NewServeMux()
	provider.Register(mux, "")
	return local{"ap.example": mux}
}

// stop is what a program would do better.
func stop(err error) {
	if err != nil {
		panic(err)
	}
}
