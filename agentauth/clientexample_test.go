package agentauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// check is what a program would do better: say what is wrong and stop.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// exampleHost is a server of this process at https://NAME.
func exampleHost(name string) keywright.Host {
	u, err := url.Parse("https://" + name)
	check(err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u})
	check(err)
	return host
}

// exampleProvider is an agent provider at https://ap.example that has a page for
// its agents. Its clients reach it without a network.
func exampleProvider() local {
	host := exampleHost("ap.example")
	keys, err := agentauth.NewSigningKeys(host, new(keystore.Memory), "")
	check(err)
	check(keys.Sync(context.Background()))
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: host, Keys: keys, Admission: agentauth.AdmitAnybody})
	check(err)
	verifier, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: host, Providers: []*agentauth.Provider{provider}})
	check(err)
	mux := http.NewServeMux()
	provider.Register(mux, "")
	page := func(w http.ResponseWriter, r *http.Request) {
		caller, _ := keywright.FromContext(r.Context())
		fmt.Fprintf(w, "%s, by scheme %s", caller.Subject, caller.Attrs[agentauth.AttrScheme])
	}
	mux.Handle("GET /hello", verifier.Require(agentauth.Policy{
		Schemes: []agentauth.Scheme{agentauth.SchemeJWT, agentauth.SchemeHWK, agentauth.SchemeJWKS},
	})(http.HandlerFunc(page)))
	return local{"ap.example": mux}
}

// say prints what a server answers.
func say(client *http.Client, target string) {
	resp, err := client.Get(target)
	check(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	check(err)
	fmt.Println(resp.StatusCode, string(text))
}

// Enrolment is run once for each installation: by a setup script, a pipeline, an
// installer. The key is made inside the key store, and the application needs to
// know its handle alone.
func ExampleEnroll() {
	servers := exampleProvider()
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(dir)
	// Without a Path keys are in ~/.keywright/keys.
	keys, err := keystore.NewDir(keystore.DirConfig{Path: dir, Passphrase: func(context.Context) ([]byte, error) {
		return []byte("correct horse battery staple"), nil // from a file, say
	}})
	check(err)

	enrollment, err := agentauth.Enroll(context.Background(), agentauth.EnrollConfig{
		Provider:     "https://ap.example",
		AgentID:      "aauth:myapp@ap.example",
		PersonServer: "https://ps.example",
		Keys:         keys,
		HTTP:         &http.Client{Transport: servers}, // nil, outside of examples
	})
	check(err)
	fmt.Println("enrolled:", enrollment.AgentID)
	fmt.Println("a handle for the configuration:", enrollment.LocalKeyHandle != "")
	// Output:
	// enrolled: aauth:myapp@ap.example
	// a handle for the configuration: true
}

// Where the enrolment endpoint is known, the provider's metadata are not asked for.
// The result has all that a program may want to keep.
func ExampleEnroll_endpoint() {
	servers := exampleProvider()
	result, err := agentauth.Enroll(context.Background(), agentauth.EnrollConfig{
		Endpoint: "https://ap.example/enrol",
		AgentID:  "aauth:myapp@ap.example",
		Keys:     new(keystore.Memory), // or a Dir, an HSM, a KMS
		HTTP:     &http.Client{Transport: servers},
	})
	check(err)
	fmt.Println("an agent token:", result.AgentToken != "")
	fmt.Println("the kid is the key's thumbprint here:", len(result.AgentTokenKid) == 43)
	fmt.Println("the key is published at", result.JWKSURL)
	// Output:
	// an agent token: true
	// the kid is the key's thumbprint here: true
	// the key is published at https://ap.example/agents/aauth:myapp@ap.example/jwks.json
}

// enrolled is a key store with an agent's key, as an application finds it when it
// starts.
func enrolled(servers local) (keys keystore.KeyStore, handle string, e agentauth.Enrollment) {
	keys = new(keystore.Memory)
	e, err := agentauth.Enroll(context.Background(), agentauth.EnrollConfig{
		Provider: "https://ap.example", AgentID: "aauth:myapp@ap.example", Keys: keys, HTTP: &http.Client{Transport: servers},
	})
	check(err)
	return keys, e.LocalKeyHandle, e
}

// An application loads its key by the handle in its configuration and signs its
// requests. It gets its tokens when they are needed.
func ExampleNewEnrolled() {
	servers := exampleProvider()
	keys, handle, _ := enrolled(servers)

	key, err := keys.Load(context.Background(), handle)
	if errors.Is(err, keystore.ErrKeyNotFound) {
		panic(fmt.Errorf("key %q not found: run enrolment", handle))
	}
	check(err)
	agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{
		Key:      key,
		Endpoint: "https://ap.example/refresh", // or Provider, which says where that is
		HTTP:     &http.Client{Transport: servers},
	})
	check(err)
	person, err := agentauth.NewPersonServer(agentauth.PersonServerConfig{ID: "https://ps.example"})
	check(err)
	transport, err := agentauth.NewTransport(agentauth.TransportConfig{
		Identity: agent,
		Origins:  []string{"https://ap.example"}, // that get signed requests
		Person:   person,                         // gets what resources ask for beyond agent tokens
		Next:     servers,
	})
	check(err)
	client := &http.Client{Transport: transport}
	say(client, "https://ap.example/hello")
	// Output: 200 aauth:myapp@ap.example, by scheme jwt
}

