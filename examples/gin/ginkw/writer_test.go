package ginkw

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
)

// A recording is the writer of a typical net/http middleware: it notes what it
// passes on, and knows no more than http.ResponseController can ask it.
type recording struct {
	w      http.ResponseWriter
	Status []int
	Body   string
}

func (r *recording) Header() http.Header         { return r.w.Header() }
func (r *recording) Unwrap() http.ResponseWriter { return r.w }

func (r *recording) WriteHeader(status int) {
	r.Status = append(r.Status, status)
	r.w.WriteHeader(status)
}

func (r *recording) Write(b []byte) (int, error) {
	r.Body += string(b)
	return r.w.Write(b)
}

// record is the middleware. It calls seen when next has returned.
func record(seen func(*recording)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := &recording{w: w}
			next.ServeHTTP(rec, r)
			seen(rec)
		})
	}
}

func TestWriterOfTheMiddlewareSeesTheAnswer(t *testing.T) {
	tests := []struct {
		name    string
		handler gin.HandlerFunc
		status  int
		want    recording
	}{
		{"JSON", func(c *gin.Context) { c.JSON(http.StatusCreated, gin.H{"n": 1}) }, 201, recording{Status: []int{201}, Body: `{"n":1}`}},
		{"text", func(c *gin.Context) { c.Writer.WriteString("hello") }, 200, recording{Status: []int{200}, Body: "hello"}},
		{"status alone", func(c *gin.Context) { c.Status(http.StatusNoContent) }, 204, recording{Status: []int{204}}},
		{"status sent", func(c *gin.Context) { c.AbortWithStatus(http.StatusTeapot) }, 418, recording{Status: []int{418}}},
		{"the last status counts", func(c *gin.Context) { c.Status(http.StatusTeapot); c.String(http.StatusOK, "x") }, 200, recording{Status: []int{200}, Body: "x"}},
		{"too late a status", func(c *gin.Context) { c.String(http.StatusOK, "x"); c.Status(http.StatusTeapot) }, 200, recording{Status: []int{200}, Body: "x"}},
		{"no status", func(c *gin.Context) { c.Writer.WriteHeader(-1) }, 200, recording{}},
		{"nothing", func(*gin.Context) {}, 200, recording{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got recording
			url := serve(t, Wrap(record(func(r *recording) { got = *r })), tt.handler)
			status, body := post(t, url)
			if status != tt.status || body != tt.want.Body {
				t.Errorf("the client got %d %q, want %d %q", status, body, tt.status, tt.want.Body)
			}
			got.w = nil
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(recording{})); diff != "" {
				t.Errorf("the middleware saw (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWriterHoldsTheStatusBackForHeaders(t *testing.T) {
	url := serve(t, Wrap(record(func(*recording) {})), func(c *gin.Context) {
		c.Status(http.StatusAccepted)
		c.Header("X-After", "yes")
		c.Writer.WriteString("body")
	})
	res, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 202 || res.Header.Get("X-After") != "yes" {
		t.Errorf("got %d and X-After %q, want 202 and yes", res.StatusCode, res.Header.Get("X-After"))
	}
}

func TestWriterTellsItsState(t *testing.T) {
	type state struct {
		Status, Size int
		Written      bool
	}
	of := func(w gin.ResponseWriter) state { return state{w.Status(), w.Size(), w.Written()} }
	var got []state
	outer := func(c *gin.Context) { c.Next(); got = append(got, of(c.Writer)) }
	post(t, serve(t, outer, Wrap(record(func(*recording) {})), func(c *gin.Context) {
		got = append(got, of(c.Writer))
		c.Status(http.StatusAccepted)
		got = append(got, of(c.Writer))
		c.Writer.WriteString("four")
		got = append(got, of(c.Writer))
		c.Writer.Write([]byte("more"))
		c.Status(http.StatusTeapot) // too late
		got = append(got, of(c.Writer))
	}))
	want := []state{{200, -1, false}, {202, -1, false}, {202, 4, true}, {202, 8, true}, {202, 8, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// gin sets the status of an unknown path before the chain runs, and writes its
// own body when the chain has not.
func TestWriterOnAnUnknownPath(t *testing.T) {
	var got recording
	engine := gin.New()
	engine.Use(Wrap(record(func(r *recording) { got = *r })))
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest("POST", "/nowhere", nil))
	if w.Code != 404 || !strings.Contains(w.Body.String(), "404") {
		t.Errorf("got %d %q, want gin's 404", w.Code, w.Body)
	}
	if diff := cmp.Diff([]int{404}, got.Status); diff != "" {
		t.Errorf("the middleware saw (-want +got):\n%s", diff)
	}
}

func TestWriterFlushesBeforeTheHandlerEnds(t *testing.T) {
	flushes := map[string]func(w gin.ResponseWriter) error{
		"Flush":              func(w gin.ResponseWriter) error { w.Flush(); return nil },
		"ResponseController": func(w gin.ResponseWriter) error { return http.NewResponseController(w).Flush() },
	}
	for name, flush := range flushes {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			url := serve(t, Wrap(record(func(*recording) {})), func(c *gin.Context) {
				c.Writer.WriteString("first\n")
				if err := flush(c.Writer); err != nil {
					t.Error(err)
				}
				select {
				case <-release:
				case <-c.Request.Context().Done():
				}
			})
			res, err := (&http.Client{Timeout: 10 * time.Second}).Post(url, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "first\n" {
				t.Errorf("got %q, %v, want the first line", line, err)
			}
			close(release)
		})
	}
}

// Context.Stream asks its writer for a CloseNotifier.
func TestWriterStreams(t *testing.T) {
	n := 0
	status, body := post(t, serve(t, Wrap(record(func(*recording) {})), func(c *gin.Context) {
		c.Stream(func(w io.Writer) bool {
			io.WriteString(w, "line\n")
			n++
			return n < 3
		})
	}))
	if status != 200 || body != "line\nline\nline\n" {
		t.Errorf("got %d %q, want three lines", status, body)
	}
}

func TestWriterTellsThatTheClientIsGone(t *testing.T) {
	gone := make(chan bool)
	url := serve(t, Wrap(record(func(*recording) {})), func(c *gin.Context) {
		notified := c.Writer.CloseNotify()
		c.Writer.Flush()
		select {
		case v := <-notified:
			gone <- v
		case <-time.After(10 * time.Second):
			gone <- false
		}
	})
	res, err := http.Post(url, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !<-gone {
		t.Error("got false, want true")
	}
}

func TestWriterHijacks(t *testing.T) {
	seen := make(chan []int, 1) // the answer arrives before the handler has ended
	url := serve(t, Wrap(record(func(r *recording) { seen <- r.Status })), func(c *gin.Context) {
		c.Status(http.StatusSwitchingProtocols)
		conn, _, err := c.Writer.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nraw")
	})
	if status, body := post(t, url); status != 200 || body != "raw" {
		t.Errorf("got %d %q, want 200 raw", status, body)
	}
	if got := <-seen; len(got) > 0 {
		t.Errorf("the middleware saw the statuses %v, want none", got)
	}
}

// A writer without any of the optional interfaces makes nothing fail.
func TestWriterOverAPlainOne(t *testing.T) {
	plain := &writer{ResponseWriter: struct{ http.ResponseWriter }{httptest.NewRecorder()}, status: 200, size: notWritten}
	plain.Flush()
	var conn net.Conn
	conn, _, err := plain.Hijack()
	if err == nil || conn != nil || plain.Pusher() != nil || !plain.Written() {
		t.Errorf("got %v, %v, %v", conn, err, plain.Pusher())
	}
}
