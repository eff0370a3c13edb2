package mounttest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/keywright/keywright"
)

func ok(http.ResponseWriter, *http.Request) {}

// redirectTo sends every method elsewhere with status.
func redirectTo(location string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, location, status) }
}

func eagerServeMux() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/a/b", ok)
	mux.HandleFunc("/tree/", ok)
	mux.HandleFunc("/form", redirectTo("/form?done=1", http.StatusSeeOther))
	mux.HandleFunc("/login/", redirectTo("/login", http.StatusFound))
	mux.HandleFunc("/self", redirectTo("/self?page=2", http.StatusTemporaryRedirect))
	mux.HandleFunc("/v1/items", redirectTo("/items", http.StatusPermanentRedirect))
	mux.HandleFunc("/items", redirectTo("/v2/items", http.StatusPermanentRedirect))
	mux.HandleFunc("/away", redirectTo("https://other.example/away/", http.StatusTemporaryRedirect))
	mux.HandleFunc("/home/", redirectTo("/", http.StatusMovedPermanently))
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "http://"+r.Host+"/here/")
		w.WriteHeader(http.StatusPermanentRedirect)
	})
	return mux
}

func eagerGin() http.Handler {
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	engine.RedirectFixedPath = true
	engine.POST("/a/b", gin.WrapF(ok))
	engine.POST("/stream", func(c *gin.Context) {
		c.Stream(func(w io.Writer) bool {
			io.WriteString(w, "whole")
			return false
		})
	})
	return engine
}

func eagerChi() http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.RedirectSlashes)
	r.Post("/a/b", ok)
	return r
}

// mountedChi redirects to a path without the prefix it is mounted under.
func mountedChi() http.Handler {
	r := chi.NewRouter()
	r.Mount("/connect", eagerChi())
	return r
}

// Routers that were told to correct more than they do by default, and handlers
// that redirect for reasons of their own.
func TestNoRedirectOfRespelledPosts(t *testing.T) {
	tests := []struct {
		name, path, forwarded string
		status                int
		location              string
	}{
		{"ServeMux", "//a/%62", "", 404, ""},
		{"ServeMux", "//a%2Fb", "", 404, ""},
		{"ServeMux", "/x/../a/b", "", 404, ""},
		{"ServeMux", "/x/../a/b%25c", "", 404, ""},
		{"ServeMux", "/x/./a%20b", "", 404, ""},
		{"ServeMux", "/tree", "", 404, ""},
		{"ServeMux", "/tre%65", "", 404, ""},
		{"ServeMux", "/here", "", 404, ""},
		{"ServeMux", "/form", "", 303, "/form?done=1"},
		{"ServeMux", "/login/", "", 302, "/login"},
		{"ServeMux", "/self", "", 307, "/self?page=2"},
		{"ServeMux", "/v1/items", "", 308, "/items"},
		{"ServeMux", "/items", "", 308, "/v2/items"},
		{"ServeMux", "/away", "", 307, "https://other.example/away/"},
		{"ServeMux", "/home/", "", 301, "/"},
		{"gin", "/a/b/", "", 404, ""},
		{"gin", "/a/b/", "/proxy", 404, ""},
		{"gin", "/A/b", "", 404, ""},
		{"gin", "/x/../a/b", "", 404, ""},
		{"gin", "/a/%62/", "", 404, ""},
		{"gin", "/stream", "", 200, ""},
		{"chi", "/a/b/", "", 404, ""},
		{"chi", "/a/%62/", "", 404, ""},
		{"chi", "/a/b/?q=1", "", 404, ""},
		{"mounted chi", "/connect/a/b/", "", 404, ""},
	}
	eager := map[string]http.Handler{"ServeMux": eagerServeMux(), "gin": eagerGin(), "chi": eagerChi(), "mounted chi": mountedChi()}
	for _, tt := range tests {
		t.Run(tt.name+tt.forwarded+tt.path, func(t *testing.T) {
			srv := httptest.NewServer(keywright.NoRedirect(eager[tt.name]))
			defer srv.Close()
			req, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+tt.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if tt.forwarded != "" {
				req.Header.Set("X-Forwarded-Prefix", tt.forwarded)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if got := res.Header.Get("Location"); res.StatusCode != tt.status || got != tt.location {
				t.Errorf("got %d to %q, want %d to %q", res.StatusCode, got, tt.status, tt.location)
			}
		})
	}
}
