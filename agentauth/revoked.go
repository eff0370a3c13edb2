package agentauth

import (
	"context"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/store"
)

// KindRevoked is the store kind of tokens that their issuers have withdrawn. They
// stand until the tokens expire.
const KindRevoked = "agent.revoked"

func revokedKey(issuer, jti string) store.Key {
	return store.Key{Kind: KindRevoked, ID: store.ID(issuer, jti)}
}

// recall asks the store, once, whether the token of a request was withdrawn, and
// for the agent that has sent it. Agent tokens of others have no way to be
// withdrawn: their issuer tells the person server alone.
func (v *Verifier) recall(ctx context.Context, proof *proof, p policy) error {
	keys := make([]store.Key, 0, 2)
	if t := proof.token; t != nil && (t.typ != AgentToken || v.local(t.issuer) != nil) {
		keys = append(keys, t.revoked)
	}
	if jkt := p.enrolledAs(proof); jkt != "" {
		keys = append(keys, agent.Key(jkt))
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := v.host.Store.Get(ctx, keys...)
	if err != nil {
		return keywright.Wrap(keywright.CodeUnavailable, err)
	}
	for _, r := range records {
		switch {
		case r.Kind == agent.Kind:
			proof.agent = r
		case r.Exists():
			return refuse(keywright.CodeRevokedJWT, "", nil)
		}
	}
	return nil
}

// revocation marks a token as withdrawn, for as long as it could be shown.
func revocation(issuer, jti string, expires time.Time) store.Op {
	k := revokedKey(issuer, jti)
	return store.Put(store.Record{Kind: k.Kind, ID: k.ID, Expires: expires.Add(2 * maxExpSkew), Data: []byte("{}")})
}
