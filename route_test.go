package keywright_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/keywright/keywright"
)

func TestRegister(t *testing.T) {
	route := keywright.Route{Pattern: "/a/b", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Method+" "+r.URL.Path)
	})}
	for prefix, path := range map[string]string{"": "/a/b", "/": "/a/b", "/connect": "/connect/a/b", "/connect/": "/connect/a/b", "connect": "/connect/a/b", "a.b/c/": "/a.b/c/a/b"} {
		mux := http.NewServeMux()
		keywright.Register(mux, prefix, route)
		for _, method := range []string{"POST", "GET"} { // the handler itself refuses methods
			w := httptest.NewRecorder()
			mux.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if want := method + " " + path; w.Code != 200 || w.Body.String() != want {
				t.Errorf("prefix %q: got %d %q, want %q", prefix, w.Code, w.Body, want)
			}
		}
	}
}

func TestNoRedirect(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/a", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.URL.Path) })
	mux.HandleFunc("/dir/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "dir "+r.URL.Path) })
	mux.HandleFunc("/elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/a", http.StatusSeeOther) })
	mux.HandleFunc("/abroad", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "//other.example/abroad", http.StatusTemporaryRedirect)
	})
	url := serve(t, keywright.NoRedirect(mux))
	for _, tt := range []struct {
		name, method, path string
		status             int
		body, location     string
	}{
		{"plain", "POST", "/a", 200, "POST /a", ""},
		{"two slashes", "POST", "//a", 200, "POST /a", ""},
		{"many slashes", "POST", "////a", 200, "POST /a", ""},
		{"two slashes, GET", "GET", "//a", 200, "GET /a", ""},
		{"slashes within", "PUT", "/dir//x", 200, "dir /dir/x", ""},
		{"dots", "POST", "/dir/../a", 404, "404 page not found\n", ""},
		{"no slash at the end", "POST", "/dir", 404, "404 page not found\n", ""},
		{"no slash at the end, GET", "GET", "/dir", 307, "<a href=\"/dir/\">Temporary Redirect</a>.\n\n", "/dir/"},
		{"a redirect of the host's own", "POST", "/elsewhere", 303, "", "/a"},
		{"to the same path abroad", "POST", "/abroad", 307, "", "//other.example/abroad"},
		{"unknown", "POST", "//b", 404, "404 page not found\n", ""},
	} {
		got := ask(t, tt.method, url+tt.path)
		if got.Status != tt.status || got.Body != tt.body || got.Header.Get("Location") != tt.location {
			t.Errorf("%s: got %d %q to %q, want %d %q to %q", tt.name, got.Status, got.Body, got.Header.Get("Location"), tt.status, tt.body, tt.location)
		}
	}
}

// The caller's request is not ours to change.
func TestNoRedirectLeavesTheRequestAlone(t *testing.T) {
	r := httptest.NewRequest("POST", "http://h//a", nil)
	keywright.NoRedirect(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
	if r.URL.Path != "//a" {
		t.Errorf("the path has become %q", r.URL.Path)
	}
}

func TestNoRedirectKeepsStreaming(t *testing.T) {
	flushed := false
	h := keywright.NoRedirect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a")
		f, ok := w.(http.Flusher)
		if !ok {
			t.Error("no http.Flusher")
			return
		}
		f.Flush()
		flushed = http.NewResponseController(w).Flush() == nil
	}))
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, httptest.NewRequest("POST", "/", nil)); !flushed || !w.Flushed {
		t.Error("nothing was flushed")
	}
}
