package agentauth_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// anotherProvider is a second one of the world's host, on the same store.
func (w *world) anotherProvider(issuer string) *agentauth.Provider {
	w.t.Helper()
	keys, err := agentauth.NewSigningKeys(w.host, new(keystore.Memory), issuer)
	must(w.t, err)
	must(w.t, keys.Sync(w.t.Context()))
	p, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Issuer: issuer, Keys: keys, Admission: agentauth.AdmitAnybody})
	must(w.t, err)
	return p
}

// TestAnotherProviderRevokesNothing: a provider tells nobody of the tokens of
// another, nor forgets them.
func TestAnotherProviderRevokesNothing(t *testing.T) {
	w, s, ps := newRevocation(t)
	other := w.anotherProvider("https://other.example")
	w.enrollAt(s, newEd25519(t), `{"agent_id":"aauth:x@127.0.0.1","ps":"`+ps.url+`"}`)
	wantCode(t, other.RevokeTokens(t.Context(), principal("admin"), "aauth:x@127.0.0.1"), keywright.CodeNotFound, "")
	if len(ps.revoked) != 0 || len(w.live()) != 1 || w.count(agentauth.KindRevoked) != 0 {
		t.Errorf("revoked %v, left %v", ps.revoked, w.live())
	}
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:x@127.0.0.1"))
	if len(ps.revoked) != 1 || len(w.live()) != 0 {
		t.Errorf("by its own provider: revoked %v, left %v", ps.revoked, w.live())
	}
}

// TestRevokedIsTheAgentAndNotTheKey: of a key that was one agent and is another now,
// the tokens of each are revoked by its own identifier.
func TestRevokedIsTheAgentAndNotTheKey(t *testing.T) {
	w, s, ps := newRevocation(t)
	key := newEd25519(t)
	jti := make(map[string]string)
	for _, name := range []string{"old", "new"} {
		token, _ := w.enrollAt(s, key, fmt.Sprintf(`{"agent_id":"aauth:%s@127.0.0.1","ps":"%s"}`, name, ps.url))
		_, claims := claimsOf(t, token)
		jti[name] = claims["jti"].(string)
		if name == "old" {
			must(t, w.provider.DeleteAgent(t.Context(), principal("admin"), "aauth:old@127.0.0.1"))
		}
		w.clock.advance(time.Second)
	}
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:old@127.0.0.1"))
	if _, ok := ps.revoked[jti["old"]]; !ok || len(ps.revoked) != 1 {
		t.Errorf("revoked %v, want that of the old agent, %s", ps.revoked, jti["old"])
	}
	must(t, w.provider.RevokeTokens(t.Context(), principal("admin"), "aauth:new@127.0.0.1"))
	if _, ok := ps.revoked[jti["new"]]; !ok || len(w.live()) != 0 {
		t.Errorf("revoked %v, want that of the new agent, %s, too", ps.revoked, jti["new"])
	}
}
