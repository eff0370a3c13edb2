package agentauth

import (
	"context"
	"time"
)

// Grants are what an agent has got for the origins that it calls: tokens that stand
// in for its agent token there.
type grants struct {
	identity Identity
	person   *PersonServer // nil: none
	now      func() time.Time
}

func newGrants(identity Identity, person *PersonServer, now func() time.Time) *grants {
	return &grants{identity: identity, person: person, now: now}
}

// credential returns what to sign with for an origin: the highest token that there
// is for it.
func (g *grants) credential(ctx context.Context, origin string) (Credential, error) {
	return g.identity.Credential(ctx)
}

// answer gets what an origin requires of a request that was signed with used, and
// reports whether the request may be sent again.
func (g *grants) answer(ctx context.Context, origin string, need Requirement, used Credential) (bool, error) {
	return false, nil
}
