package agentauth_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

func TestOnlySignedFieldsReachTheHandler(t *testing.T) {
	w := newWorld(t, worldConfig{})
	var got http.Header
	inner := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header })
	w.mux.Handle("/only", w.verifier.Require(agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK}, Pseudonyms: true})(agentauth.OnlySigned("x-kept")(inner)))
	r := w.request("GET", "/only", "")
	r.Header.Set("X-Covered", "a")
	r = w.sign(r, newEd25519(t), agentauth.SignOptions{Components: []string{"x-covered"}})
	r.Header.Set("X-User", "admin")
	r.Header.Set("X-Kept", "b")
	before := r.Header.Clone()
	if a := w.do(r); a.status != 200 {
		t.Fatalf("%d %s %v", a.status, a.body, a.header)
	}
	want := before.Clone()
	want.Del("X-User")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the handler's fields (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, r.Header); diff != "" {
		t.Errorf("the request was changed (-want +got):\n%s", diff)
	}
}
