// Command agents is an agent provider with a /hello that wants a signature of one
// of its agents. It is for development: it admits anybody, speaks http on this
// machine and keeps everything in memory.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	external := flag.String("url", "http://127.0.0.1:8080", "external URL of this server")
	flag.Parse()
	handler, err := newHandler(*external, &store.Memory{}, agentauth.ProviderLimits{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf(`Make a key, enrol it and say hello:

  openssl genpkey -algorithm ed25519 -out key.pem
  go run ./examples/interop/httpsign -body '{}' %[1]s/enrol | tee /dev/stderr | sed -n 's/.*"agent_token":"\([^"]*\).*/\1/p' > agent.token
  go run ./examples/interop/httpsign -token agent.token %[1]s/hello
`, *external)
	srv := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}

func newHandler(external string, st store.Store, limits agentauth.ProviderLimits) (http.Handler, error) {
	base, err := url.Parse(external)
	if err != nil {
		return nil, err
	}
	host, err := keywright.NewHost(keywright.HostConfig{Store: st, URL: base, Kinds: map[string]string{"admin": "kw_admin"}})
	if err != nil {
		return nil, err
	}
	keys, err := agentauth.NewSigningKeys(host, new(keystore.Memory), "")
	if err != nil {
		return nil, err
	}
	if err := keys.Sync(context.Background()); err != nil {
		return nil, err
	}
	development := agentauth.Network{Development: true}
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{
		Host: host, Keys: keys, Admission: agentauth.AdmitAnybody, Limits: limits, Profile: agentauth.Profile{Network: development},
	})
	if err != nil {
		return nil, err
	}
	verifier, err := agentauth.NewVerifier(agentauth.VerifierConfig{
		Host: host, Providers: []*agentauth.Provider{provider}, Profile: agentauth.Profile{Network: development},
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	provider.Register(mux, "")
	signed := verifier.Require(agentauth.Policy{})
	mux.Handle("GET /hello", signed(http.HandlerFunc(hello)))
	return keywright.NoRedirect(mux), nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	fmt.Fprintf(w, "hello %s\n", p.Subject)
}
