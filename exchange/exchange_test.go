package exchange_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
)

// The whole way: metadata, exchange, a request with the key, and its end.
func TestExchange(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	a := w.post(w.issuer.GitHub(nil))
	want := map[string]any{
		"access_token": a.key(), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		"token_type": "Bearer", "expires_in": 900.0, "scope": "deploy read",
	}
	if diff := cmp.Diff(want, a.fields); a.status != 200 || a.key() == "" || diff != "" {
		t.Fatalf("got %d (-want +got):\n%s", a.status, diff)
	}
	me := w.send("GET", "/whoami", "Key "+a.key(), nil)
	var got keywright.Principal
	if err := json.Unmarshal([]byte(me.body), &got); err != nil || me.status != 200 {
		t.Fatalf("whoami: %d %s", me.status, me.body)
	}
	if got.Method != keywright.MethodExchange || got.Subject != "deployer" || got.Issuer != w.url || got.Attrs["repository"] != "octo-org/octo-repo" || got.Attrs["publisher"] != "deploy" {
		t.Errorf("got %+v", got)
	}
	w.clock.Advance(15*time.Minute - 1)
	if me := w.send("GET", "/whoami", "Key "+a.key(), nil); me.status != 200 {
		t.Errorf("before its end: got %d", me.status)
	}
	w.clock.Advance(1)
	if me := w.send("GET", "/whoami", "Key "+a.key(), nil); me.status != 401 {
		t.Errorf("at its end: got %d, want 401", me.status)
	}
}