// With two keys the enrolled one signs refreshes alone. Requests are signed by
// another, which is made anew for each token.
func ExampleNewEnrolled_twoKeys() {
	servers := exampleProvider()
	keys, handle, _ := enrolled(servers)
	key, err := keys.Load(context.Background(), handle)
	check(err)

	agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{
		Key: key, Provider: "https://ap.example", TwoKeys: true, HTTP: &http.Client{Transport: servers},
	})
	check(err)
	transport, err := agentauth.NewTransport(agentauth.TransportConfig{Identity: agent, Origins: []string{"https://ap.example"}, Next: servers})
	check(err)
	say(&http.Client{Transport: transport}, "https://ap.example/hello")
	// Output: 200 aauth:myapp@ap.example, by scheme jwt
}

// A key needs no token where a server takes it as a pseudonym, or finds it where the
// provider publishes the agent's key.
func ExampleFixedIdentity() {
	servers := exampleProvider()
	_, _, e := enrolled(servers)
	for _, as := range []agentauth.SignOptions{
		{},
		{URL: e.JWKSURL, KeyID: e.AgentTokenKid},
	} {
		identity, err := agentauth.FixedIdentity(e.Key, as)
		check(err)
		transport, err := agentauth.NewTransport(agentauth.TransportConfig{Identity: identity, Origins: []string{"https://ap.example"}, Next: servers})
		check(err)
		say(&http.Client{Transport: transport}, "https://ap.example/hello")
	}
	// Output:
	// 200 aauth:myapp@ap.example, by scheme hwk
	// 200 aauth:myapp@ap.example, by scheme jwks
}

// A service with an address of its own needs no provider: it publishes its keys and
// makes its tokens itself.
func ExampleNewSelfIssuer() {
	host := exampleHost("my-service.example")
	keys, err := agentauth.NewSigningKeys(host, new(keystore.Memory), "")
	check(err)
	check(keys.Sync(context.Background()))
	service, err := agentauth.NewSelfIssuer(agentauth.SelfIssuerConfig{
		Host: host, Keys: keys, Agent: "my-service", PersonServer: "https://ps.example",
	})
	check(err)
	mux := http.NewServeMux()
	service.Register(mux) // where others find the keys

	transport, err := agentauth.NewTransport(agentauth.TransportConfig{
		Identity: service,
		Origins:  []string{"https://resource.example"},
		Next:     local{"resource.example": http.HandlerFunc(showSigner)},
	})
	check(err)
	fmt.Println(service.AgentID())
	say(&http.Client{Transport: transport}, "https://resource.example/data")
	// Output:
	// aauth:my-service@my-service.example
	// 200 signed
}

// showSigner is any server.
func showSigner(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Signature-Key") != "" {
		fmt.Fprint(w, "signed")
	}
}
