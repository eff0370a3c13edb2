package ginkw

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	m.Run()
}

// serve serves POST /x through chain, over a real connection.
func serve(t *testing.T, chain ...gin.HandlerFunc) (url string) {
	t.Helper()
	engine := gin.New()
	engine.POST("/x", chain...)
	srv := httptest.NewServer(keywright.NoRedirect(engine))
	t.Cleanup(srv.Close)
	return srv.URL + "/x"
}

func post(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// steps notes what ran, in order.
type steps struct {
	mu    sync.Mutex
	names []string // guarded by mu
}

func (s *steps) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
}

// gin returns gin middleware that notes name before and after the rest.
func (s *steps) gin(name string) gin.HandlerFunc {
	return func(c *gin.Context) {
		s.add(name)
		c.Next()
		s.add("after " + name)
	}
}

// net returns net/http middleware that does the same.
func (s *steps) net(name string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.add(name)
			next.ServeHTTP(w, r)
			s.add("after " + name)
		})
	}
}

func refuse(http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "refused", http.StatusForbidden) })
}

func TestWrapKeepsTheOrderOfTheChain(t *testing.T) {
	var s steps
	url := serve(t, s.gin("a"), Wrap(s.net("b")), s.gin("c"), Wrap(s.net("d")), func(*gin.Context) { s.add("handler") })
	post(t, url)
	want := []string{"a", "b", "c", "d", "handler", "after d", "after c", "after b", "after a"}
	if diff := cmp.Diff(want, s.names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrapAbortsWhereNextIsNotCalled(t *testing.T) {
	var s steps
	var aborted bool
	outer := func(c *gin.Context) { c.Next(); aborted = c.IsAborted() }
	url := serve(t, outer, s.gin("a"), Wrap(refuse), s.gin("b"), func(*gin.Context) { s.add("handler") })
	status, body := post(t, url)
	if status != 403 || body != "refused\n" || !aborted {
		t.Errorf("got %d %q, aborted %t; want the middleware's 403 and an aborted chain", status, body, aborted)
	}
	if diff := cmp.Diff([]string{"a", "after a"}, s.names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrapLeavesAnAbortBehindItAlone(t *testing.T) {
	var s steps
	stop := func(c *gin.Context) { c.AbortWithStatus(http.StatusTeapot) }
	url := serve(t, Wrap(s.net("a")), stop, func(*gin.Context) { s.add("handler") })
	if status, _ := post(t, url); status != http.StatusTeapot {
		t.Errorf("got %d, want 418", status)
	}
	if diff := cmp.Diff([]string{"a", "after a"}, s.names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrapPassesTheRequestOn(t *testing.T) {
	admit := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(keywright.NewContext(r.Context(), keywright.Principal{Subject: "sdr-1"})))
		})
	}
	var inside, afterwards string
	outer := func(c *gin.Context) {
		c.Next()
		p, _ := keywright.FromContext(c.Request.Context())
		afterwards = p.Subject
	}
	post(t, serve(t, outer, Wrap(admit), func(c *gin.Context) {
		p, _ := keywright.FromContext(c.Request.Context())
		inside = p.Subject
	}))
	if inside != "sdr-1" || afterwards != "" {
		t.Errorf("got %q inside and %q afterwards, want sdr-1 and nothing", inside, afterwards)
	}
}

func TestWrapRefusesAStrangeContext(t *testing.T) {
	var s steps
	forget := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.Background()))
		})
	}
	status, _ := post(t, serve(t, Wrap(forget), func(*gin.Context) { s.add("handler") }))
	if status != 500 || len(s.names) > 0 {
		t.Errorf("got %d and ran %v, want 500 and nothing run", status, s.names)
	}
}

func TestWrapMakesTheMiddlewareOnce(t *testing.T) {
	made := 0
	url := serve(t, Wrap(func(next http.Handler) http.Handler { made++; return next }), func(*gin.Context) {})
	for range 3 {
		post(t, url)
	}
	if made != 1 {
		t.Errorf("made %d times, want 1", made)
	}
}

