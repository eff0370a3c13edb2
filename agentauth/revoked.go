package agentauth

import (
	"context"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// KindRevoked is the store kind of tokens that their issuers have withdrawn. They
// stand until the tokens expire.
const KindRevoked = "agent.revoked"

func revokedKey(issuer, jti string) store.Key {
	return store.Key{Kind: KindRevoked, ID: store.ID(issuer, jti)}
}

// checkRevoked refuses tokens that were withdrawn. Agent tokens of others have
// no way to be: their issuer tells the person server alone.
func (v *Verifier) checkRevoked(ctx context.Context, proof *proof) error {
	t := proof.token
	if t == nil || t.typ == AgentToken && v.local(t.issuer) == nil {
		return nil
	}
	records, err := v.host.Store.Get(ctx, revokedKey(t.issuer, t.jti))
	switch {
	case err != nil:
		return keywright.Wrap(keywright.CodeUnavailable, err)
	case records[0].Exists():
		return refuse(keywright.CodeRevokedJWT, "", nil)
	}
	return nil
}

// revocation marks a token as withdrawn, for as long as it could be shown.
func revocation(issuer, jti string, expires time.Time) store.Op {
	k := revokedKey(issuer, jti)
	return store.Put(store.Record{Kind: k.Kind, ID: k.ID, Expires: expires.Add(2 * maxExpSkew), Data: []byte("{}")})
}
