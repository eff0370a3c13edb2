package agentauth_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/jose"
)

// TestRefreshRefuses is sections 7.3 and 7.4, AGT-67 and AGT-68.
func TestRefreshRefuses(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, stranger := newEd25519(t), newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:victim@ap.example"}`)
	attacker := newEd25519(t)
	w.enroll(attacker, `{"agent_id":"aauth:attacker@ap.example"}`)

	w.clock.advance(time.Second)
	a := w.do(w.sign(w.request("POST", "/refresh", `{"agent_id":"aauth:victim@ap.example"}`), attacker, agentauth.SignOptions{}))
	if _, claims := claimsOf(t, w.wantToken(a)); claims["sub"] != "aauth:attacker@ap.example" {
		t.Errorf("the body chose the agent: %v", claims)
	}
	unknown := w.refresh(stranger, agentauth.SignOptions{})
	w.wantError(unknown, 403, "denied")

	ephemeral := newEd25519(t)
	w.wantToken(w.refresh(ephemeral, agentauth.SignOptions{Durable: key}))
	w.wantError(w.refresh(ephemeral, agentauth.SignOptions{}), 403, "denied")
	w.wantError(w.refresh(key, agentauth.SignOptions{Durable: ephemeral}), 403, "denied")
	w.wantError(w.refresh(ephemeral, agentauth.SignOptions{Durable: stranger}), 403, "denied")
	w.wantError(w.refresh(key, agentauth.SignOptions{Durable: key}), 401, "invalid_key")

	a = w.refresh(key, agentauth.SignOptions{Token: token})
	w.wantError(a, 401, "unsupported_scheme")
	if got := a.header.Get("Accept-Signature-Scheme"); got != "hwk, jkt-jwt" {
		t.Errorf("Accept-Signature-Scheme: %q", got)
	}
	a = w.do(w.request("POST", "/refresh", "{}"))
	w.wantError(a, 401, "invalid_signature")

	disabled := w.agentRecord(key)
	disabled.Disabled = true
	w.putAgent(key, disabled)
	w.clock.advance(time.Second)
	a = w.refresh(key, agentauth.SignOptions{})
	if a.body != unknown.body || !cmp.Equal(a.header, unknown.header) || a.status != unknown.status {
		t.Errorf("disabled: %d %s, unknown: %d %s", a.status, a.body, unknown.status, unknown.body)
	}
	w.wantError(w.tryEnroll(key, `{}`), 403, "denied")
	w.wantError(w.whoami(key, token), 403, "denied")
}

// naming makes a naming JWT of claims; nil takes a claim away.
func (w *world) naming(durable, ephemeral crypto.Signer, change map[string]any) string {
	w.t.Helper()
	now := w.clock.Now().Unix()
	claims := map[string]any{
		"iss": "urn:jkt:sha-256:" + thumbprint(w.t, durable), "iat": now, "exp": now + 300, "jti": fmt.Sprint("n", w.clock.Now().UnixNano()),
		"cnf": map[string]any{"jwk": json.RawMessage(jwkOf(w.t, ephemeral, "Ed25519"))},
	}
	for name, value := range change {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := jose.Sign(durable, jose.Header{Algorithm: "Ed25519", Type: "jkt-s256+jwt", SelfSigned: true}, claims)
	must(w.t, err)
	return text
}

// TestNamingIsUsedOnce is section 7.4: the rules for the naming JWT of a refresh.
func TestNamingIsUsedOnce(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key, ephemeral := newEd25519(t), newEd25519(t)
	w.enroll(key, `{}`)
	refresh := func(change map[string]any) answer {
		return w.do(w.withMember(w.request("POST", "/refresh", "{}"), ephemeral, `jkt-jwt;jwt="`+w.naming(key, ephemeral, change)+`"`))
	}
	once := map[string]any{"jti": "once"}
	w.wantToken(refresh(once))
	w.clock.advance(time.Second)
	w.wantError(refresh(once), 401, "invalid_jwt")
	w.wantError(refresh(map[string]any{"jti": nil}), 401, "invalid_jwt")
	w.wantError(refresh(map[string]any{"exp": w.clock.Now().Unix() + 12*60}), 401, "invalid_jwt")
	w.wantToken(refresh(map[string]any{"exp": w.clock.Now().Unix() + 11*60, "jti": "long"}))

	// A refusal burns nothing.
	stranger := newEd25519(t)
	refused := func() answer {
		return w.do(w.withMember(w.request("POST", "/refresh", "{}"), ephemeral, `jkt-jwt;jwt="`+w.naming(stranger, ephemeral, map[string]any{"jti": "kept"})+`"`))
	}
	w.clock.advance(time.Second)
	w.wantError(refused(), 403, "denied")
	w.enroll(stranger, `{}`)
	w.clock.advance(time.Second)
	w.wantToken(refused())
}
