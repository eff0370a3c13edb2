package apptoken_test

import (
	"net/http/httptest"
	"testing"

	"github.com/keywright/keywright"
)

// A caller that the host's own middleware has admitted is none of ours.
func TestCallersOfTheHostsMiddleware(t *testing.T) {
	w := newWorld(t)
	for _, route := range w.Routes() {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r := httptest.NewRequest(method, tokensPath, nil)
			r = r.WithContext(keywright.NewContext(r.Context(), root))
			rec := httptest.NewRecorder()
			if route.Handler.ServeHTTP(rec, r); rec.Code != 401 && rec.Code != 405 {
				t.Errorf("%s %s: got %d %s", method, route.Pattern, rec.Code, rec.Body)
			}
		}
	}
}
