package apptoken

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/keywright/keywright"
)

// A caller that the host's own middleware has admitted is none of ours.
func TestGuardedIsNotTheHosts(t *testing.T) {
	r := httptest.NewRequest("GET", TokensPath, nil)
	r = r.WithContext(keywright.NewContext(r.Context(), keywright.Principal{Subject: "root", Scopes: []string{"admin"}}))
	if p, err := (guarded{}).Authenticate(r); !errors.Is(err, keywright.ErrNoCredential) {
		t.Errorf("got %+v, %v", p, err)
	}
}