func TestWrapRunsTheChainOnce(t *testing.T) {
	var s steps
	twice := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r)
			next.ServeHTTP(w, r)
		})
	}
	post(t, serve(t, Wrap(twice), func(c *gin.Context) { s.add("handler"); c.Abort() }, func(*gin.Context) { s.add("second") }))
	if diff := cmp.Diff([]string{"handler"}, s.names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// gin gives its Context to the next request as soon as the chain returns, so a
// handler that outlives its middleware would write into somebody else's.
func TestWrapWaitsForAHandlerThatTimesOut(t *testing.T) {
	timeout := func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Millisecond, "too late") }
	var ended bool
	outer := func(c *gin.Context) {
		c.Next()
		if !ended {
			t.Error("the chain returned while its handler was running")
		}
	}
	url := serve(t, outer, Wrap(timeout), func(c *gin.Context) {
		<-c.Request.Context().Done()
		c.String(http.StatusOK, "in time")
		ended = true
	})
	if status, body := post(t, url); status != 503 || body != "too late" {
		t.Errorf("got %d %q, want 503 from the middleware", status, body)
	}
}

// A middleware that is done cannot start the chain any more.
func TestWrapIgnoresALateNext(t *testing.T) {
	var s steps
	late := make(chan func(http.ResponseWriter), 1)
	leave := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			late <- func(w http.ResponseWriter) { next.ServeHTTP(w, r) }
		})
	}
	notFound := func(c *gin.Context) { c.Status(http.StatusNotFound) }
	post(t, serve(t, notFound, Wrap(leave), func(*gin.Context) { s.add("handler") }))
	rec := httptest.NewRecorder()
	(<-late)(rec)
	// A chain that has run, be it of no handlers, tells its status.
	if len(s.names) > 0 || rec.Code != 200 {
		t.Errorf("ran %v and told %d, want nothing", s.names, rec.Code)
	}
}

// recovered is middleware that recovers a panic of next and tries again.
func recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				next.ServeHTTP(w, r)
				http.Error(w, "recovered", http.StatusBadGateway)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// What stands behind a check that panicked must not run.
func TestWrapAbortsWhereTheMiddlewareRecovers(t *testing.T) {
	var s steps
	check := func(*gin.Context) { panic(errors.New("broken check")) }
	status, _ := post(t, serve(t, s.gin("a"), Wrap(recovered), check, func(*gin.Context) { s.add("handler") }))
	if status != http.StatusBadGateway {
		t.Errorf("got %d, want the middleware's 502", status)
	}
	if diff := cmp.Diff([]string{"a", "after a"}, s.names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWrapLetsPanicsThrough(t *testing.T) {
	var s steps
	recovery := gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.String(http.StatusInternalServerError, "recovered") })
	// What Recovery writes must not end in the writer of a middleware that is gone.
	for name, mw := range map[string]func(http.Handler) http.Handler{"same writer": s.net("a"), "own writer": discard} {
		t.Run(name, func(t *testing.T) {
			url := serve(t, recovery, Wrap(mw), func(*gin.Context) { panic(errors.New("broken handler")) })
			for range 2 {
				if status, body := post(t, url); status != 500 || body != "recovered" {
					t.Errorf("got %d %q, want 500 from Recovery", status, body)
				}
			}
		})
	}
}

// discard gives the chain a writer that leads nowhere.
func discard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestWrapLetsAbortHandlerThrough(t *testing.T) {
	var s steps
	url := serve(t, Wrap(s.net("a")), func(c *gin.Context) {
		c.String(http.StatusOK, "half of ")
		c.Writer.Flush()
		panic(http.ErrAbortHandler)
	})
	res, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("got %q whole, want a cut connection", b)
	}
}
