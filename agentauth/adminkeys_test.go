package agentauth_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// TestSigningKeysAreRotatedByHTTP: an operator needs no program for it.
func TestSigningKeysAreRotatedByHTTP(t *testing.T) {
	w, admin := newAdminWorld(t)
	key := newEd25519(t)
	secret := w.admin(admin, "POST", "/secrets", "{}").json(t)["secret"].(string)
	old := w.wantToken(w.enrollBy(key, "{}", "Bearer "+secret))
	list := func() []any { return w.admin(admin, "GET", "/signing-keys", "").json(t)["keys"].([]any) }
	first := list()[0].(map[string]any)
	if first["state"] != "active" || first["kid"] == "" || first["handle"] == "" || first["retired_at"] != nil {
		t.Fatalf("the first key: %v", first)
	}
	a := w.admin(admin, "POST", "/signing-keys", "")
	next, _ := a.json(t)["kid"].(string)
	if a.status != 201 || a.json(t)["activate_after"] != w.clock.Now().Add(agentauth.PublishedFor).UTC().Format(time.RFC3339) {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.wantText(w.admin(admin, "POST", "/signing-keys/"+next+"/activate", ""), 409, "conflict")
	w.clock.advance(agentauth.PublishedFor)
	if a := w.admin(admin, "POST", "/signing-keys/"+next+"/activate", ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if header, _ := claimsOf(t, w.wantToken(w.refresh(key, agentauth.SignOptions{}))); header["kid"] != next {
		t.Errorf("signed by %v", header["kid"])
	}
	if a := w.whoami(key, old); a.status != 200 {
		t.Errorf("a token of before: %d %s", a.status, a.body)
	}
	kid := first["kid"].(string)
	w.wantText(w.admin(admin, "POST", "/signing-keys/"+kid+"/retire", ""), 409, "conflict")
	if a := w.admin(admin, "POST", "/signing-keys/"+kid+"/withdraw", ""); a.status != 200 || len(list()) != 1 {
		t.Errorf("%d %s, %v", a.status, a.body, list())
	}
	w.wantError(w.whoami(key, old), 401, "unknown_key")

	w.wantText(w.admin(admin, "POST", "/signing-keys", `{"handle":"nowhere"}`), 404, "not_found")
	w.wantText(w.admin(admin, "POST", "/signing-keys", `{"name":"x"}`), 400, "invalid_request")
	w.wantText(w.admin(admin, "POST", "/signing-keys/"+next+"/forget", ""), 404, "not_found")
	w.wantText(w.admin(admin, "POST", "/signing-keys/unknown/retire", ""), 404, "not_found")
	if a := w.admin("", "GET", "/signing-keys", ""); a.status != 401 {
		t.Errorf("without a key: %d %s", a.status, a.body)
	}
	if a := w.admin(admin, "POST", "/signing-keys/"+next+"/activate-now", ""); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}
