package keywright

import (
	"bufio"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// A Route is one endpoint of a mechanism, for routers other than ServeMux.
// Handler answers other methods than Method itself, so mount it for all of
// them; it expects URL.Path unchanged and does not care under which prefix.
type Route struct {
	Method  string
	Pattern string // a path without wildcards, beginning with "/"
	Handler http.Handler
}

// Register mounts routes on mux, below prefix: "" or a path such as "/connect".
func Register(mux *http.ServeMux, prefix string, routes ...Route) {
	for _, r := range routes {
		mux.Handle(strings.TrimRight(prefix, "/")+r.Pattern, r.Handler)
	}
}

// NoRedirect wraps a router that corrects slashes by redirecting, as ServeMux
// and gin do, since machine clients answer any redirect of a POST with a GET.
// Repeated slashes in the path count as one; where the router would still
// redirect a request other than GET or HEAD to another spelling of its own
// path, the answer is 404. Redirects to anywhere else pass.
func NoRedirect(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A path with escaped slashes (RawPath set) is left to the router: what
		// those mean is the host's to say.
		if r.URL.RawPath == "" && strings.Contains(r.URL.Path, "//") {
			r = withPath(r, collapse(r.URL.Path))
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w = &slashGuard{ResponseWriter: w, path: path.Clean(r.URL.Path)}
		}
		router.ServeHTTP(w, r)
	})
}

func withPath(r *http.Request, p string) *http.Request {
	r2, u := *r, *r.URL
	u.Path = p
	r2.URL = &u
	return &r2
}

func collapse(p string) string {
	var b strings.Builder
	for i := range len(p) {
		if p[i] != '/' || i == 0 || p[i-1] != '/' {
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

// slashGuard turns a redirect to the request's own path into 404.
type slashGuard struct {
	http.ResponseWriter
	path    string
	dropped bool
}

func (g *slashGuard) WriteHeader(status int) {
	if g.dropped || status < 300 || status > 399 || !g.isOwnPath(g.Header().Get("Location")) {
		g.ResponseWriter.WriteHeader(status)
		return
	}
	g.dropped = true
	g.Header().Del("Location")
	http.Error(g.ResponseWriter, "404 page not found", http.StatusNotFound)
}

func (g *slashGuard) isOwnPath(location string) bool {
	u, err := url.Parse(location)
	return err == nil && u.Host == "" && strings.HasPrefix(u.Path, "/") && path.Clean(u.Path) == g.path
}

func (g *slashGuard) Write(b []byte) (int, error) {
	if g.dropped {
		return len(b), nil
	}
	return g.ResponseWriter.Write(b)
}

// Flush keeps streaming handlers working, which ask for an http.Flusher.
func (g *slashGuard) Flush() { http.NewResponseController(g.ResponseWriter).Flush() }

// Hijack is for routers that ask for an http.Hijacker.
func (g *slashGuard) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(g.ResponseWriter).Hijack()
}

// Unwrap gives http.ResponseController the rest.
func (g *slashGuard) Unwrap() http.ResponseWriter { return g.ResponseWriter }
