// Package ginkw mounts keywright's endpoints and middleware on a gin router.
//
//	engine := gin.New()
//	ginkw.Mount(engine, boot.Routes()...)
//	admin := engine.Group("/admin", ginkw.Require(host.Keys.Of("admin")))
//	admin.GET("/whoami", whoami)
//	http.ListenAndServe(addr, keywright.NoRedirect(engine))
//
// A gin handler finds the caller with keywright.FromContext(c.Request.Context()).
// [keywright.NoRedirect] matters here: gin corrects trailing slashes by
// redirecting, and machine clients answer any redirect of a POST with a GET.
package ginkw

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/keywright/keywright"
)

// Mount mounts routes on r, an engine or a group with a path prefix, for every
// method that gin has, so that each Handler answers wrong methods itself.
func Mount(r gin.IRouter, routes ...keywright.Route) {
	for _, route := range routes {
		r.Any(wildcards.ReplaceAllString(route.Pattern, ":$1"), gin.WrapH(route.Handler))
	}
}

// wildcards are spelled ":name" in gin.
var wildcards = regexp.MustCompile(`\{(\w+)\}`)

// Require is [keywright.Require] for gin. For errors in another dialect, or for
// scopes, use [Wrap]: ginkw.Wrap(keywright.RequireScope("admin")).
func Require(auths ...keywright.Authenticator) gin.HandlerFunc {
	return Wrap(keywright.Require(auths...))
}

// Wrap makes gin middleware of mw, which is called once, here. Next is the rest
// of the gin chain: it sees the request and the ResponseWriter that mw passes
// on, until it ends. When mw does not call next, the chain is aborted. Panics
// pass through mw, as in net/http; when mw recovers one, the chain is aborted too.
//
// The context of the request that mw passes on must come from the one it got;
// otherwise the answer is 500 and the chain is aborted. gin's chain runs once,
// so a second call of next does nothing. Where mw returns before next does, as
// [http.TimeoutHandler] may, Wrap waits: gin reuses its Context afterwards.
func Wrap(mw func(http.Handler) http.Handler) gin.HandlerFunc {
	handler := mw(http.HandlerFunc(next))
	return func(c *gin.Context) {
		p := &passage{c: c, status: c.Writer.Status(), size: c.Writer.Size()}
		defer p.end()
		ctx := context.WithValue(c.Request.Context(), passageKey{}, p)
		handler.ServeHTTP(c.Writer, c.Request.WithContext(ctx))
	}
}

// A passage is one request on its way through a middleware. It travels in the
// request's context, since the middleware is made before there are requests.
type passage struct {
	// Of c.Writer, which a middleware that has given up on next may be writing
	// to by the time next begins.
	status, size int

	mu       sync.Mutex   // held while the rest of the chain runs
	c        *gin.Context // guarded by mu; nil once the middleware has returned
	called   bool         // guarded by mu: next was
	returned bool         // guarded by mu: next did, without a panic
}

type passageKey struct{}

var errStrangeContext = errors.New("ginkw: the middleware passed on a request with a context of its own")

// next stands for the rest of whichever gin chain the request is in.
func next(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(passageKey{}).(*passage)
	if !ok {
		keywright.WriteError(w, errStrangeContext)
		return
	}
	p.next(w, r)
}

func (p *passage) next(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c == nil || p.called {
		return
	}
	p.called = true
	c := p.c
	defer func(w gin.ResponseWriter, r *http.Request) { c.Writer, c.Request = w, r }(c.Writer, c.Request)
	c.Request = r
	if same, ok := w.(gin.ResponseWriter); ok {
		c.Writer = same
		c.Next()
	} else {
		own := &writer{ResponseWriter: w, r: r, status: p.status, size: p.size}
		c.Writer = own
		c.Next()
		own.finish()
	}
	p.returned = true
}

// end waits for next, makes any later call of it do nothing, and aborts the
// chain unless next has run it to its end: gin would go on behind a handler
// whose panic the middleware has recovered.
func (p *passage) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.returned {
		p.c.Abort()
	}
	p.c = nil
}
