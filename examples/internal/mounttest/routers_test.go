package mounttest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/examples/chi/chikw"
	"github.com/keywright/keywright/examples/gin/ginkw"
	"github.com/keywright/keywright/store"
)

// An app is what every router mounts: the bootstrap endpoint, GET /whoami for
// holders of its key, GET /tree/ and a few POST handlers of the host's own.
type app struct {
	router string            // name of the one it is on
	routes []keywright.Route // below the prefix
	root   []keywright.Route // at the root, whatever the prefix
	keys   keywright.Authenticator
	secret string
	stream chan struct{} // closed: the second half of POST /stream may follow
}

func newApp(t *testing.T, disabled bool) *app {
	t.Helper()
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, Kinds: map[string]string{"admin": "kw_admin"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Keys.Flush(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	secret := bootstrap.NewSecret()
	boot, err := bootstrap.New(bootstrap.Config{
		Host: host, Secret: secret, Key: bootstrap.AdminKey{Scopes: []string{"admin"}}, Disabled: disabled,
	})
	if err != nil {
		t.Fatal(err)
	}
	return &app{routes: boot.Routes(), keys: host.Keys.Of("admin"), secret: secret, stream: make(chan struct{})}
}

// posts are the host's own handlers of POST requests.
func (a *app) posts() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"/stream": a.serveStream,
		"/moved": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"/abort": func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("half of "))
			panic(http.ErrAbortHandler)
		},
	}
}

func (a *app) serveStream(w http.ResponseWriter, r *http.Request) {
	w.Write([]byte("first\n"))
	http.NewResponseController(w).Flush()
	select {
	case <-a.stream:
		w.Write([]byte("last\n"))
	case <-r.Context().Done():
	}
}

// whoami answers with the subject that the router's handler found.
func whoami(w http.ResponseWriter, r *http.Request) {
	p, ok := keywright.FromContext(r.Context())
	json.NewEncoder(w).Encode(map[string]any{"ok": ok, "subject": p.Subject})
}

func tree(http.ResponseWriter, *http.Request) {}

// A router mounts a below prefix: "" or "/connect".
type router struct {
	name string
	new  func(prefix string, a *app) http.Handler
}

var routers = []router{{"ServeMux", onServeMux}, {"chi", onChi}, {"gin", onGin}}

func onServeMux(prefix string, a *app) http.Handler {
	mux := http.NewServeMux()
	keywright.Register(mux, prefix, a.routes...)
	keywright.Register(mux, "", a.root...)
	mux.Handle("GET "+prefix+"/whoami", keywright.Require(a.keys)(http.HandlerFunc(whoami)))
	mux.HandleFunc("GET "+prefix+"/tree/", tree)
	for pattern, h := range a.posts() {
		mux.Handle("POST "+prefix+pattern, h)
	}
	return mux
}

func onChi(prefix string, a *app) http.Handler {
	mount := func(r chi.Router) {
		chikw.Mount(r, a.routes...)
		r.With(keywright.Require(a.keys)).Get("/whoami", whoami)
		// chi redirects nothing by itself, so the host does.
		r.Get("/tree", http.RedirectHandler(prefix+"/tree/", http.StatusMovedPermanently).ServeHTTP)
		for pattern, h := range a.posts() {
			r.Post(pattern, h)
		}
	}
	r := chi.NewRouter()
	chikw.Mount(r, a.root...)
	if prefix == "" {
		mount(r)
	} else {
		r.Route(prefix, mount)
	}
	return r
}

func onGin(prefix string, a *app) http.Handler {
	gin.SetMode(gin.TestMode)
	engine := gin.New()
	ginkw.Mount(engine, a.root...)
	g := engine.Group(prefix)
	ginkw.Mount(g, a.routes...)
	g.GET("/whoami", ginkw.Require(a.keys), func(c *gin.Context) { whoami(c.Writer, c.Request) })
	g.GET("/tree/", gin.WrapF(tree))
	through := ginkw.Wrap(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) })
	})
	for pattern, h := range a.posts() {
		g.POST(pattern, through, gin.WrapF(h))
	}
	return engine
}

// forEach runs check against a fresh server for every router and prefix. base
// is the server's URL with the prefix.
func forEach(t *testing.T, disabled bool, check func(t *testing.T, a *app, base string)) {
	for _, r := range routers {
		for _, prefix := range []string{"", "/connect"} {
			t.Run(r.name+prefix, func(t *testing.T) {
				a := newApp(t, disabled)
				a.router = r.name
				srv := httptest.NewServer(keywright.NoRedirect(r.new(prefix, a)))
				defer srv.Close()
				check(t, a, srv.URL+prefix)
			})
		}
	}
}
