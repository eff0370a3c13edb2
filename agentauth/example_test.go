package agentauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// Examples panic where a program would say what is wrong and stop.

// A server that is an agent provider and has a route for agents; and an agent that
// enrols and calls it.
func Example() {
	external, _ := url.Parse("https://agents.example")
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, URL: external})
	if err != nil {
		panic(err)
	}
	keys, err := agentauth.NewSigningKeys(host, &keystore.Memory{}, "") // or keystore.NewDir(...)
	if err != nil {
		panic(err)
	}
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{
		Host: host, Keys: keys,
		Admission: agentauth.AdmitAnybody, // for development: see the other admissions
	})
	if err != nil {
		panic(err)
	}
	if err := keys.Sync(context.Background()); err != nil {
		panic(err)
	}
	verifier, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: host, Providers: []*agentauth.Provider{provider}})
	if err != nil {
		panic(err)
	}

	mux := http.NewServeMux()
	provider.Register(mux, "")
	mux.Handle("GET /whoami", verifier.Require(agentauth.Policy{})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := keywright.FromContext(r.Context())
		fmt.Fprint(w, caller.Subject)
	})))

	agentKey := ed25519.NewKeyFromSeed(make([]byte, 32)) // or a keystore's
	answer := call(mux, "POST", "/enrol", `{"agent_id":"aauth:planner@agents.example"}`, agentKey, agentauth.SignOptions{})
	var enrolled struct {
		Token string `json:"agent_token"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &enrolled); err != nil {
		panic(err)
	}
	answer = call(mux, "GET", "/whoami", "", agentKey, agentauth.SignOptions{Token: enrolled.Token})
	fmt.Println(answer.Code, answer.Body)
	// Output: 200 aauth:planner@agents.example
}

// A host's unit test makes a signed request in one line.
func ExampleSignRequest() {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	r := httptest.NewRequest("GET", "https://agents.example/data", nil)
	if err := agentauth.SignRequest(r, key, agentauth.SignOptions{}); err != nil {
		panic(err)
	}
	fmt.Println(strings.Split(r.Header.Get("Signature-Input"), ";")[0])
	// Output: sig=("@method" "@authority" "@path" "signature-key")
}

// call signs a request and sends it.
func call(h http.Handler, method, path, body string, key ed25519.PrivateKey, o agentauth.SignOptions) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://agents.example"+path, strings.NewReader(body))
	r.RequestURI = path
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if err := agentauth.SignRequest(r, key, o); err != nil {
		panic(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
