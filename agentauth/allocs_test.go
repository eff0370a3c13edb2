package agentauth_test

import (
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// TestAllocations holds the target for a signed GET, which benchmarks show beside
// the raw verification: 60.
func TestAllocations(t *testing.T) {
	g := newGate(t, nil)
	a, err := g.verifier.Authenticator(only(agentauth.SchemeHWK))
	must(t, err)
	r := draft{key: seedKey("agent")}.request(t)
	n := testing.AllocsPerRun(100, func() {
		if _, err := a.Authenticate(r); err != nil {
			t.Fatal(err)
		}
	})
	if n > 60 {
		t.Errorf("%v allocations, at most 60", n)
	}
}
