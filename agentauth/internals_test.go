package agentauth

import "github.com/keywright/keywright/internal/egress"

// Publish makes v know the keys of an issuer as if it had fetched them: vectors
// name servers that tests cannot be.
func (v *Verifier) Publish(issuer string, role Role, jwks []byte) error {
	set, err := egress.StaticKeySet(jwks)
	if err != nil {
		return err
	}
	_, err = v.issuers.servers.Get(issuer+" "+string(role), func() *egress.KeySet { return set })
	return err
}

// Remembered is how many tokens v knows.
func (v *Verifier) Remembered() int {
	v.tokens.mu.RLock()
	defer v.tokens.mu.RUnlock()
	return len(v.tokens.tokens)
}

// RememberAtMost bounds the tokens that v knows.
func (v *Verifier) RememberAtMost(max int) { v.tokens.max = max }

// KeepAtMost bounds the servers, and the URLs, whose keys v keeps.
func (v *Verifier) KeepAtMost(max int) {
	v.issuers.servers, v.issuers.urls = egress.NewPool(v.issuers.now, max), egress.NewPool(v.issuers.now, max)
}
