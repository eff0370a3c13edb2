package peerbench

import (
	"net/http"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// openKeywright is the verifier of this project, to the Principal that a handler
// reads.
func openKeywright(tb testing.TB, r *http.Request) func() error {
	tb.Helper()
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}})
	if err != nil {
		tb.Fatal(err)
	}
	v, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: host, Profile: agentauth.Profile{Authorities: []string{authority}, Window: window}})
	if err != nil {
		tb.Fatal(err)
	}
	a, err := v.Authenticator(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK}, Pseudonyms: true})
	if err != nil {
		tb.Fatal(err)
	}
	return func() error {
		_, err := a.Authenticate(r)
		return err
	}
}
