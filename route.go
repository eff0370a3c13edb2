package keywright

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// A Route is one endpoint of a mechanism, for routers other than ServeMux.
// Handler refuses wrong methods itself, so mount it for all of them; it expects
// URL.Path unchanged and does not care under which prefix.
type Route struct {
	Pattern string // a path beginning with "/"; a segment "{name}" stands for any one segment
	Handler http.Handler
}

// Register mounts routes on mux, below prefix: "" or a path such as "/connect",
// with or without slashes at its ends.
func Register(mux *http.ServeMux, prefix string, routes ...Route) {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix = "/" + prefix // without it, ServeMux would take it for a host
	}
	for _, r := range routes {
		mux.Handle(prefix+r.Pattern, r.Handler)
	}
}

// NoRedirect wraps a router that corrects slashes by redirecting, as ServeMux
// and gin do, since machine clients answer any redirect of a POST with a GET.
// Repeated slashes in the path count as one; where the router would still
// answer a request other than GET or HEAD with 301, 307 or 308 to another
// spelling of its own path, the answer is 404. All other redirects pass.
func NoRedirect(router http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A path with unusual escapes (RawPath set) is left to the router: what
		// an escaped slash means is the host's to say.
		if r.URL.RawPath == "" && strings.Contains(r.URL.Path, "//") {
			r = withPath(r, collapse(r.URL.Path))
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			// gin changes r.URL when it redirects, so the paths are kept apart.
			w = &slashGuard{ResponseWriter: w, r: r, path: r.URL.Path, escaped: r.URL.EscapedPath()}
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
	r             *http.Request
	path, escaped string // of r, as the router got it
	dropped       bool
}

func (g *slashGuard) WriteHeader(status int) {
	switch {
	case g.dropped:
	case permanentOrSameMethod(status) && g.isOwnPath(g.Header().Get("Location")):
		g.dropped = true
		g.Header().Del("Location")
		http.Error(g.ResponseWriter, "404 page not found", http.StatusNotFound)
	default:
		g.ResponseWriter.WriteHeader(status)
	}
}

// permanentOrSameMethod reports whether a router may correct a path with
// status. 302 and 303 are what handlers answer to a form.
func permanentOrSameMethod(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func (g *slashGuard) isOwnPath(location string) bool {
	u, err := url.Parse(location)
	if err != nil || u.Host != "" && u.Host != g.r.Host || !strings.HasPrefix(u.Path, "/") {
		return false
	}
	// ServeMux escapes the escaped path again when it cleans it.
	return respells(g.path, u.Path) || respells(g.escaped, u.Path)
}

// respells reports whether to is from with other slashes, dot segments or
// case. A prefix may come or go: gin adds that of a proxy (X-Forwarded-Prefix),
// and a router below another drops that of its mount. A path that differs in
// nothing but its prefix is another place, and a handler's own redirect.
func respells(from, to string) bool {
	clean := path.Clean(from)
	if (from == clean || from == clean+"/") && endAlike(from, to) {
		return false
	}
	return endAlike(strings.ToLower(clean), strings.ToLower(path.Clean(to)))
}

func endAlike(a, b string) bool { return strings.HasSuffix(a, b) || strings.HasSuffix(b, a) }

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

// CloseNotify is for gin's Context.Stream, which asks for an
// http.CloseNotifier. The request's context says the same.
func (g *slashGuard) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(g.r.Context(), func() { gone <- true })
	return gone
}

// Unwrap gives http.ResponseController the rest.
func (g *slashGuard) Unwrap() http.ResponseWriter { return g.ResponseWriter }
