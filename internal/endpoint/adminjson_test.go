package endpoint_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/endpoint"
)

// TestAdminJSON: JSON of any declared type is read where no page of another site
// can have made a browser send it.
func TestAdminJSON(t *testing.T) {
	type request struct {
		A int `json:"a"`
	}
	for _, tt := range []struct {
		name, field, value, media, body string
		a                               int // -1: refused
		optional                        bool
	}{
		{"declared", "Cookie", "s=1", "application/json", `{"a":1}`, 1, false},
		{"as a form", "Cookie", "s=1", "text/plain", `{"a":1}`, -1, false},
		{"as a form, with a password", "Authorization", "Basic eDp5", "text/plain", `{"a":1}`, -1, false},
		{"as a form, with a key", "Authorization", "Bearer k", "text/plain", `{"a":1}`, 1, false},
		{"as a form, with a key of Connect", "Authorization", "Key k", "text/plain", `{"a":1}`, 1, false},
		{"as a form, with a CSRF token", "X-CSRF-Token", "t", "text/plain", `{"a":1}`, 1, false},
		{"nothing", "Authorization", "Bearer k", "application/json", "", -1, false},
		{"nothing, which will do", "Cookie", "s=1", "", "", 0, true},
		{"something", "Cookie", "s=1", "application/json", `{"a":1}`, 1, true},
		{"something as a form", "Cookie", "s=1", "text/plain", `{"a":1}`, -1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			r.Header.Set(tt.field, tt.value)
			r.Header.Set("Content-Type", tt.media)
			read := endpoint.AdminJSON[request]
			if tt.optional {
				read = endpoint.OptionalJSON[request]
			}
			switch req, err := read(r); {
			case tt.a < 0 && err == nil, tt.a >= 0 && err != nil:
				t.Errorf("got %v", err)
			case err == nil && req.A != tt.a:
				t.Errorf("got %d, want %d", req.A, tt.a)
			}
		})
	}
}
