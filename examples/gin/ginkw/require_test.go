package ginkw

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keywright/keywright"
)

func TestRequire(t *testing.T) {
	key := authenticator(func(r *http.Request) (keywright.Principal, error) {
		if r.Header.Get("X-Key") == "" {
			return keywright.Principal{}, keywright.ErrNoCredential
		}
		return keywright.Principal{Subject: r.Header.Get("X-Key"), Scopes: []string{"read"}}, nil
	})
	engine := gin.New()
	g := engine.Group("/", Require(key))
	g.GET("/read", Wrap(keywright.RequireScope("read")), func(c *gin.Context) {
		p, _ := keywright.FromContext(c.Request.Context())
		c.String(http.StatusOK, p.Subject)
	})
	g.GET("/write", Wrap(keywright.RequireScope("write")), func(c *gin.Context) { c.String(http.StatusOK, "written") })
	tests := []struct {
		name, path, key string
		status          int
		body            string
	}{
		{"admitted", "/read", "sdr-1", 200, "sdr-1"},
		{"no key", "/read", "", 401, ""},
		{"no scope", "/write", "sdr-1", 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", tt.path, nil)
			r.Header.Set("X-Key", tt.key)
			w := httptest.NewRecorder()
			engine.ServeHTTP(w, r)
			if w.Code != tt.status || tt.body != "" && w.Body.String() != tt.body {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
}

type authenticator func(r *http.Request) (keywright.Principal, error)

func (a authenticator) Authenticate(r *http.Request) (keywright.Principal, error) { return a(r) }
