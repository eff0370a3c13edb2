package agentauth_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

func TestAgentEnrolsRefreshesAndIsKnown(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	token := w.enroll(key, `{"agent_id":"aauth:myapp@ap.example","ps":"https://ps.example"}`)
	a := w.do(w.sign(w.request("GET", "/whoami", ""), key, agentauth.SignOptions{Token: token}))
	if p := a.json(t); a.status != 200 || p["Subject"] != "aauth:myapp@ap.example" || p["Issuer"] != issuer {
		t.Fatalf("whoami: %d %s %v", a.status, a.body, a.header)
	}
	w.clock.advance(time.Second)
	a = w.do(w.sign(w.request("POST", "/refresh", "{}"), key, agentauth.SignOptions{}))
	if a.status != 200 {
		t.Fatalf("refresh: %d %s %v", a.status, a.body, a.header)
	}
	fresh := newP256(t)
	a = w.do(w.sign(w.request("POST", "/refresh", "{}"), fresh, agentauth.SignOptions{Durable: key}))
	if a.status != 200 {
		t.Fatalf("refresh by two keys: %d %s %v", a.status, a.body, a.header)
	}
	token = a.json(t)["agent_token"].(string)
	a = w.do(w.sign(w.request("GET", "/whoami", ""), fresh, agentauth.SignOptions{Token: token}))
	if a.status != 200 {
		t.Fatalf("whoami: %d %s %v", a.status, a.body, a.header)
	}
	a = w.do(w.request("GET", "/whoami", ""))
	t.Log(a.status, a.body, a.header)
	a = w.do(w.sign(w.request("POST", "/enrol", `{"agent_id":"aauth:myapp@ap.example"}`), newEd25519(t), agentauth.SignOptions{}))
	t.Log(a.status, a.body, a.header)
}
